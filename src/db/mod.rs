//! SQLite: connection threads, transactions, migrations. Knows no feature.
//!
//! One thread writes; it gathers the jobs that wait into one transaction, each in a savepoint of
//! its own, and acknowledges them after the commit has reached the disk (WAL,
//! `synchronous=FULL`). A few threads read, each with a connection that cannot write.

mod check;
mod error;
pub mod lock;
mod migrations;
mod pool;
mod ready;
pub mod sql;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use parking_lot::{Mutex, RwLock};
use rusqlite::OpenFlags;
pub use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

pub use check::check_file;
pub use error::DbError;
use pool::{Answer, Readers, WriteJob, Writer};

/// How a database is opened.
#[derive(Debug, Clone, Copy)]
pub struct DbOptions {
    /// Threads that read.
    pub readers: usize,
    /// Jobs that may wait for the writer, and as many for the readers.
    pub queue_max: usize,
    /// Jobs that share one commit.
    pub batch_max: usize,
}

impl Default for DbOptions {
    fn default() -> Self {
        Self { readers: 3, queue_max: 4_096, batch_max: 128 }
    }
}

type BeforeCommit = Box<dyn Fn(&Transaction<'_>) -> Result<(), DbError> + Send + Sync>;
type AfterCommit = Box<dyn Fn() + Send + Sync>;

/// What runs at the end of every write transaction.
#[derive(Default)]
struct Hooks {
    before_commit: Vec<BeforeCommit>,
    after_commit: Vec<AfterCommit>,
}

/// The database.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: Writer,
    readers: Readers,
    hooks: Arc<RwLock<Hooks>>,
    probe: Mutex<ready::Probe>,
}

impl Db {
    /// Opens the database, making or migrating it first. A copy of an existing database is put
    /// beside it before a migration touches it.
    pub fn open(path: &Path, options: DbOptions) -> Result<Self, DbError> {
        let mut connection = connect(path, Access::Write)?;
        migrations::run(&mut connection, path, migrations::ALL)?;
        Self::start(path, connection, options)
    }

    fn start(path: &Path, connection: Connection, options: DbOptions) -> Result<Self, DbError> {
        let hooks = Arc::new(RwLock::new(Hooks::default()));
        let writer = Writer::start(connection, Arc::clone(&hooks), options)?;
        let readers = Readers::start(path, options)?;
        let (path, probe) = (path.to_owned(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { path, writer, readers, hooks, probe }) })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Adds a function that runs inside every write transaction, right before its commit. Where it
    /// fails, nothing of the transaction is kept.
    pub fn before_commit(
        &self,
        hook: impl Fn(&Transaction<'_>) -> Result<(), DbError> + Send + Sync + 'static,
    ) {
        self.inner.hooks.write().before_commit.push(Box::new(hook));
    }

    /// Adds a function that runs after every commit, before the jobs are acknowledged.
    pub fn after_commit(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.inner.hooks.write().after_commit.push(Box::new(hook));
    }

    /// Runs a job that reads.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        // Nobody waits any more when the caller went away; that is no error, here and below.
        self.send_read(job, move |result| drop(sender.send(result)))?;
        receiver.await.unwrap_or_else(|_| Err(DbError::Closed.into()))
    }

    /// Runs a job that writes, and returns once what it wrote is on disk. A job that returns an
    /// error leaves nothing behind.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.send_write(false, job, move |result| drop(sender.send(result)))?;
        receiver.await.unwrap_or_else(|_| Err(DbError::Closed.into()))
    }

    /// `write`, with what is to be done in memory once the change is on disk: `after` runs on the
    /// thread that writes, after the commit and before the answer. So it runs whether or not anybody
    /// still waits for the answer, in the order of commits, and before any later job looks. It must be
    /// short, and must not write.
    pub async fn write_then<T, E, F, A>(&self, job: F, after: A) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.send_write(true, job, move |result| {
            if let Ok(value) = &result {
                after(value);
            }
            drop(sender.send(result));
        })?;
        receiver.await.unwrap_or_else(|_| Err(DbError::Closed.into()))
    }

    /// `read` for threads that may block: the command line, tests.
    pub fn read_blocking<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        self.send_read(job, move |result| drop(sender.send(result)))?;
        receiver.recv().unwrap_or_else(|_| Err(DbError::Closed.into()))
    }

    /// `write` for threads that may block: the command line, tests.
    pub fn write_blocking<T, E, F>(&self, job: F) -> Result<T, E>
    where
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let (sender, receiver) = sync_channel(1);
        self.send_write(false, job, move |result| drop(sender.send(result)))?;
        receiver.recv().unwrap_or_else(|_| Err(DbError::Closed.into()))
    }

    fn send_read<T, E>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        reply: impl FnOnce(Result<T, E>) + Send + 'static,
    ) -> Result<(), DbError> {
        self.inner.readers.send(Box::new(move |connection| reply(job(connection))))
    }

    fn send_write<T, E>(
        &self,
        is_last: bool,
        job: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        reply: impl FnOnce(Result<T, E>) + Send + 'static,
    ) -> Result<(), DbError>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let work = Box::new(move |transaction: Result<&Transaction<'_>, DbError>| {
            let result = transaction.map_err(E::from).and_then(job);
            let is_kept = result.is_ok();
            let answer: Answer = Box::new(move |committed| {
                reply(match committed {
                    Ok(()) => result,
                    Err(error) => result.and(Err(error.into())),
                });
            });
            (is_kept, answer)
        });
        self.inner.writer.send(WriteJob { work, is_last })
    }

    /// Copies the whole database, as it stands at one moment, to a new file, while others go on
    /// reading and writing.
    pub fn copy_to(&self, target: &Path) -> Result<(), DbError> {
        let source = connect(&self.inner.path, Access::Read)?;
        migrations::copy(&source, target)
    }
}

/// Opens a database file only to read it, without taking part in its life: no thread, no migration,
/// no lock on the directory. For checks beside a server that may be running.
pub fn open_to_read(path: &Path) -> Result<Connection, DbError> {
    connect(path, Access::Read)
}

/// What a connection may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

fn connect(path: &Path, access: Access) -> Result<Connection, DbError> {
    let base = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let flags = match access {
        Access::Read => base | OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write => base | OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
    };
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| DbError::of_opening(path, error))?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA foreign_keys = ON;")?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    match access {
        Access::Read => connection.execute_batch("PRAGMA query_only = ON;")?,
        Access::Write => {
            let mode: String =
                connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            if !mode.eq_ignore_ascii_case("wal") {
                return Err(DbError::Unusable(format!("the journal mode is {mode}, not WAL")));
            }
            // FULL: a commit is on disk when it is acknowledged, power cut or not.
            // secure_delete: what is deleted is overwritten.
            connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;")?;
        }
    }
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

#[cfg(test)]
mod tests;
