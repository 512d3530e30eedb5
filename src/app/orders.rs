//! What the command line has done on a data directory: by the server that runs on it, or, where
//! none does, under the lock. The same code either way, and always on record.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle};

use super::group_orders::GroupOrder;
use super::key_orders::KeyOrder;
use super::people::People;
use super::{App, Home, control, expiry, open_groups};
use crate::access::Caller;
use crate::accounts::{AccountError, Accounts, ConsoleReset};
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::backup::{self, Sources};
use crate::config::Settings;
use crate::db::{Db, DbOptions};
use crate::groups::Groups;
use crate::keys::Keys;
use crate::limits::Limiter;
use crate::models::api::{ScanJson, served};
use crate::models::{Library, ModelsError};
use crate::usage::{Asked, Format, Reports};

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
    /// Delete a person and everything that is theirs.
    Delete {
        /// The person's sign-in name.
        username: String,
    },
    /// Sum up who used which models how much.
    Usage {
        /// What is asked.
        asked: Asked,
    },
    /// Show, make, change or delete groups of people.
    Group {
        /// What of them.
        group: GroupOrder,
    },
    /// Show, bind or revoke API keys.
    Key {
        /// What of them.
        key: KeyOrder,
    },
    /// List the models.
    Models {},
    /// Load a model; answered when it is begun.
    LoadModel {
        /// Its name or alias.
        name: String,
    },
    /// Unload a model; answered when it is begun.
    UnloadModel {
        /// Its name or alias.
        name: String,
    },
    /// Cancel the loading of a model.
    CancelModel {
        /// Its name or alias.
        name: String,
    },
    /// Look through the models directory.
    ScanModels {},
}

/// What carries orders out.
#[derive(Clone)]
pub(crate) struct Operator {
    home: Home,
    db: Db,
    audit: AuditLog,
    settings: Settings,
    /// Where a server runs.
    accounts: Option<Accounts>,
    /// Where a server runs.
    keys: Option<Keys>,
    /// Where a server runs.
    groups: Option<Groups>,
    /// Where a server runs; else there is nothing to load into.
    library: Option<Library>,
    /// Where a server runs.
    usage: Option<Reports>,
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
        let settings = settings.clone();
        let (accounts, keys, groups, library, usage) = (None, None, None, None, None);
        let turn = Arc::default();
        Ok(Self { home, db, audit, settings, accounts, keys, groups, library, usage, turn })
    }

    /// Over the parts of a running server.
    pub(super) fn of(app: &App) -> Self {
        Self {
            home: app.home.clone(),
            db: app.db.clone(),
            audit: app.audit.clone(),
            settings: app.settings.clone(),
            accounts: Some(app.accounts.clone()),
            keys: Some(app.keys.clone()),
            groups: Some(app.groups.clone()),
            library: Some(app.library.clone()),
            usage: Some(app.usage.clone()),
            turn: Arc::default(),
        }
    }

    /// Carries an order out. Blocks.
    pub(crate) fn perform(&self, order: Order) -> Result<Value> {
        let console = Caller::system();
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
            Order::Delete { username } => self.delete_person(&username)?,
            Order::Usage { asked } => self.usage(&asked)?,
            Order::Group { group } => self.group(group)?,
            Order::Key { key } => self.key(key)?,
            Order::Models {} => serde_json::to_value(served(self.library()?))?,
            Order::LoadModel { name } => done(wait(self.library()?.load(&name, &console))?)?,
            Order::UnloadModel { name } => done(wait(self.library()?.unload(&name, &console))?)?,
            Order::CancelModel { name } => done(wait(self.library()?.cancel(&name, &console))?)?,
            Order::ScanModels {} => {
                serde_json::to_value(ScanJson::from(wait(self.library()?.rescan(&console))??))?
            }
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
        // There is a newer key file now. The backup is good, whatever becomes of the older ones.
        if let Err(error) = expiry::expire(&self.home, &self.settings, &self.audit, Some(to)) {
            tracing::warn!(cause = format!("{error:#}"), "after a backup");
        }
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
        let accounts = self.accounts()?;
        let made = wait(accounts.reset_at_console(username))?;
        let ConsoleReset { secret, lives, is_disabled } = made.map_err(|it| named(username, it))?;
        let hours = lives.as_secs() / 3_600;
        Ok(json!({ "secret": secret.expose(), "hours": hours, "is_disabled": is_disabled }))
    }

    fn delete_person(&self, username: &str) -> Result<Value> {
        let accounts = self.accounts()?;
        wait(accounts.delete_at_console(username))?.map_err(|it| named(username, it))?;
        Ok(json!({}))
    }

    /// A report as an object; one that is asked for as a table, as its text.
    fn usage(&self, asked: &Asked) -> Result<Value> {
        Ok(match self.reports()?.at_console(asked)? {
            (report, Format::Json) => serde_json::to_value(report)?,
            (report, Format::Csv) => json!({ "csv": String::from_utf8(report.csv()?)? }),
        })
    }

    /// The running server's, which name its people; else opened here.
    fn reports(&self) -> Result<Reports> {
        if let Some(reports) = &self.usage {
            return Ok(reports.clone());
        }
        let people = People::open(&self.home, &self.settings, &self.db, &self.audit)?;
        let (book, clock) = ((&self.db, &self.audit), &self.home.clock);
        Ok(Reports::new(book, clock, &people.registry, &self.settings))
    }

    fn library(&self) -> Result<&Library> {
        self.library.as_ref().context("no server runs: there is nothing to load models into")
    }

    /// The running server's accounts, so that whoever is deleted is out at once; else opened here,
    /// for no other order: a backup must be possible where an account cannot be read.
    fn accounts(&self) -> Result<Accounts> {
        if let Some(accounts) = &self.accounts {
            return Ok(accounts.clone());
        }
        let people = People::open(&self.home, &self.settings, &self.db, &self.audit)?;
        Ok(people.accounts)
    }

    /// The running server's keys, so that what is changed holds at once; else opened here.
    pub(super) fn keys(&self) -> Result<(Accounts, Keys)> {
        if let (Some(accounts), Some(keys)) = (&self.accounts, &self.keys) {
            return Ok((accounts.clone(), keys.clone()));
        }
        let people = People::open(&self.home, &self.settings, &self.db, &self.audit)?;
        Ok((people.accounts, people.keys))
    }

    /// The running server's groups, so that they hold at once; else opened here.
    pub(super) fn groups(&self) -> Result<(Accounts, Groups)> {
        if let (Some(accounts), Some(groups)) = (&self.accounts, &self.groups) {
            return Ok((accounts.clone(), groups.clone()));
        }
        let people = People::open(&self.home, &self.settings, &self.db, &self.audit)?;
        let limits = Limiter::open(&self.db, self.home.clock.clone(), &self.settings.limits)?;
        let stores = (&self.db, &self.audit);
        let groups = open_groups(&self.home, &limits, stores, &people.registry)?;
        Ok((people.accounts, groups))
    }
}

/// What was begun, as an answer.
fn done(begun: Result<(), ModelsError>) -> Result<Value> {
    begun?;
    Ok(json!({}))
}

/// Waits for what is to be done on other threads; here nothing else waits.
pub(super) fn wait<T>(work: impl Future<Output = T>) -> Result<T> {
    if let Ok(runtime) = Handle::try_current() {
        return Ok(runtime.block_on(work));
    }
    let runtime = Builder::new_current_thread().build().context("the runtime cannot be started")?;
    Ok(runtime.block_on(work))
}

fn named(username: &str, error: AccountError) -> anyhow::Error {
    match error {
        AccountError::NotFound => anyhow!("there is nobody called `{username}`"),
        error => error.into(),
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
        let operator = Operator::of(&self);
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
