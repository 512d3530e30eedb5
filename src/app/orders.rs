//! What the command line has done on a data directory: by the server that runs on it, or, where
//! none does, under the lock. The same code either way, and always on record.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::{App, Home, control, reset_store};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::backup::{self, Sources};
use crate::config::Settings;
use crate::db::{Db, DbOptions};

/// An order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Order {
    /// Make a backup into this directory.
    Backup {
        /// Named from the root.
        to: PathBuf,
    },
    /// Open a file of a backup and hold every byte against its seal.
    VerifyBackup {
        /// Named from the root.
        file: PathBuf,
    },
    /// Put on record that the log was verified at the console.
    Verified {
        /// Whether nothing was wrong.
        ok: bool,
        /// Events in the log.
        size: u64,
        /// The root hash over them.
        root: String,
        /// How much was wrong.
        problems: usize,
    },
    /// Put on record that the log is being exported at the console, or was.
    Exported {
        /// The format.
        format: String,
        /// Only what comes after this event.
        after: u64,
        /// How many there were; none before it is done.
        events: Option<u64>,
    },
    /// Make a one-time link with which a person chooses a new password.
    Reset {
        /// The person's sign-in name.
        username: String,
    },
}

/// What carries orders out.
#[derive(Clone)]
pub(crate) struct Operator {
    home: Home,
    db: Db,
    audit: AuditLog,
    link_lives: Duration,
    /// One backup at a time.
    turn: Arc<Mutex<()>>,
}

impl Operator {
    /// Opens what orders need of a data directory that no server holds and whose vault is open.
    pub(crate) fn open(home: Home, settings: &Settings) -> Result<Self> {
        let db = Db::open(&home.database(), DbOptions::default())
            .context("the database cannot be opened")?;
        let audit =
            AuditLog::open(&db, &home.vault, &home.audit_directory(), &home.clock.ordered())
                .context("the audit log cannot be opened")?;
        Ok(Self::over(home, db, audit, settings))
    }

    /// Over the parts of a running server.
    pub(super) fn over(home: Home, db: Db, audit: AuditLog, settings: &Settings) -> Self {
        let hours = u64::from(settings.accounts.invitation_hours);
        let link_lives = Duration::from_secs(hours * 3_600);
        Self { home, db, audit, link_lives, turn: Arc::default() }
    }

    /// Carries an order out. Blocks.
    pub(crate) fn perform(&self, order: Order) -> Result<Value> {
        let answer = match order {
            Order::Backup { to } => self.back_up(&to)?,
            Order::VerifyBackup { file } => self.verify_backup(&file)?,
            Order::Verified { ok, size, root, problems } => {
                let outcome = if ok { Outcome::Done } else { Outcome::Failed };
                let event = Event::new(Action::AuditVerify, outcome, Actor::System)
                    .with("size", size)
                    .with("root", root)
                    .with("problems", problems);
                json!({ "seq": self.audit.record_blocking(event)? })
            }
            Order::Exported { format, after, events } => {
                let outcome = if events.is_some() { Outcome::Done } else { Outcome::Started };
                let event = Event::new(Action::AuditExport, outcome, Actor::System)
                    .with("format", format)
                    .with("after", after)
                    .with("events", events);
                json!({ "seq": self.audit.record_blocking(event)? })
            }
            Order::Reset { username } => self.reset(&username)?,
        };
        self.audit.flush()?;
        Ok(answer)
    }

    /// Makes a backup and opens it again, on record before it begins and when it was found whole.
    fn back_up(&self, to: &Path) -> Result<Value> {
        ensure!(to.is_absolute(), "the directory must be named from the root");
        let _turn = self.turn.lock();
        // On record first: a copy of everything that is not on record must not be.
        let event = |outcome| Event::new(Action::BackupCreate, outcome, Actor::System);
        self.audit.record_blocking(event(Outcome::Started))?;
        let head =
            self.audit.head().map(|head| format!("{}:{}", head.size, hex::encode(head.root)));
        let sources = Sources {
            data_dir: self.home.data(),
            db: &self.db,
            vault: &self.home.vault,
            audit_head: head,
        };
        let made = backup::create(&sources, to, self.home.clock.now());
        let event = match &made {
            Ok(made) => event(Outcome::Done)
                .subject(made.id)
                .with("bytes", made.bytes)
                .with("log_problems", made.log_problems.len()),
            Err(_) => event(Outcome::Failed),
        };
        self.audit.record_blocking(event)?;
        let made = made.context("the backup failed")?;
        Ok(json!({ "data": made.data, "keys": made.keys, "log_problems": made.log_problems }))
    }

    fn verify_backup(&self, file: &Path) -> Result<Value> {
        let found = backup::verify(file, &self.home.vault);
        let outcome = if found.is_ok() { Outcome::Done } else { Outcome::Failed };
        let mut event = Event::new(Action::BackupVerify, outcome, Actor::System);
        if let Ok((id, _, _)) = &found {
            event = event.subject(id);
        }
        self.audit.record_blocking(event)?;
        let (_, kind, manifest) = found?;
        Ok(json!({ "kind": kind, "files": manifest.files.len() }))
    }

    fn reset(&self, username: &str) -> Result<Value> {
        let Home { vault, clock, .. } = &self.home;
        let (secret, hash) = reset_store::new_secret(vault)?;
        let (now, lives, audit) = (clock.now(), self.link_lives, self.audit.clone());
        let name = username.to_owned();
        let person =
            self.db.write_blocking(move |tx| -> Result<Option<_>, crate::audit::AuditError> {
                let Some(person) = reset_store::person(tx, &name)? else { return Ok(None) };
                reset_store::put_link(tx, person.id, &hash, now, now.plus(lives))?;
                let event = Event::new(Action::PersonReset, Outcome::Done, Actor::System);
                audit.record_in(tx, event.subject(person.id))?;
                Ok(Some(person))
            })?;
        let person = person.with_context(|| format!("there is nobody called `{username}`"))?;
        let hours = lives.as_secs() / 3_600;
        Ok(json!({ "secret": secret.expose(), "hours": hours, "is_disabled": person.is_disabled }))
    }
}

impl App {
    /// Takes orders until the server stops.
    pub(super) async fn take_orders(self) {
        let listener = match control::listen(self.home.data()) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(cause = %error, "no orders can be taken: commands that need the server will fail");
                return;
            }
        };
        let operator =
            Operator::over(self.home.clone(), self.db.clone(), self.audit.clone(), &self.settings);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let operator = operator.clone();
                    actix_web::rt::spawn(async move {
                        if let Err(error) = take_order(operator, stream).await {
                            tracing::warn!(cause = %error, "an order broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(cause = %error, "the control socket failed");
                    tokio::time::sleep(control::PAUSE).await;
                }
            }
        }
    }
}

async fn take_order(operator: Operator, mut stream: UnixStream) -> Result<()> {
    let Some(line) = control::read_line(&mut stream).await? else { return Ok(()) };
    let Some(order) = line.strip_prefix(control::ORDER) else {
        // Whatever it was, it may have been a passphrase.
        return control::refuse(&mut stream, "the server is open already").await;
    };
    let Ok(order) = serde_json::from_str(order) else {
        return control::refuse(&mut stream, "the order is of another version").await;
    };
    match tokio::task::spawn_blocking(move || operator.perform(order)).await? {
        Ok(answer) => control::accept(&mut stream, &answer).await,
        Err(error) => control::refuse(&mut stream, &format!("{error:#}")).await,
    }
}
