//! `strongroom user group`: groups of people and their budgets, at the console.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::options::out;
use super::orders::carry_out;
use crate::app::{GroupOrder, Order};
use crate::config::{LimitSet, Settings};

/// Limits as flags. What is left out is not limited.
#[derive(Args)]
pub(super) struct LimitFlags {
    /// Requests a minute.
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<u32>,
    /// Tokens a minute.
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<u64>,
    /// Requests a day (UTC).
    #[arg(long, value_name = "N")]
    requests_per_day: Option<u64>,
    /// Tokens a day (UTC).
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<u64>,
    /// Requests a calendar month (UTC).
    #[arg(long, value_name = "N")]
    requests_per_month: Option<u64>,
    /// Tokens a calendar month (UTC).
    #[arg(long, value_name = "N")]
    tokens_per_month: Option<u64>,
    /// Requests that run at the same time.
    #[arg(long, value_name = "N")]
    concurrent: Option<u32>,
}

impl LimitFlags {
    pub(super) fn set(&self) -> LimitSet {
        LimitSet {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            requests_per_day: self.requests_per_day,
            tokens_per_day: self.tokens_per_day,
            requests_per_month: self.requests_per_month,
            tokens_per_month: self.tokens_per_month,
            concurrent: self.concurrent,
        }
    }
}

/// Groups of people, each with a budget that its members have together; beside a running server or
/// of one that is stopped. Changes are on record.
#[derive(Args)]
pub(super) struct Group {
    #[command(subcommand)]
    command: GroupCommand,
    /// A file with the passphrase of the root key, where it has one and no server runs; without it,
    /// it is asked for.
    #[arg(long, global = true, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Subcommand)]
enum GroupCommand {
    /// List every group with its members, its limits and what was used of them.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Make a group.
    Create {
        /// What it is called.
        name: String,
        #[command(flatten)]
        limits: LimitFlags,
        /// The sign-in name of a member; may be given several times.
        #[arg(long, value_name = "NAME")]
        add: Vec<String>,
    },
    /// Change a group. Where any limit is given, those that are not are taken away.
    Change {
        /// What it is called.
        name: String,
        /// Call it so from now on.
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        #[command(flatten)]
        limits: LimitFlags,
        /// Take every limit away.
        #[arg(long)]
        no_limits: bool,
        /// The sign-in name of somebody who is taken in; may be given several times.
        #[arg(long, value_name = "NAME")]
        add: Vec<String>,
        /// The sign-in name of somebody who is taken out; may be given several times.
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
    },
    /// Delete a group, and what was used of its budget. Nobody is deleted.
    Delete {
        /// What it is called, or its id where it cannot be opened.
        name: String,
    },
}

impl Group {
    pub(super) fn run(self, settings: &Settings) -> Result<()> {
        let Self { command, passphrase_file } = self;
        let carry = |group| carry_out(settings, passphrase_file.as_ref(), Order::Group { group });
        let mut out = out();
        match command {
            GroupCommand::List { json } => list(&carry(GroupOrder::List {})?, json, &mut out)?,
            GroupCommand::Create { name, limits, add } => {
                let limits = limits.set();
                carry(GroupOrder::Create { name: name.clone(), limits, add })?;
                writeln!(out, "{name} is made.")?;
            }
            GroupCommand::Change { name, rename, limits, no_limits, add, remove } => {
                let limits = Some(limits.set()).filter(|limits| no_limits || !limits.is_empty());
                let (order, shown) =
                    (GroupOrder::Change { name: name.clone(), rename, limits, add, remove }, name);
                carry(order)?;
                writeln!(out, "{shown} is changed.")?;
            }
            GroupCommand::Delete { name } => {
                carry(GroupOrder::Delete { name: name.clone() })?;
                writeln!(out, "{name} is deleted.")?;
            }
        }
        Ok(())
    }
}

fn list(answer: &Value, is_json: bool, out: &mut impl Write) -> Result<()> {
    let groups = answer["groups"].as_array().context("the server is of another version")?;
    for group in groups {
        if is_json {
            writeln!(out, "{group}")?;
            continue;
        }
        let members = group["members"].as_array().map_or(0, Vec::len);
        writeln!(out, "{}: {members} members", group["name"].as_str().unwrap_or_default())?;
        for (name, used) in [
            ("requests_per_minute", None),
            ("tokens_per_minute", Some("tokens_minute")),
            ("requests_per_day", Some("requests_day")),
            ("tokens_per_day", Some("tokens_day")),
            ("requests_per_month", Some("requests_month")),
            ("tokens_per_month", Some("tokens_month")),
            ("concurrent", None),
        ] {
            let Some(limit) = group["limits"][name].as_u64() else { continue };
            match used.and_then(|used| group["usage"][used]["used"].as_u64()) {
                Some(used) => writeln!(out, "  {name:<20} {used} of {limit}")?,
                None => writeln!(out, "  {name:<20} {limit}")?,
            }
        }
    }
    for id in answer["unreadable"].as_array().into_iter().flatten() {
        writeln!(out, "{}: cannot be opened, and limits nobody", id.as_str().unwrap_or_default())?;
    }
    Ok(())
}
