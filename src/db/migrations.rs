//! The schema, as a list of numbered steps. A step that was released is never edited: its SHA-256
//! is kept in the database and compared.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::StepResult;
use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::DbError;
use crate::clock::Clock;

/// One step.
pub(super) struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
}

/// Every step, in order.
pub(super) const ALL: &[Migration] = &[
    Migration { number: 1, name: "audit", sql: include_str!("migrations/0001_audit.sql") },
    Migration { number: 2, name: "accounts", sql: include_str!("migrations/0002_accounts.sql") },
    Migration { number: 3, name: "keys", sql: include_str!("migrations/0003_keys.sql") },
    Migration { number: 4, name: "limits", sql: include_str!("migrations/0004_limits.sql") },
    Migration { number: 5, name: "models", sql: include_str!("migrations/0005_models.sql") },
    Migration { number: 6, name: "chat", sql: include_str!("migrations/0006_chat.sql") },
    Migration { number: 7, name: "evals", sql: include_str!("migrations/0007_evals.sql") },
    Migration { number: 8, name: "monitor", sql: include_str!("migrations/0008_monitor.sql") },
    Migration {
        number: 9,
        name: "model_aliases",
        sql: include_str!("migrations/0009_model_aliases.sql"),
    },
    Migration {
        number: 10,
        name: "shared_prompts",
        sql: include_str!("migrations/0010_shared_prompts.sql"),
    },
    Migration {
        number: 11,
        name: "model_access_mac",
        sql: include_str!("migrations/0011_model_access_mac.sql"),
    },
    Migration {
        number: 12,
        name: "model_access_sum",
        sql: include_str!("migrations/0012_model_access_sum.sql"),
    },
    Migration { number: 13, name: "responses", sql: include_str!("migrations/0013_responses.sql") },
    Migration { number: 14, name: "budgets", sql: include_str!("migrations/0014_budgets.sql") },
    Migration { number: 15, name: "usage", sql: include_str!("migrations/0015_usage.sql") },
    Migration {
        number: 16,
        name: "kept_answers",
        sql: include_str!("migrations/0016_kept_answers.sql"),
    },
    Migration {
        number: 17,
        name: "key_networks",
        sql: include_str!("migrations/0017_key_networks.sql"),
    },
];

/// Brings the database up to the last of `steps`, each in a transaction of its own.
pub(super) fn run(
    connection: &mut Connection,
    path: &Path,
    steps: &[Migration],
) -> Result<(), DbError> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_steps (
            number INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 BLOB NOT NULL,
            applied_at INTEGER NOT NULL) STRICT",
    )?;
    let applied = check(connection, steps)?;
    let newest = applied.last().copied().unwrap_or(0);
    let mut missing = steps.iter().filter(|step| !applied.contains(&step.number)).peekable();
    if newest > 0 && missing.peek().is_some() {
        // Always a new one: a copy from an earlier try holds an earlier state.
        copy(connection, &copy_path(path, newest))?;
    }
    for step in missing {
        apply(connection, step)?;
    }
    Ok(())
}

/// Holds the steps that were applied against those that this program carries, and returns their
/// numbers in order.
pub(super) fn check(connection: &Connection, steps: &[Migration]) -> Result<Vec<i64>, DbError> {
    let known = steps.last().map_or(0, |step| step.number);
    let mut query =
        connection.prepare("SELECT number, name, sha256 FROM schema_steps ORDER BY number")?;
    let mut rows = query.query([])?;
    let mut applied = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, name, sum): (i64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if number > known {
            return Err(DbError::Newer { found: number, known });
        }
        let step = steps.iter().find(|step| step.number == number);
        if step.is_none_or(|step| digest(step.sql) != sum) {
            return Err(DbError::Altered { number, name });
        }
        applied.push(number);
    }
    Ok(applied)
}

fn apply(connection: &mut Connection, step: &Migration) -> Result<(), DbError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(step.sql)?;
    transaction.execute(
        "INSERT INTO schema_steps VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000 AS INTEGER))",
        params![step.number, step.name, digest(step.sql)],
    )?;
    Ok(transaction.commit()?)
}

fn digest(sql: &str) -> Vec<u8> {
    Sha256::digest(sql.as_bytes()).to_vec()
}

/// Where the copy from before a migration is to lie: a name that is not taken.
fn copy_path(path: &Path, schema: i64) -> PathBuf {
    let stamp = Clock::system().now().rfc3339().replace([':', '.'], "-");
    let name = |number: u32| path.with_extension(format!("db.schema-{schema}-{stamp}-{number}"));
    (1..u32::MAX)
        .map(name)
        .find(|path| !path.exists())
        .expect("a millisecond has fewer copies than there are numbers")
}

/// How often a copy that finds the database locked is tried, and the pause between.
const COPY_TRIES_MAX: u32 = 600;
const COPY_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Copies a whole database to a new file of mode 0600; the file appears complete or not at all.
pub(super) fn copy(source: &Connection, target: &Path) -> Result<(), DbError> {
    let io = |error: std::io::Error| DbError::Io(error.to_string());
    let partial = target.with_extension("partial");
    if partial.exists() {
        std::fs::remove_file(&partial).map_err(io)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(&partial).map_err(io)?;
    let mut copy = Connection::open(&partial)?;
    let backup = rusqlite::backup::Backup::new(source, &mut copy)?;
    // In one step, which is one snapshot: between steps a write by anybody else would begin the copy
    // anew, and beside people who write without a pause it would never end.
    let mut tries = 0;
    while !matches!(backup.step(-1)?, StepResult::Done) {
        tries += 1;
        if tries > COPY_TRIES_MAX {
            return Err(DbError::Io("the database was locked for too long to be copied".into()));
        }
        std::thread::sleep(COPY_PAUSE);
    }
    drop(backup);
    copy.close().map_err(|(_, error)| DbError::from(error))?;
    std::fs::File::open(&partial).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(&partial, target).map_err(io)?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = std::fs::File::open(parent.unwrap_or(Path::new("."))).map_err(io)?;
    parent.sync_all().map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(sql: &'static str) -> [Migration; 2] {
        [
            Migration { number: 1, name: "one", sql: "CREATE TABLE one (a INTEGER) STRICT;" },
            Migration { number: 2, name: "two", sql },
        ]
    }

    #[test]
    fn a_copy_is_taken_before_an_upgrade_and_a_failed_step_changes_nothing() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t.db");
        let mut connection = Connection::open(&path).expect("open");
        run(&mut connection, &path, &steps("")[..1]).expect("first");
        assert!(copies(directory.path()).is_empty());
        connection.execute("INSERT INTO one VALUES (7)", []).expect("row");
        let broken = steps("CREATE TABLE two (a INTEGER) STRICT; NONSENSE;");
        assert!(run(&mut connection, &path, &broken).is_err());
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'two'", [], |row| {
                row.get(0)
            })
            .expect("count");
        assert_eq!(tables, 0);
        // What is written between two tries is in the copy of the second.
        connection.execute("UPDATE one SET a = 8", []).expect("row");
        assert!(run(&mut connection, &path, &broken).is_err());
        let mut kept: Vec<i64> = copies(directory.path())
            .iter()
            .map(|path| {
                let copy = Connection::open(path).expect("copy");
                copy.query_row("SELECT a FROM one", [], |row| row.get(0)).expect("row")
            })
            .collect();
        kept.sort_unstable();
        assert_eq!(kept, [7, 8]);
    }

    fn copies(directory: &Path) -> Vec<PathBuf> {
        let paths =
            std::fs::read_dir(directory).expect("listed").map(|one| one.expect("one").path());
        paths.filter(|path| path.display().to_string().contains(".db.schema-1-")).collect()
    }

    #[test]
    fn newer_and_altered_databases_are_refused() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t.db");
        let mut connection = Connection::open(&path).expect("open");
        run(&mut connection, &path, &steps("CREATE TABLE two (a INTEGER) STRICT;")).expect("both");
        assert!(matches!(
            run(&mut connection, &path, &steps("")[..1]),
            Err(DbError::Newer { found: 2, known: 1 })
        ));
        assert!(matches!(
            run(&mut connection, &path, &steps("CREATE TABLE two (b INTEGER) STRICT;")),
            Err(DbError::Altered { number: 2, .. })
        ));
    }
}
