# shellcheck shell=bash
# Debian packages that tests need: read by `tests/steps.sh` and `tests/arm/run` from the root of the repository.

# A step that runs beside others cannot ask for a password.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo ${ASKS_NOBODY:+-n} "$@"; fi
}

# Installs the Debian packages among its arguments that are missing, one call after the other: apt refuses a
# second one beside it.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || return 1
  echo "installing ${missing[*]}"
  {
    flock 9 && as_root apt-get update -qq &&
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  } 9<tests/packages.sh
}
