//! `strongroom doctor`: the posture of a data directory and its configuration, whether the server
//! runs or not.

use std::io::Write;

use anyhow::{Context, Result};
use clap::Args;

use super::Ended;
use super::options::{Common, out};
use crate::app::{guard_in_words, last_fairness_run};
use crate::clock::Clock;
use crate::db;
use crate::monitor::posture::{Depth, Digests, Facts, Posture, Process, Sources, State, judge};

/// Hold the server against the six practices.
#[derive(Args)]
#[command(
    after_help = "Exit code 1 where something is failing. Takes no lock and changes nothing. Give it the configuration that the server runs with. Model files are read whole, which takes a while for large ones."
)]
pub(super) struct Doctor {
    /// One JSON object, as `GET /api/admin/posture` gives it.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        let settings = config.settings();
        let data = &settings.server.data_dir;
        let path = data.join("strongroom.db");
        let db = db::open_to_read(&path).context("the database cannot be opened")?;
        // One view, whatever a running server adds meanwhile.
        db.execute_batch("BEGIN")?;
        let guard = guard_in_words(settings);
        let sources = Sources {
            settings,
            data,
            process: Process::other(),
            depth: Depth::Contents,
            digests: &Digests::default(),
            fairness: last_fairness_run,
            guard: guard.as_deref(),
        };
        let facts = Facts::gather(&db, &sources, Clock::system().now())
            .context("the database cannot be read; was it made by another version?")?;
        let posture = judge(&facts);
        if self.json {
            writeln!(out(), "{}", serde_json::to_string(&posture)?)?;
        } else {
            print(&posture)?;
        }
        Ok(if posture.state() == State::Failing { Ended::Failing } else { Ended::Done })
    }
}

fn print(posture: &Posture) -> Result<()> {
    let mut out = out();
    for practice in &posture.practices {
        writeln!(out, "{}   {} of {} met", practice.title, practice.met(), practice.items.len())?;
        for item in &practice.items {
            let state = match item.state {
                State::Met => "met",
                State::Due => "DUE",
                State::Failing => "FAILING",
            };
            writeln!(out, "  {state:<8} {}: {}", item.title, item.evidence)?;
            if let Some(action) = &item.action {
                writeln!(out, "  {:<8}   {action}", "")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}
