//! `strongroom usage`: who used which models how much, at the console, beside a running server or of
//! one that is stopped. It goes on record.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use super::Ended;
use super::options::{Common, out};
use super::orders::carry_out;
use crate::app::Order;
use crate::telemetry;
use crate::usage::{Asked, Report, SYSTEM};

/// Sum up who used which models how much, and what it cost. Reading it goes on record.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom usage --by person\n  strongroom usage --from 2026-01-01 --to 2026-01-31 --by person,model --csv > january.csv"
)]
pub(super) struct Usage {
    /// The first day (UTC), such as 2026-01-31; without it, 30 days back.
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The last day; without it, today.
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// What to keep apart: person, key, model, kind, day, or several with commas between.
    #[arg(long, value_name = "WHAT")]
    by: Option<String>,
    /// One JSON object, as `GET /api/admin/usage` gives it.
    #[arg(long)]
    json: bool,
    /// A table for spreadsheets.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// A file with the passphrase of the root key, where it has one and no server runs; without it, it
    /// is asked for.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Usage {
    pub(super) fn run(self, common: &Common) -> Result<Ended> {
        let config = common.config(Vec::new())?;
        telemetry::start(&config.settings().logs);
        let format = self.csv.then(|| "csv".to_owned());
        let asked =
            Asked { from: self.from, to: self.to, group_by: self.by, format, ..Asked::default() };
        let passphrase = self.passphrase_file.as_ref();
        let answer = carry_out(config.settings(), passphrase, Order::Usage { asked })?;
        if self.csv {
            let table = answer["csv"].as_str().context("the server is of another version")?;
            write!(out(), "{table}")?;
        } else if self.json {
            writeln!(out(), "{answer}")?;
        } else {
            print(&serde_json::from_value(answer).context("the server is of another version")?)?;
        }
        Ok(Ended::Done)
    }
}

/// Names of groups, then figures.
const FIGURES: [&str; 5] = ["requests", "input", "cached", "output", "cost"];

fn print(report: &Report) -> Result<()> {
    let mut out = out();
    writeln!(out, "{} to {} (UTC), costs in {}", report.from, report.to, report.currency)?;
    let lines = lines(report);
    let columns = report.group_by.len();
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns + FIGURES.len()).map(width).collect();
    for line in &lines {
        let mut text = String::new();
        for (at, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let gap = width.saturating_sub(cell.chars().count());
            let space = " ".repeat(gap);
            let parts = if at < columns { [cell, &space] } else { [&space, cell] };
            text.extend([parts[0].as_str(), parts[1].as_str(), "  "]);
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// The head, a line for each row, and the sum.
fn lines(report: &Report) -> Vec<Vec<String>> {
    let head = report.group_by.iter().map(String::as_str).chain(FIGURES).map(str::to_owned);
    let mut lines = vec![head.collect()];
    for row in &report.rows {
        let mut line = Vec::new();
        for group in &report.group_by {
            line.push(match group.as_str() {
                "day" => row.day.clone().unwrap_or_default(),
                "person" => match (&row.person, row.person_id.as_deref()) {
                    (Some(name), _) => name.clone(),
                    (None, Some(SYSTEM)) => "(the server itself)".to_owned(),
                    (None, id) => format!("{} (deleted)", id.unwrap_or_default()),
                },
                "key" => row.key_id.clone().unwrap_or_else(|| "-".to_owned()),
                "model" => row.model.clone().unwrap_or_default(),
                _ => row.kind.clone().unwrap_or_default(),
            });
        }
        line.extend(row.used.cells());
        lines.push(line);
    }
    let mut total: Vec<String> = vec![String::new(); report.group_by.len()];
    if let Some(first) = total.first_mut() {
        "total".clone_into(first);
    }
    total.extend(report.total.cells());
    lines.push(total);
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_names_people_keys_and_the_sum() {
        let used = json!({"requests": 1, "input_tokens": 20, "cached_tokens": 3, "output_tokens": 4,
            "cost": "0.5"});
        let row = |person: Option<&str>, id: &str, key: Option<&str>| json!({"person_id": id, "person": person, "key_id": key, "used": used});
        let report: Report = serde_json::from_value(json!({
            "from": "2026-01-01", "to": "2026-01-31", "group_by": ["person", "key"],
            "currency": "EUR", "has_prices": true, "total": used,
            "rows": [row(Some("ann"), "usr_1", Some("key_1")), row(None, "usr_2", None),
                row(None, "system", None)],
        }))
        .expect("a report");
        let lines = lines(&report);
        assert_eq!(lines[0], ["person", "key", "requests", "input", "cached", "output", "cost"]);
        assert_eq!(lines[1], ["ann", "key_1", "1", "20", "3", "4", "0.5"]);
        assert_eq!(lines[2][..2], ["usr_2 (deleted)", "-"]);
        assert_eq!(lines[3][..2], ["(the server itself)", "-"]);
        assert_eq!(lines[4], ["total", "", "1", "20", "3", "4", "0.5"]);
    }
}
