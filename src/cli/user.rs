//! `strongroom user`: people, at the console.

use std::io::Write;

use anyhow::Result;
use clap::{Args, Subcommand};

use super::Ended;
use super::options::{Common, ask_secret, out};
use crate::app::{App, Home, exchange_runtime};
use crate::telemetry;

/// People. The server must not be running.
#[derive(Args)]
pub(super) struct User {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Subcommand)]
enum UserCommand {
    /// List everybody, with roles.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

impl User {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        let home = Home::open_or_create(config.settings())?;
        if !home.vault.is_open() {
            home.vault.unseal(&ask_secret("Passphrase: ")?)?;
        }
        let runtime = exchange_runtime()?;
        let app = App::build(&home, &config, runtime.handle().clone())?;
        let UserCommand::List { json } = self.command;
        let mut out = out();
        for person in app.accounts.people_at_console()? {
            let roles: Vec<&str> = person.roles.iter().map(|role| role.name()).collect();
            let state = if person.is_disabled { "disabled" } else { "active" };
            if json {
                let line = serde_json::json!({
                    "id": person.id, "username": person.username, "roles": roles, "state": state,
                    "created_at": person.created_at,
                });
                writeln!(out, "{line}")?;
            } else {
                writeln!(out, "{:<32} {:<10} {}", person.username, state, roles.join(", "))?;
            }
        }
        Ok(Ended::Done)
    }
}
