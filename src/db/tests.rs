//! The store: order, durability, migrations, locks.

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

#[test]
fn a_hook_that_fails_keeps_the_whole_transaction_from_being_kept() {
    let (_directory, db) = open();
    let is_failing = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let flag = Arc::clone(&is_failing);
    db.before_commit(move |_| {
        if flag.load(std::sync::atomic::Ordering::SeqCst) { Err(DbError::Full) } else { Ok(()) }
    });
    assert!(matches!(insert(&db, 1), Err(DbError::Full)));
    is_failing.store(false, std::sync::atomic::Ordering::SeqCst);
    insert(&db, 2).expect("kept");
    assert_eq!(sum(&db), 2);
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
