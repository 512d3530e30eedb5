//! What sealing, audited writes and verification cost.
//!
//! `cargo bench --bench store`

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use strongroom::audit::verify::{Trust, verify};
use strongroom::audit::{Action, Actor, AuditLog, Event, Outcome};
use strongroom::clock::Clock;
use strongroom::db::{Db, DbError, DbOptions, open_to_read};
use strongroom::ids::UserId;
use strongroom::vault::{Aad, KeySource, Scope, Vault};

struct House {
    directory: tempfile::TempDir,
    db: Db,
    log: AuditLog,
    vault: Vault,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let vault = Vault::create(&directory.path().join("keys"), &KeySource::File).expect("vault");
        let db = Db::open(&directory.path().join("t.db"), DbOptions::default()).expect("db");
        let audit = directory.path().join("audit");
        let log = AuditLog::open(&db, &vault, &audit, &Clock::system()).expect("log");
        Self { directory, db, log, vault }
    }

    /// One event a call, from so many threads at once.
    fn record(&self, count: u64, threads: u64) -> Duration {
        let share = count.div_ceil(threads);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for tokens in 0..share {
                        self.log.record_blocking(event(tokens)).expect("recorded");
                    }
                });
            }
        });
        begin.elapsed().mul_f64(count as f64 / (share * threads) as f64)
    }
}

fn event(tokens: u64) -> Event {
    Event::new(Action::GenerationEnd, Outcome::Done, Actor::Anonymous)
        .subject("guide")
        .with("prompt_tokens", tokens)
        .with("completion_tokens", 12)
}

fn sealing(criterion: &mut Criterion) {
    let house = House::new();
    let user = UserId::new();
    house.vault.add_person(user).expect("person");
    let aad = Aad { table: "messages", column: "content", row: "msg_1", owner: "usr_1" };
    let mut group = criterion.benchmark_group("vault");
    for size in [256_usize, 4_096, 65_536] {
        let plain = vec![7; size];
        let scope = Scope::Person(user);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("seal", size), |bencher| {
            bencher.iter(|| house.vault.seal(scope, &aad, black_box(&plain)).expect("sealed"));
        });
        let sealed = house.vault.seal(scope, &aad, &plain).expect("sealed");
        group.bench_function(BenchmarkId::new("open", size), |bencher| {
            bencher.iter(|| house.vault.open(scope, &aad, black_box(&sealed)).expect("opened"));
        });
    }
    group.finish();
}

fn writing(criterion: &mut Criterion) {
    let house = House::new();
    house
        .db
        .write_blocking(|tx| -> Result<(), DbError> {
            Ok(tx.execute_batch("CREATE TABLE bench (a INTEGER) STRICT")?)
        })
        .expect("table");
    let mut group = criterion.benchmark_group("audit");
    group.throughput(Throughput::Elements(1));
    for threads in [1_u64, 16, 64, 256] {
        group.bench_function(BenchmarkId::new("record", threads), |bencher| {
            bencher.iter_custom(|count| house.record(count, threads));
        });
    }
    group.bench_function("write_without_audit", |bencher| {
        bencher.iter(|| {
            house
                .db
                .write_blocking(|tx| -> Result<usize, DbError> {
                    Ok(tx.execute("INSERT INTO bench VALUES (1)", [])?)
                })
                .expect("written")
        });
    });
    group.finish();
}

fn verifying(criterion: &mut Criterion) {
    let house = House::new();
    let _ = house.record(4_096, 64);
    let db = open_to_read(house.db.path()).expect("opens");
    let audit = house.directory.path().join("audit");
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(4_096));
    group.bench_function("4096_events", |bencher| {
        bencher.iter(|| assert!(verify(&db, &audit, &[], &Trust::Beside).expect("verified").ok));
    });
    group.finish();
}

criterion_group! {
    name = store;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = sealing, writing, verifying
}
criterion_main!(store);
