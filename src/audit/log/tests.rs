//! The log over a real database: order, heads, gaps, and what survives a crash.

mod restart;

use rusqlite::Connection;

use super::*;
use crate::audit::heads_file::HEADS_FILE;
use crate::audit::verify::{KeptHead, Trust, Verification, verify};
use crate::audit::{Actor, Format, Outcome, export};
use crate::db::DbOptions;
use crate::vault::KeySource;

struct Bench {
    directory: tempfile::TempDir,
    db: Db,
    vault: Vault,
    log: AuditLog,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().expect("directory");
    let vault = Vault::create(&directory.path().join("keys"), &KeySource::File).expect("vault");
    let db = Db::open(&directory.path().join("t.db"), DbOptions::default()).expect("db");
    let log = open(&directory, &db, &vault).expect("log");
    Bench { directory, db, vault, log }
}

fn open(directory: &tempfile::TempDir, db: &Db, vault: &Vault) -> Result<AuditLog, AuditError> {
    AuditLog::open(db, vault, &directory.path().join("audit"), &Clock::system())
}

fn event(i: u64) -> Event {
    Event::new(Action::SessionCreate, Outcome::Done, Actor::Anonymous).with("number", i)
}

impl Bench {
    fn filled(count: u64) -> Self {
        let bench = bench();
        for i in 0..count {
            bench.log.record_blocking(event(i)).expect("recorded");
        }
        bench
    }

    fn verify(&self, kept: &[KeptHead]) -> Verification {
        self.verify_by(kept, &Trust::Beside)
    }

    fn verify_by(&self, kept: &[KeptHead], trust: &Trust) -> Verification {
        let db = Connection::open(self.db.path()).expect("opens");
        verify(&db, &self.directory.path().join("audit"), kept, trust).expect("verified")
    }

    /// The server ends, somebody does something, the server starts again.
    fn restarted(self, meanwhile: impl FnOnce(&Path)) -> Result<Self, AuditError> {
        let Self { directory, db, vault, log } = self;
        let path = db.path().to_owned();
        drop((db, log));
        meanwhile(&directory.path().join("audit"));
        let db = Db::open(&path, DbOptions::default()).expect("db");
        let log = open(&directory, &db, &vault)?;
        Ok(Self { directory, db, vault, log })
    }

    fn gaps(&self) -> Vec<Record> {
        let filter = Filter { action: Some(Action::AuditGap), limit: 9, ..Filter::default() };
        self.db.read_blocking(move |db| store::page(db, &filter)).expect("page")
    }

    /// What somebody with the database file at hand does to it.
    fn tamper(&self, sql: &str) {
        let db = Connection::open(self.db.path()).expect("opens");
        db.execute_batch(sql).expect("changed");
    }

    fn assert_found(&self, words: &str) {
        let found = self.verify(&[]);
        assert!(!found.ok);
        assert!(found.problems.iter().any(|one| one.contains(words)), "{:?}", found.problems);
    }
}

#[test]
fn an_untouched_log_verifies_after_a_restart_too() {
    let bench = Bench::filled(20);
    let again = open(&bench.directory, &bench.db, &bench.vault).expect("opens");
    drop(bench.log.clone());
    let found = bench.verify(&[]);
    assert!(found.ok, "{:?}", found.problems);
    assert_eq!(found.size, 20);
    assert_eq!(again.head().expect("a head").size, 20);
    assert_eq!(hex::encode(again.head().expect("a head").root), found.root);
}

#[test]
fn a_deleted_event_is_found_and_located() {
    let bench = Bench::filled(9);
    bench.tamper("DELETE FROM audit_events WHERE seq = 4");
    bench.assert_found("events 4 to 4 are missing");
}

#[test]
fn a_changed_event_is_found_and_located() {
    let bench = Bench::filled(9);
    bench.tamper("UPDATE audit_events SET body = CAST(replace(CAST(body AS TEXT), '\"number\":5', '\"number\":6') AS BLOB) WHERE seq = 6");
    bench.assert_found("event 6 was changed");
}

#[test]
fn a_changed_column_is_found_and_located() {
    let bench = Bench::filled(9);
    bench.tamper("UPDATE audit_events SET actor = 'usr_somebody' WHERE seq = 3");
    bench.assert_found("event 3 was changed or moved");
}

#[test]
fn an_event_that_was_rewritten_with_its_hash_is_found_between_its_heads() {
    let bench = Bench::filled(9);
    let body = event(99).canonical(6, Timestamp::from_ms(0));
    let db = Connection::open(bench.db.path()).expect("opens");
    let leaf = leaf_hash(&body);
    db.execute("UPDATE audit_events SET body = ?1, leaf = ?2, at = 0 WHERE seq = 6", (body, leaf))
        .expect("changed");
    bench.assert_found("events 6 to 6 are not those that were signed");
}

#[test]
fn reordered_events_are_found() {
    let bench = Bench::filled(9);
    bench.tamper(
        "UPDATE audit_events SET seq = -1 WHERE seq = 2; UPDATE audit_events SET seq = 2 WHERE seq = 3;
         UPDATE audit_events SET seq = 3 WHERE seq = -1",
    );
    bench.assert_found("event 2 was changed or moved");
}

#[test]
fn an_inserted_event_is_found() {
    let bench = Bench::filled(3);
    bench.tamper("INSERT INTO audit_events SELECT 4, at, action, outcome, actor, subject, request, body, leaf FROM audit_events WHERE seq = 3");
    bench.assert_found("events 4 to 4 are under no signed head");
}

#[test]
fn a_database_that_was_cut_short_is_found_by_the_heads_outside_it() {
    let bench = Bench::filled(9);
    bench.tamper("DELETE FROM audit_events WHERE seq > 5; DELETE FROM audit_heads WHERE size > 5");
    bench.assert_found("the log was cut short: heads.log covers 9 events, and there are 5");
}

#[test]
fn a_roll_back_of_database_and_heads_is_found_by_a_head_kept_elsewhere() {
    let bench = Bench::filled(9);
    let head = bench.log.head().expect("a head");
    bench.tamper("DELETE FROM audit_events WHERE seq > 5; DELETE FROM audit_heads WHERE size > 5");
    let file = bench.directory.path().join("audit").join(HEADS_FILE);
    let text = std::fs::read_to_string(&file).expect("read");
    let short: String = text.lines().take(5).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(&file, short).expect("written");
    assert!(bench.verify(&[]).ok);
    let kept =
        KeptHead::parse(&format!("{}:{}", head.size, hex::encode(head.root))).expect("parses");
    let found = bench.verify(&[kept]);
    assert!(found.problems[0].contains("the head kept elsewhere covers 9 events"), "{found:?}");
}

#[test]
fn a_forged_head_is_found() {
    let bench = Bench::filled(3);
    bench.tamper("UPDATE audit_heads SET signature = zeroblob(64) WHERE size = 2");
    bench.assert_found("the head over 2 events in the database has a wrong signature");
}

#[test]
fn nothing_is_recorded_over_a_log_that_lost_its_end() {
    let bench = Bench::filled(5);
    bench.tamper("DELETE FROM audit_events WHERE seq > 3");
    assert!(bench.log.record_blocking(event(9)).is_err());
    assert!(open(&bench.directory, &bench.db, &bench.vault).is_err());
}

#[test]
fn an_event_is_kept_if_and_only_if_the_change_is() {
    let bench = bench();
    let log = bench.log.clone();
    let outcome = bench.db.write_blocking(move |tx| -> Result<(), AuditError> {
        log.record_in(tx, event(1))?;
        Err(AuditError::Inconsistent("on purpose".to_owned()))
    });
    assert!(outcome.is_err());
    assert_eq!(bench.verify(&[]).size, 0);
    bench.log.record_blocking(event(2)).expect("recorded");
    let found = bench.verify(&[]);
    assert!(found.ok && found.size == 1, "{found:?}");
}

#[test]
fn many_writers_share_heads_and_the_log_verifies() {
    let bench = bench();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for i in 0..20 {
                    bench.log.record_blocking(event(i)).expect("recorded");
                }
            });
        }
    });
    let found = bench.verify(&[]);
    assert!(found.ok && found.size == 320, "{found:?}");
}

#[test]
fn pages_and_exports_give_what_was_recorded() {
    let bench = Bench::filled(5);
    let filter = Filter { before: Some(5), limit: 2, ..Filter::default() };
    let page = bench.db.read_blocking(move |db| store::page(db, &filter)).expect("page");
    assert_eq!(page.iter().map(|record| record.seq).collect::<Vec<_>>(), [4, 3]);
    let db = Connection::open(bench.db.path()).expect("opens");
    for format in [Format::Jsonl, Format::Csv] {
        let mut out = Vec::new();
        assert_eq!(export(&db, 1, format, &mut out).expect("exported"), 4);
        assert!(String::from_utf8(out).expect("text").contains("session.create"));
    }
}

#[test]
fn nothing_is_recorded_while_the_vault_is_sealed_and_everything_after_it() {
    let bench = Bench::filled(2);
    let phrase = crate::secret::SecretText::new("four quiet words here".into());
    bench.vault.move_to_passphrase(&phrase).expect("moved");
    let Bench { directory, db, vault, log } = bench;
    drop((db, vault, log));
    let vault = Vault::load(&directory.path().join("keys")).expect("loads");
    let db = Db::open(&directory.path().join("t.db"), DbOptions::default()).expect("db");
    let log = open(&directory, &db, &vault).expect("opens sealed");
    let outcome = log.record_blocking(event(3));
    assert!(matches!(outcome, Err(AuditError::Vault(VaultError::Sealed))), "{outcome:?}");
    let bench = Bench { directory, db, vault, log };
    assert!(bench.verify(&[]).ok);
    bench.vault.unseal(&phrase).expect("opens");
    assert_eq!(bench.log.record_blocking(event(3)).expect("recorded"), 3);
    let found = bench.verify(&[]);
    assert!(found.ok && found.size == 3, "{found:?}");
}

#[test]
fn a_database_that_was_set_back_is_told_by_an_event_and_by_every_verification() {
    let bench = Bench::filled(9);
    bench.tamper("DELETE FROM audit_events WHERE seq > 5; DELETE FROM audit_heads WHERE size > 5");
    let Bench { directory, db, vault, log } = bench;
    let path = db.path().to_owned();
    drop((db, log));
    let db = Db::open(&path, DbOptions::default()).expect("db");
    let log = open(&directory, &db, &vault).expect("opens");
    log.record_blocking(event(6)).expect("recorded");
    log.record_blocking(event(7)).expect("recorded");
    let filter = Filter { action: Some(Action::AuditGap), limit: 9, ..Filter::default() };
    let page = db.read_blocking(move |db| store::page(db, &filter)).expect("page");
    assert_eq!(page.len(), 1);
    assert_eq!(page[0].field("detail")["file_size"], 9);
    let bench = Bench { directory, db, vault, log };
    bench.assert_found("the log was cut short: heads.log covers 9 events, and there are 8");
}

#[test]
fn events_that_were_added_while_the_server_was_down_are_never_signed() {
    let bench = Bench::filled(3);
    bench.tamper("INSERT INTO audit_events SELECT 4, at, action, outcome, actor, subject, request, body, leaf FROM audit_events WHERE seq = 3");
    let outcome = open(&bench.directory, &bench.db, &bench.vault);
    assert!(matches!(outcome, Err(AuditError::Inconsistent(_))));
}

#[test]
fn a_head_that_a_crash_kept_from_the_file_is_added_at_the_next_start() {
    let bench = Bench::filled(4);
    let file = bench.directory.path().join("audit").join(HEADS_FILE);
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, &text[..text.len() - 20]).expect("cut");
    assert!(bench.verify(&[]).ok);
    let bench = bench.restarted(|_| {}).expect("opens");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), text);
    bench.log.record_blocking(event(5)).expect("recorded");
    assert!(bench.gaps().is_empty(), "a crash is no gap");
    std::fs::remove_file(&file).expect("removed");
    bench.assert_found("heads.log is missing");
}

#[test]
fn a_removed_head_and_a_changed_tree_are_found() {
    let bench = Bench::filled(4);
    bench.tamper("DELETE FROM audit_heads WHERE size = 2");
    bench.assert_found("the head over 2 events is missing in the database");
    bench.tamper("UPDATE audit_heads SET peaks = zeroblob(32) WHERE size = 4");
    bench.assert_found("the state from which the tree grows was changed");
}

#[tokio::test]
async fn proofs_of_the_log_verify_against_its_heads() {
    let bench = Bench::filled(7);
    let old = bench.log.head().expect("a head");
    for i in 0..6 {
        bench.log.record(event(i)).await.expect("recorded");
    }
    let new = bench.log.head().expect("a head");
    let root = |head: &Head| ct_merkle::RootHash::<Sha256>::new(head.root.into(), head.size);
    let proof = bench.log.prove_consistency(old.size, new.size).await.expect("proof");
    root(&new).verify_consistency(&root(&old), &proof).expect("consistent");
    let filter = Filter { before: Some(5), limit: 1, ..Filter::default() };
    let page = bench.log.page(filter).await.expect("page");
    let proof = bench.log.prove_inclusion(page[0].seq, new.size).await.expect("proof");
    let index = page[0].seq - 1;
    root(&new).verify_inclusion(&page[0].body, index, &proof).expect("included");
    assert!(root(&new).verify_inclusion(&b"other", index, &proof).is_err());
    for (part, size) in [(0, 5), (6, 5), (1, 14)] {
        assert!(bench.log.prove_inclusion(part, size).await.is_err());
        assert!(bench.log.prove_consistency(part, size).await.is_err());
    }
}

#[test]
fn pages_can_be_filtered_by_actor_with_keys_action_subject_and_time() {
    let bench = bench();
    let (user, key) = (crate::ids::UserId::new(), crate::ids::KeyId::new());
    let actors = [Actor::Person(user), Actor::Key { user, key }, Actor::System];
    for actor in actors {
        let event = Event::new(Action::KeyCreate, Outcome::Done, actor).subject(key);
        bench.log.record_blocking(event).expect("recorded");
    }
    bench.log.record_blocking(event(1)).expect("recorded");
    let count = |filter: Filter| {
        let filter = Filter { limit: 100, ..filter };
        bench.db.read_blocking(move |db| store::page(db, &filter)).expect("page").len()
    };
    let by = |actor: String| Filter { actor: Some(actor), ..Filter::default() };
    assert_eq!(count(Filter::default()), 4);
    assert_eq!(count(by(user.to_string())), 2);
    assert_eq!(count(by(format!("{user}/{key}"))), 1);
    assert_eq!(count(by("system".into())), 1);
    assert_eq!(count(by("' OR 1 = 1 --".into())), 0);
    let action = Some(Action::KeyCreate);
    assert_eq!(count(Filter { action, ..by(user.to_string()) }), 2);
    assert_eq!(count(Filter { subject: Some(key.to_string()), ..Filter::default() }), 3);
    let since = Some(Timestamp::from_ms(i64::MAX));
    assert_eq!(count(Filter { since, ..Filter::default() }), 0);
}

#[test]
fn a_log_can_be_verified_in_a_transaction_of_the_caller() {
    let bench = Bench::filled(3);
    let db = Connection::open(bench.db.path()).expect("opens");
    db.execute_batch("BEGIN").expect("begun");
    let directory = bench.directory.path().join("audit");
    bench.log.record_blocking(event(4)).expect("recorded");
    let found = verify(&db, &directory, &[], &Trust::Beside).expect("verified");
    assert!(found.ok && found.size == 4, "{found:?}");
}
