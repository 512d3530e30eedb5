//! The threads: one that writes, some that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Access, DbError, DbOptions, Hooks, connect};

/// Tells a job's caller how the commit went.
pub(super) type Answer = Box<dyn FnOnce(Result<(), DbError>) + Send>;
/// Says whether a job's changes are to be kept, and how to answer. Where no transaction could be
/// begun it only answers.
type Work = Box<dyn FnOnce(Result<&Transaction<'_>, DbError>) -> (bool, Answer) + Send>;

/// A job that writes.
pub(super) struct WriteJob {
    pub(super) work: Work,
    /// Whether its answer must be given before the next job runs, so that no other may share its
    /// commit after it.
    pub(super) is_last: bool,
}
/// A job that reads.
pub(super) type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// The thread that writes.
pub(super) struct Writer {
    jobs: SyncSender<WriteJob>,
}

impl Writer {
    pub(super) fn start(
        mut connection: Connection,
        hooks: Arc<RwLock<Hooks>>,
        options: DbOptions,
    ) -> Result<Self, DbError> {
        let (jobs, waiting) = sync_channel::<WriteJob>(options.queue_max);
        thread::Builder::new()
            .name("db-writer".to_owned())
            .spawn(move || {
                while let Ok(first) = waiting.recv() {
                    run_batch(&mut connection, &hooks, first, &waiting, options.batch_max);
                }
            })
            .map_err(|error| DbError::Io(error.to_string()))?;
        Ok(Self { jobs })
    }

    pub(super) fn send(&self, job: WriteJob) -> Result<(), DbError> {
        self.jobs.try_send(job).map_err(|error| full_or_closed(&error))
    }
}

/// Runs the first job and those that wait behind it in one transaction, then answers them all.
fn run_batch(
    connection: &mut Connection,
    hooks: &RwLock<Hooks>,
    first: WriteJob,
    waiting: &Receiver<WriteJob>,
    batch_max: usize,
) {
    let mut kept: Vec<Answer> = Vec::new();
    let outcome = commit_jobs(connection, hooks, first, waiting, batch_max, &mut kept);
    if let Err(error) = &outcome {
        tracing::error!(cause = %error, jobs = kept.len(), "a write transaction was not kept");
    } else if !kept.is_empty() {
        for hook in &hooks.read().after_commit {
            hook();
        }
    }
    for answer in kept {
        // An answer may bring what is kept in memory up to date: where that panics, the thread that
        // writes goes on.
        let outcome = outcome.clone();
        if catch_unwind(AssertUnwindSafe(|| answer(outcome))).is_err() {
            tracing::error!("what follows a write panicked");
        }
    }
}

fn commit_jobs(
    connection: &mut Connection,
    hooks: &RwLock<Hooks>,
    first: WriteJob,
    waiting: &Receiver<WriteJob>,
    batch_max: usize,
    kept: &mut Vec<Answer>,
) -> Result<(), DbError> {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = DbError::from(error);
            let (_, answer) = (first.work)(Err(error.clone()));
            kept.push(answer);
            return Err(error);
        }
    };
    let mut next = Some(first);
    let mut count = 0;
    while let Some(job) = next {
        let is_last = job.is_last;
        run_job(&transaction, job, kept)?;
        count += 1;
        next = if count < batch_max && !is_last { waiting.try_recv().ok() } else { None };
    }
    if kept.is_empty() {
        return Ok(transaction.rollback()?);
    }
    for hook in &hooks.read().before_commit {
        hook(&transaction)?;
    }
    Ok(transaction.commit()?)
}

fn run_job(
    transaction: &Transaction<'_>,
    job: WriteJob,
    kept: &mut Vec<Answer>,
) -> Result<(), DbError> {
    transaction.execute_batch("SAVEPOINT job")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (job.work)(Ok(transaction))));
    // A full disk or a failed write can end the whole transaction under our hands.
    if transaction.is_autocommit() {
        if let Ok((_, answer)) = outcome {
            kept.push(answer);
        }
        return Err(DbError::Full);
    }
    match outcome {
        Ok((true, answer)) => {
            transaction.execute_batch("RELEASE job")?;
            kept.push(answer);
        }
        Ok((false, answer)) => {
            transaction.execute_batch("ROLLBACK TO job; RELEASE job")?;
            answer(Ok(()));
        }
        Err(_) => {
            tracing::error!("a write job panicked; its changes were undone");
            transaction.execute_batch("ROLLBACK TO job; RELEASE job")?;
        }
    }
    Ok(())
}

/// The threads that read.
pub(super) struct Readers {
    jobs: SyncSender<ReadJob>,
}

impl Readers {
    pub(super) fn start(path: &Path, options: DbOptions) -> Result<Self, DbError> {
        let (jobs, waiting) = sync_channel::<ReadJob>(options.queue_max);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..options.readers.max(1) {
            let connection = connect(path, Access::Read)?;
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name(format!("db-reader-{number}"))
                .spawn(move || {
                    loop {
                        // The lock is held while waiting for a job, not while running it.
                        let job = waiting.lock().recv();
                        let Ok(job) = job else { return };
                        if catch_unwind(AssertUnwindSafe(|| job(&connection))).is_err() {
                            tracing::error!("a read job panicked");
                        }
                    }
                })
                .map_err(|error| DbError::Io(error.to_string()))?;
        }
        Ok(Self { jobs })
    }

    pub(super) fn send(&self, job: ReadJob) -> Result<(), DbError> {
        self.jobs.try_send(job).map_err(|error| full_or_closed(&error))
    }
}

fn full_or_closed<T>(error: &TrySendError<T>) -> DbError {
    match error {
        TrySendError::Full(_) => DbError::Busy,
        TrySendError::Disconnected(_) => DbError::Closed,
    }
}
