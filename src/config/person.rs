//! What the environment says about the person at the terminal: where their files lie, and whether
//! their terminal shows colours. For commands of people, not for the server.

use std::env::var_os;
use std::path::PathBuf;

/// Where a person's settings for Strongroom lie; none without a home.
pub fn settings_directory() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME", ".config")
}

/// Where Strongroom keeps what it remembers for a person; none without a home.
pub fn state_directory() -> Option<PathBuf> {
    directory("XDG_STATE_HOME", ".local/state")
}

/// Whether a terminal may be told to change how it writes: not where `NO_COLOR` is set to anything
/// (<https://no-color.org>), and not where the terminal says that it cannot.
pub fn may_style() -> bool {
    let is_set = |name: &str| var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && is_set("TERM") && var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the terminal says that it can be told nothing: a line typed there cannot be edited.
pub fn is_bare_terminal() -> bool {
    let term = var_os("TERM").unwrap_or_default();
    ["dumb", "cons25", "emacs"].iter().any(|name| term.eq_ignore_ascii_case(name))
}

/// By the XDG base directory specification: a path that is not absolute does not count.
fn directory(variable: &str, in_home: &str) -> Option<PathBuf> {
    let given = var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || Some(PathBuf::from(var_os("HOME")?)).filter(|path| path.is_absolute());
    Some(given.or_else(|| Some(home()?.join(in_home)))?.join("strongroom"))
}
