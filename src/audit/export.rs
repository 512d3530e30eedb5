//! The log as a file for other programs.

use std::io::Write;

use rusqlite::Connection;

use super::AuditError;
use super::store::{self, Record};

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line: the canonical bytes as they were hashed.
    Jsonl,
    /// A table, for spreadsheets.
    Csv,
}

/// Writes every event after `after` to `out`; returns how many there were.
pub fn export(
    db: &Connection,
    after: u64,
    format: Format,
    out: impl Write,
) -> Result<u64, AuditError> {
    match format {
        Format::Jsonl => jsonl(db, after, out),
        Format::Csv => csv(db, after, out),
    }
}

fn jsonl(db: &Connection, after: u64, mut out: impl Write) -> Result<u64, AuditError> {
    let mut count = 0;
    store::each(db, after, |record| -> Result<(), AuditError> {
        out.write_all(&record.body)?;
        out.write_all(b"\n")?;
        count += 1;
        Ok(())
    })?;
    out.flush()?;
    Ok(count)
}

fn csv(db: &Connection, after: u64, out: impl Write) -> Result<u64, AuditError> {
    let mut writer = csv::Writer::from_writer(out);
    let io = |error: csv::Error| AuditError::Io(error.into());
    let head =
        ["seq", "at", "action", "outcome", "actor", "subject", "address", "request", "detail"];
    writer.write_record(head).map_err(io)?;
    let mut count = 0;
    store::each(db, after, |record| -> Result<(), AuditError> {
        writer.write_record(cells(&record)).map_err(io)?;
        count += 1;
        Ok(())
    })?;
    writer.flush()?;
    Ok(count)
}

fn cells(record: &Record) -> [String; 9] {
    let address = record.field("address").as_str().map(str::to_owned).unwrap_or_default();
    let cells = [
        record.seq.to_string(),
        record.at.rfc3339(),
        record.action.clone(),
        record.outcome.clone(),
        record.actor.clone(),
        record.subject.clone().unwrap_or_default(),
        address,
        record.request.clone().unwrap_or_default(),
        record.field("detail").to_string(),
    ];
    cells.map(harmless)
}

/// A cell that a spreadsheet does not take for a formula.
pub(crate) fn harmless(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}
