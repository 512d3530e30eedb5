//! `strongroom user`: people, at the console.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};

use super::Ended;
use super::group::Group;
use super::options::{Common, out};
use super::orders::carry_out;
use super::secrets::open_home;
use crate::app::{App, Order, exchange_runtime};
use crate::config::{Config, Settings};
use crate::telemetry;

/// People: list them, make them reset links, delete them, put them into groups.
#[derive(Args)]
pub(super) struct User {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    /// List everybody, with roles. The server must not be running.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// A file with the passphrase of the root key, where it has one; without it, it is asked
        /// for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Print a one-time link with which a person chooses a new password, beside a running server or
    /// of one that is stopped. This is the way back for an owner who lost theirs; it is on record.
    Reset {
        /// The person's sign-in name.
        name: String,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Groups of people, and the budgets that each has together.
    Group(Group),
    /// Delete a person with their chats, API keys, sessions and links, and destroy their data key,
    /// beside a running server or of one that is stopped. This cannot be undone; it is on record.
    Delete {
        /// The person's sign-in name.
        name: String,
        /// Do not ask for the name again.
        #[arg(long)]
        yes: bool,
        /// A file with the passphrase of the root key, where it has one and no server runs; without
        /// it, it is asked for.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

impl User {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        match self.command {
            UserCommand::List { json, passphrase_file } => {
                list(&config, json, passphrase_file.as_ref())?;
            }
            UserCommand::Reset { name, passphrase_file } => {
                reset(config.settings(), name, passphrase_file.as_ref())?;
            }
            UserCommand::Group(group) => group.run(config.settings())?,
            UserCommand::Delete { name, yes, passphrase_file } => {
                if !yes {
                    confirm(&name)?;
                }
                delete(config.settings(), name, passphrase_file.as_ref())?;
            }
        }
        Ok(Ended::Done)
    }
}

fn list(config: &Config, is_json: bool, passphrase_file: Option<&PathBuf>) -> Result<()> {
    let (home, _) = open_home(config.settings(), passphrase_file)?;
    let runtime = exchange_runtime()?;
    let app = App::build(&home, config, runtime.handle().clone())?;
    let mut out = out();
    for person in app.accounts.people_at_console()? {
        let roles: Vec<&str> = person.roles.iter().map(|role| role.name()).collect();
        let state = if person.is_disabled { "disabled" } else { "active" };
        if is_json {
            let line = serde_json::json!({
                "id": person.id, "username": person.username, "roles": roles, "state": state,
                "created_at": person.created_at,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{:<32} {:<10} {}", person.username, state, roles.join(", "))?;
        }
    }
    Ok(())
}

fn reset(settings: &Settings, username: String, passphrase_file: Option<&PathBuf>) -> Result<()> {
    let made = carry_out(settings, passphrase_file, Order::Reset { username: username.clone() })?;
    let secret = made["secret"].as_str().context("the server is of another version")?;
    let mut out = out();
    writeln!(out, "{username} opens this once, within {} hours:", made["hours"])?;
    writeln!(out, "  {}/invite#{secret}", base(settings))?;
    if made["is_disabled"].as_bool() == Some(true) {
        writeln!(out, "The account is disabled: the link works once it is enabled again.")?;
    }
    Ok(())
}

/// Has the name of whoever is to be deleted typed once more, by somebody who was told what is lost.
fn confirm(username: &str) -> Result<()> {
    let stdin = std::io::stdin();
    ensure!(stdin.is_terminal(), "nobody is at a terminal to be asked: give --yes to delete");
    let mut out = out();
    writeln!(out, "{LOST}")?;
    write!(out, "Type the name `{username}` again to delete this person: ")?;
    out.flush()?;
    let mut typed = String::new();
    stdin.lock().read_line(&mut typed)?;
    ensure!(typed.trim() == username, "that is another name; nothing was deleted");
    Ok(())
}

const LOST: &str =
    "Their chats, API keys, sessions and links are deleted, and their data key is destroyed, so
that this server can never open the chats again. What a backup holds of them opens as long
as a copy of the keys from before exists. This cannot be undone.";

fn delete(settings: &Settings, username: String, passphrase_file: Option<&PathBuf>) -> Result<()> {
    carry_out(settings, passphrase_file, Order::Delete { username: username.clone() })?;
    writeln!(out(), "{username} is deleted.")?;
    Ok(())
}

/// The server's address as people know it, as far as the configuration says.
fn base(settings: &Settings) -> String {
    let server = &settings.server;
    let scheme = if server.plain_http { "http" } else { "https" };
    let host = server.hosts.first().map_or("localhost", String::as_str);
    let port = server.listen.rsplit(':').next().unwrap_or_default();
    format!("{scheme}://{host}:{port}")
}
