//! The store: order, durability, migrations, locks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;

fn open() -> (tempfile::TempDir, Db) {
    let directory = tempfile::tempdir().expect("directory");
    let db = Db::open(&directory.path().join("t.db"), DbOptions::default()).expect("open");
    db.write_blocking(|tx| -> Result<(), DbError> {
        Ok(tx.execute_batch("CREATE TABLE t (a INTEGER UNIQUE) STRICT")?)
    })
    .expect("table");
    (directory, db)
}

fn insert(db: &Db, value: i64) -> Result<(), DbError> {
    db.write_blocking(move |tx| {
        tx.execute("INSERT INTO t VALUES (?1)", [value])?;
        Ok(())
    })
}

fn sum(db: &Db) -> i64 {
    db.read_blocking(|db| -> Result<i64, DbError> {
        Ok(db.query_row("SELECT coalesce(sum(a), 0) FROM t", [], |row| row.get(0))?)
    })
    .expect("sum")
}

#[test]
fn a_job_that_fails_leaves_nothing_and_others_of_its_batch_stay() {
    let (_directory, db) = open();
    std::thread::scope(|scope| {
        for value in 0..64_i64 {
            let db = &db;
            scope.spawn(move || {
                let outcome = db.write_blocking(move |tx| -> Result<(), DbError> {
                    tx.execute("INSERT INTO t VALUES (?1)", [value])?;
                    if value % 2 == 1 { Err(DbError::Busy) } else { Ok(()) }
                });
                assert_eq!(outcome.is_ok(), value % 2 == 0);
            });
        }
    });
    assert_eq!(sum(&db), (0..64).filter(|value| value % 2 == 0).sum::<i64>());
}

#[test]
fn a_job_that_panics_is_undone_and_the_writer_goes_on() {
    let (_directory, db) = open();
    let outcome = db.write_blocking(|tx| -> Result<(), DbError> {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        panic!("on purpose")
    });
    assert!(matches!(outcome, Err(DbError::Closed)));
    insert(&db, 2).expect("goes on");
    assert_eq!(sum(&db), 2);
}

#[tokio::test]
async fn what_follows_a_write_happens_in_the_order_of_commits_and_without_a_listener() {
    let (_directory, db) = open();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for value in 0..40_i64 {
        let seen = Arc::clone(&seen);
        let job = move |tx: &Transaction<'_>| -> Result<i64, DbError> {
            tx.execute("INSERT INTO t VALUES (?1)", [value])?;
            if value % 4 == 3 { Err(DbError::Busy) } else { Ok(value) }
        };
        let mut write = Box::pin(db.write_then(job, move |value| seen.lock().push(*value)));
        // Asked once, so that the job is under way, and then given up.
        let _ = futures_util::FutureExt::now_or_never(write.as_mut());
    }
    db.write(|_| -> Result<(), DbError> { Ok(()) }).await.expect("all before are done");
    let expected: Vec<i64> = (0..40).filter(|value| value % 4 != 3).collect();
    assert_eq!(*seen.lock(), expected);
}

#[tokio::test]
async fn a_later_write_sees_what_followed_an_earlier_one() {
    let (_directory, db) = open();
    let (go, wait) = sync_channel::<()>(0);
    let held = db.write(move |_| -> Result<(), DbError> {
        wait.recv().expect("told to go on");
        Ok(())
    });
    let is_told = Arc::new(AtomicBool::new(false));
    let (tell, look) = (Arc::clone(&is_told), is_told);
    let order = Ordering::SeqCst;
    let first =
        db.write_then(|_| -> Result<(), DbError> { Ok(()) }, move |()| tell.store(true, order));
    let second = db.write(move |_| -> Result<bool, DbError> { Ok(look.load(order)) });
    let release = async { std::thread::spawn(move || go.send(())) };
    let (held, first, second, _) = tokio::join!(held, first, second, release);
    assert!(held.is_ok() && first.is_ok());
    assert!(second.expect("looked"), "though both waited for the same thread at once");
}

#[tokio::test]
async fn what_follows_a_write_that_is_not_kept_does_not_happen() {
    let (_directory, db) = open();
    db.before_commit(|_| Err(DbError::Full));
    let job = |tx: &Transaction<'_>| -> Result<(), DbError> {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        Ok(())
    };
    let outcome = db.write_then(job, |()| panic!("it was not kept")).await;
    assert!(matches!(outcome, Err(DbError::Full)));
}

#[test]
fn a_hook_that_fails_keeps_the_whole_transaction_from_being_kept() {
    let (_directory, db) = open();
    let is_failing = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&is_failing);
    db.before_commit(
        move |_| {
            if flag.load(Ordering::SeqCst) { Err(DbError::Full) } else { Ok(()) }
        },
    );
    assert!(matches!(insert(&db, 1), Err(DbError::Full)));
    is_failing.store(false, Ordering::SeqCst);
    insert(&db, 2).expect("kept");
    assert_eq!(sum(&db), 2);
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_found_out_and_the_disk_is_not_asked_each_time() {
    let (_directory, db) = open();
    let (is_failing, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (flag, count) = (Arc::clone(&is_failing), Arc::clone(&commits));
    db.before_commit(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        if flag.load(Ordering::SeqCst) { Err(DbError::Full) } else { Ok(()) }
    });
    assert!(db.took_writes(Duration::ZERO).await);
    is_failing.store(true, Ordering::SeqCst);
    assert!(!db.took_writes(Duration::ZERO).await);
    is_failing.store(false, Ordering::SeqCst);
    let before = commits.load(Ordering::SeqCst);
    for _ in 0..10 {
        assert!(!db.took_writes(Duration::from_mins(1)).await, "as it was found");
    }
    assert_eq!(commits.load(Ordering::SeqCst), before);
    assert!(db.took_writes(Duration::ZERO).await);
}

#[test]
fn readers_cannot_write() {
    let (_directory, db) = open();
    let outcome = db.read_blocking(|db| -> Result<usize, DbError> {
        Ok(db.execute("INSERT INTO t VALUES (1)", [])?)
    });
    assert!(matches!(outcome, Err(DbError::ReadOnly)));
}

#[test]
fn a_constraint_is_named_without_values() {
    let (_directory, db) = open();
    insert(&db, 421_337).expect("first");
    let error = insert(&db, 421_337).expect_err("second");
    assert!(matches!(error, DbError::Constraint(_)));
    assert!(!error.to_string().contains("421337"), "{error}");
}

#[test]
fn a_full_database_is_an_error_and_not_the_end() {
    let (_directory, db) = open();
    db.write_blocking(|tx| -> Result<(), DbError> {
        tx.execute_batch("CREATE TABLE big (b BLOB) STRICT")?;
        Ok(tx.execute_batch("PRAGMA max_page_count = 60")?)
    })
    .expect("bounded");
    let outcome = db.write_blocking(|tx| -> Result<(), DbError> {
        tx.execute("INSERT INTO big VALUES (zeroblob(10000000))", [])?;
        Ok(())
    });
    assert!(matches!(outcome, Err(DbError::Full)), "{outcome:?}");
    insert(&db, 3).expect("small writes still fit");
    assert_eq!(sum(&db), 3);
}

#[test]
fn a_copy_holds_what_was_committed() {
    let (directory, db) = open();
    insert(&db, 5).expect("row");
    let target = directory.path().join("copy.db");
    db.copy_to(&target).expect("copied");
    let copy = Db::open(&target, DbOptions::default()).expect("opens");
    assert_eq!(sum(&copy), 5);
}

#[test]
fn the_writer_waits_for_the_disk_and_readers_cannot_write() {
    let (_directory, db) = open();
    let (mode, synchronous, deletes_securely) = db
        .write_blocking(|tx| -> Result<_, DbError> {
            let number = |sql: &str| tx.query_row(sql, [], |row| row.get::<_, i64>(0));
            let mode: String = tx.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
            Ok((mode, number("PRAGMA synchronous")?, number("PRAGMA secure_delete")?))
        })
        .expect("asked");
    // 2 is FULL.
    assert_eq!((mode.as_str(), synchronous, deletes_securely), ("wal", 2, 1));
    let outcome = db.read_blocking(|db| -> Result<usize, DbError> {
        Ok(db.execute("INSERT INTO t VALUES (1)", [])?)
    });
    assert!(outcome.is_err());
}

#[test]
fn a_file_that_cannot_be_opened_is_named_once_with_why_and_what_may_help() {
    let dir = tempfile::tempdir().expect("a directory");
    for (path, access, help) in [
        (dir.path().join("none.db"), Access::Read, "--data-dir"),
        (dir.path().to_owned(), Access::Write, "may read and write"),
    ] {
        let error = connect(&path, access).map(drop).expect_err("it is no database").to_string();
        assert_eq!(error.matches(&path.display().to_string()).count(), 1, "{error}");
        assert!(error.contains(": unable to open database file; "), "{error}");
        assert!(error.contains(help), "{error}");
    }
}
