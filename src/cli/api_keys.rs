//! `strongroom key list`, `networks` and `revoke`: the API keys that there are, at the console.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::Value;

use super::chat::clean;
use super::options::out;
use super::orders::carry_out;
use crate::app::{KeyOrder, Order};
use crate::config::Settings;

/// What is done to API keys that there are, beside a running server or of one that is stopped.
#[derive(Subcommand)]
pub(super) enum ApiKeys {
    /// List API keys with their owners, and from where they are let in; beside a running server or of
    /// one that is stopped. What their owners call them is not shown.
    List {
        /// Those of the person with this sign-in name alone.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Say from which networks an API key is let in, in place of those before; beside a running server
    /// or of one that is stopped. What runs on it elsewhere ends; it is on record.
    Networks {
        /// The key's id, as `list` and the audit log name it.
        #[arg(value_name = "KEY")]
        key: String,
        /// An address or a prefix that the key is let in from, such as 192.0.2.7 or 10.0.0.0/8; may be
        /// given again, up to 16 times.
        #[arg(
            long = "network",
            value_name = "NETWORK",
            required_unless_present = "everywhere",
            conflicts_with = "everywhere"
        )]
        networks: Vec<String>,
        /// Let it in from everywhere.
        #[arg(long)]
        everywhere: bool,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Revoke an API key, beside a running server or of one that is stopped. What runs on it ends; it
    /// is on record.
    Revoke {
        /// The key's id, as `list` and the audit log name it.
        #[arg(value_name = "KEY")]
        key: String,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

impl ApiKeys {
    pub(super) fn run(self, settings: &Settings) -> Result<()> {
        let carry =
            |file: Option<PathBuf>, key| carry_out(settings, file.as_ref(), Order::Key { key });
        let mut out = out();
        match self {
            Self::List { user, json, passphrase_file } => {
                let answer = carry(passphrase_file, KeyOrder::List { user })?;
                let keys = answer["keys"].as_array().context("the server is of another version")?;
                for key in keys {
                    let line = if json { clean::text(&key.to_string()) } else { line(key) };
                    writeln!(out, "{line}")?;
                }
            }
            Self::Networks { key, networks, everywhere: _, passphrase_file } => {
                let order = KeyOrder::Networks { key: key.clone(), networks };
                let answer = carry(passphrase_file, order)?;
                writeln!(out, "{key} is let in from {} now.", places(&answer["networks"]))?;
            }
            Self::Revoke { key, passphrase_file } => {
                carry(passphrase_file, KeyOrder::Revoke { key: key.clone() })?;
                writeln!(out, "{key} is revoked.")?;
            }
        }
        Ok(())
    }
}

/// A key in one line, in which nothing steers a terminal, whatever somebody wrote into the database.
fn line(key: &Value) -> String {
    let word = |name: &str| key[name].as_str();
    let (id, owner, hint) = (word("id"), word("owner"), word("hint"));
    let [id, owner, hint] = [id, owner, hint].map(|word| word.unwrap_or("-"));
    let from = places(&key["networks"]);
    let used = word("last_used_at").unwrap_or("never");
    let mut parts = vec![format!("{id}  {owner:<32} {hint}  from {from}; last used: {used}")];
    parts.extend(word("expires_at").map(|end| format!("ends: {end}")));
    let refused = &key["turned_away"];
    let address = refused["address"].as_str().unwrap_or("an unknown address");
    parts.extend(refused["at"].as_str().map(|at| format!("refused: {at}, from {address}")));
    clean::text(&parts.join("; ")).replace('\n', " ")
}

fn places(networks: &Value) -> String {
    let all: Vec<&str> =
        networks.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if all.is_empty() { "everywhere".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_whose_a_key_is_and_from_where_it_comes() {
        let mut key = json!({
            "id": "key_1", "owner": "ada", "hint": "wxyz", "networks": [], "last_used_at": null,
        });
        let free = line(&key);
        assert!(
            free.contains("key_1  ada ") && free.ends_with("from everywhere; last used: never")
        );
        key["networks"] = json!(["10.0.0.0/8", "::1"]);
        key["expires_at"] = json!("2027-01-01T00:00:00Z");
        key["turned_away"] = json!({ "at": "2026-01-01T00:00:00Z", "address": "192.0.2.7" });
        let bound = line(&key);
        for words in [
            "from 10.0.0.0/8, ::1; last",
            "; ends: 2027-01-01T00:00:00Z",
            "; refused: 2026-01-01T00:00:00Z, from 192.0.2.7",
        ] {
            assert!(bound.contains(words), "{bound}");
        }
    }

    #[test]
    fn what_somebody_wrote_into_the_database_steers_no_terminal_and_begins_no_line() {
        let key = json!({
            "id": "key_1", "owner": "ada", "hint": "\u{1b}[2J\nkey_2", "networks": ["\u{9b}31m"],
        });
        let shown = line(&key);
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.contains("␛[2J key_2  from \u{fffd}31m"), "{shown:?}");
    }
}
