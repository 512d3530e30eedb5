//! Backups: made while the server writes, verified, restored, and refused when broken.

use std::fs;

use super::*;
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::db::{Db, DbOptions};
use crate::ids::{KeyId, UserId};
use crate::secret::SecretText;
use crate::vault::{Aad, KeySource, Purpose, Scope, Sealed, Vault};

const PLACE: Aad<'static> = Aad { table: "t", column: "c", row: "r", owner: "o" };

struct House {
    directory: tempfile::TempDir,
    vault: Vault,
    db: Db,
    log: AuditLog,
    person: UserId,
    sealed: Sealed,
}

impl House {
    fn new(source: &KeySource) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let data = directory.path().join("data");
        fs::create_dir(&data).expect("data");
        let vault = Vault::create(&data.join("keys"), source).expect("vault");
        let db = Db::open(&data.join(DATABASE), DbOptions::default()).expect("db");
        let log = AuditLog::open(&db, &vault, &data.join("audit"), &Clock::system()).expect("log");
        for _ in 0..5 {
            let event = Event::new(Action::ServerStart, Outcome::Done, Actor::System);
            log.record_blocking(event).expect("recorded");
        }
        let person = UserId::new();
        vault.add_person(person).expect("person");
        let sealed = vault.seal(Scope::Person(person), &PLACE, b"words").expect("sealed");
        fs::create_dir(data.join("tls")).expect("tls");
        fs::write(data.join("tls/ca.pem"), "certificate").expect("written");
        Self { directory, vault, db, log, person, sealed }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn backup(&self) -> Created {
        self.backup_at(1_000)
    }

    fn backup_at(&self, ms: i64) -> Created {
        let head = self.log.head().map(|head| format!("{}:{}", head.size, hex::encode(head.root)));
        let sources = Sources {
            data_dir: &self.path("data"),
            db: &self.db,
            vault: &self.vault,
            audit_head: head,
        };
        create(&sources, &self.path("backups"), Timestamp::from_ms(ms)).expect("made")
    }

    fn restore(&self, made: &Created, target: &str) -> Result<Restored, BackupError> {
        let request = Restore {
            data: &made.data,
            keys: Some(&made.keys),
            unlock: Unlock::KeyFile(&self.path("data/keys/root.key")),
            target: &self.path(target),
            is_replacing: false,
            damaged_log: DamagedLog::Refuse,
        };
        restore(&request, Timestamp::from_ms(2_000), |_| Ok(())).map(|(restored, ())| restored)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("name"))
            .collect();
        names.sort();
        names
    }
}

/// A restore of the data file alone over what is there.
fn replacing<'a>(made: &'a Created, key: &'a Path, target: &'a Path) -> Restore<'a> {
    Restore {
        data: &made.data,
        keys: None,
        unlock: Unlock::KeyFile(key),
        target,
        is_replacing: true,
        damaged_log: DamagedLog::Refuse,
    }
}

/// Without anything to settle.
fn put_back(request: &Restore<'_>) -> Result<Restored, BackupError> {
    restore(request, Timestamp::from_ms(0), |_| Ok(())).map(|(restored, ())| restored)
}

#[test]
fn a_backup_restores_to_an_empty_place_and_opens_there() {
    let house = House::new(&KeySource::File);
    let made = house.backup();
    assert_eq!(verify(&made.data, &house.vault).expect("whole").1, Kind::Data);
    assert_eq!(verify(&made.keys, &house.vault).expect("whole").2.files.len(), 1);
    let restored = house.restore(&made, "new").expect("restored");
    assert_eq!((restored.people_keys, &restored.moved_aside), (1, &None));
    let vault = Vault::load(&house.path("new/keys")).expect("loads");
    let opened = vault.open(Scope::Person(house.person), &PLACE, &house.sealed).expect("opens");
    assert_eq!(opened.as_slice(), b"words");
    let db = Db::open(&house.path("new/strongroom.db"), DbOptions::default()).expect("opens");
    let log = AuditLog::open(&db, &vault, &house.path("new/audit"), &Clock::system());
    assert_eq!(log.expect("log").head(), house.log.head());
    let certificate = fs::read_to_string(house.path("new/tls/ca.pem")).expect("read");
    assert_eq!(certificate, "certificate");
    assert_eq!(house.names(), ["backups", "data", "new"]);
}

#[test]
fn a_passphrase_alone_opens_a_backup_on_a_new_machine() {
    let phrase = SecretText::new("four quiet words here".into());
    let house = House::new(&KeySource::Passphrase(phrase.clone()));
    let made = house.backup();
    let (target, wrong) = (house.path("new"), SecretText::new("four loud words here!".into()));
    let request = |passphrase| Restore {
        data: &made.data,
        keys: Some(&made.keys),
        unlock: Unlock::Passphrase(passphrase),
        target: &target,
        is_replacing: false,
        damaged_log: DamagedLog::Refuse,
    };
    let outcome = put_back(&request(&wrong));
    assert!(matches!(outcome, Err(BackupError::Vault(VaultError::WrongPassphrase))));
    assert!(!target.exists());
    put_back(&request(&phrase)).expect("restored");
    let vault = Vault::load(&target.join("keys")).expect("loads");
    assert!(!vault.is_open());
    vault.unseal(&phrase).expect("opens");
    vault.open(Scope::Person(house.person), &PLACE, &house.sealed).expect("opens");
}

#[test]
fn changed_cut_and_foreign_files_change_nothing() {
    let house = House::new(&KeySource::File);
    let made = house.backup();
    let whole = fs::read(&made.data).expect("read");
    let positions = [0, 25, 40, 60, 300, 400, whole.len() / 2, whole.len() - 1];
    let flipped = positions.map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    });
    let cut = [0, 10, 100, 500, 70_000, whole.len() - 1].map(|length| whole[..length].to_vec());
    for bytes in flipped.into_iter().chain(cut) {
        fs::write(&made.data, bytes).expect("written");
        assert!(house.restore(&made, "new").is_err());
        assert!(verify(&made.data, &house.vault).is_err());
        assert_eq!(house.names(), ["backups", "data"]);
    }
    fs::write(&made.data, &whole).expect("written");
    let other = House::new(&KeySource::File);
    assert!(matches!(verify(&made.data, &other.vault), Err(BackupError::CannotOpen(_))));
    let swapped = Created { data: made.keys.clone(), keys: made.data.clone(), ..made.clone() };
    assert!(matches!(house.restore(&swapped, "new"), Err(BackupError::OtherKind { .. })));
    house.restore(&made, "new").expect("the whole file restores");
}

#[test]
fn data_is_replaced_only_when_asked_and_then_kept_aside() {
    let house = House::new(&KeySource::File);
    let made = house.backup();
    house.restore(&made, "new").expect("restored");
    fs::create_dir(house.path("new/models")).expect("models");
    assert!(matches!(house.restore(&made, "new"), Err(BackupError::NotEmpty(_))));
    let key = house.path("data/keys/root.key");
    let target = house.path("new");
    let request = replacing(&made, &key, &target);
    let held = crate::db::lock::DataLock::acquire(&target, Timestamp::from_ms(0)).expect("held");
    let outcome = put_back(&request);
    assert!(matches!(outcome, Err(BackupError::Lock(_))));
    drop(held);
    // What a restore that was killed left, with a root key in it.
    let stale = house.path("new.restoring-bkp_0");
    fs::create_dir(&stale).expect("made");
    let restored = put_back(&request).expect("replaced");
    assert!(restored.moved_aside.expect("aside").join(DATABASE).exists());
    assert!(!stale.exists());
    assert!(target.join("models").exists());
}

#[test]
fn what_cannot_be_settled_is_not_put_in_its_place() {
    let house = House::new(&KeySource::File);
    let made = house.backup();
    let (key, target) = (house.path("data/keys/root.key"), house.path("new"));
    fs::create_dir(&target).expect("made");
    fs::write(target.join("old"), "data").expect("written");
    let request = replacing(&made, &key, &target);
    let mut seen = None;
    let outcome = restore(&request, Timestamp::from_ms(0), |directory| {
        seen = Some((directory.to_owned(), directory.join(DATABASE).exists()));
        Err::<(), _>(BackupError::TooLarge)
    });
    assert!(matches!(outcome, Err(BackupError::TooLarge)));
    let (beside, was_laid_out) = seen.expect("called");
    assert!(was_laid_out && beside != target && !beside.exists(), "{}", beside.display());
    assert_eq!(fs::read_to_string(target.join("old")).expect("untouched"), "data");
}

#[test]
fn a_deleted_person_is_gone_from_old_data_with_a_newer_key_file() {
    let house = House::new(&KeySource::File);
    let old = house.backup();
    house.vault.shred_person(house.person).expect("shredded");
    let new = house.backup();
    let mixed = Created { keys: new.keys, ..old.clone() };
    house.restore(&mixed, "new").expect("restored");
    let vault = Vault::load(&house.path("new/keys")).expect("loads");
    assert!(vault.open(Scope::Person(house.person), &PLACE, &house.sealed).is_err());
    let place = Scope::System(Purpose::Settings);
    let sealed = house.vault.seal(place, &PLACE, b"system").expect("sealed");
    vault.open(place, &PLACE, &sealed).expect("the system's keys are there");
    // As long as the old key file is there, so is the person's key.
    house.restore(&old, "again").expect("restored");
    let vault = Vault::load(&house.path("again/keys")).expect("loads");
    vault.open(Scope::Person(house.person), &PLACE, &house.sealed).expect("opens");
}

#[test]
fn old_key_files_go_and_the_newest_stays_and_so_do_those_of_others() {
    let (house, other) = (House::new(&KeySource::File), House::new(&KeySource::File));
    let of_another = other.backup_at(1_000);
    let made = [1_000, 2_000, 3_000].map(|at| house.backup_at(at));
    let beside = house.path("backups").join(of_another.keys.file_name().expect("a name"));
    fs::copy(&of_another.keys, &beside).expect("copied");
    let unreadable = house.path("backups/no.strongroom-keys");
    fs::write(&unreadable, "nothing").expect("written");
    // Of another installation that has the same root key, and the newest of all.
    let clone = house.backup_at(4_000);
    let ours = made.each_ref().map(|one| one.id.to_string());
    let until = |limit, now| {
        let times = (Timestamp::from_ms(limit), Timestamp::from_ms(now));
        let is_ours = |id: &str| ours.iter().any(|one| one == id);
        let old = old_key_files(&house.path("backups"), &house.vault, is_ours, times);
        let old = old.expect("looked through");
        assert!(old.iter().all(|path| path.exists()), "to look deletes nothing");
        let (count, outcome) = delete_key_files(&old);
        outcome.expect("deleted");
        count
    };
    let expire = |limit| until(limit, 10_000);
    let are_there = || made.each_ref().map(|one| one.keys.exists());
    assert_eq!(expire(1_000), 0, "none is that old");
    assert_eq!(expire(1_001), 1);
    assert_eq!(are_there(), [false, true, true]);
    assert_eq!(until(9_000, 2_500), 0, "one that a clock made that was ahead takes no place");
    assert_eq!(expire(9_000), 1);
    assert_eq!(are_there(), [false, false, true], "the newest stays, however old");
    assert!(
        made.iter().all(|one| one.data.exists()),
        "data files are kept for as long as one likes"
    );
    assert!(beside.exists() && unreadable.exists() && clone.keys.exists());
    let (missing, folder) = (made[0].keys.clone(), house.path("backups/folder"));
    fs::create_dir(&folder).expect("made");
    let (count, outcome) = delete_key_files(&[missing, folder, made[2].keys.clone()]);
    assert!(count == 1 && outcome.is_err(), "the others go");
}

/// Tells threads to stop when it goes.
struct Stop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn a_backup_that_is_reported_restores_while_everything_changes_under_it() {
    let house = House::new(&KeySource::File);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let backups = house.path("backups");
    let going = || !stop.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while going() {
                let event = Event::new(Action::ServerStart, Outcome::Done, Actor::System);
                house.log.record_blocking(event).expect("recorded");
            }
        });
        scope.spawn(|| {
            while going() {
                // Key files are written, renamed and removed all the time.
                let person = UserId::new();
                house.vault.add_person(person).expect("added");
                house.vault.seal(Scope::Person(person), &PLACE, b"x").expect("sealed");
                house.vault.shred_person(person).expect("shredded");
                fs::write(
                    house.path("data/tls/ca.pem"),
                    "x".repeat(1 + person.as_bytes()[15] as usize),
                )
                .expect("written");
            }
        });
        // The writers end with this, however it ends.
        let _writers = Stop(&stop);
        for number in 0..3 {
            let made = house.backup();
            assert!(made.log_problems.is_empty(), "{:?}", made.log_problems);
            let target = format!("new-{number}");
            house.restore(&made, &target).expect("restores");
        }
    });
    let left: Vec<_> = fs::read_dir(house.path("data"))
        .expect("listed")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("a name"))
        .filter(|name| name.starts_with(".backup-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    for entry in fs::read_dir(backups).expect("listed") {
        let path = entry.expect("entry").path();
        assert!(path.is_file(), "only sealed files come to the target: {}", path.display());
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("there"));
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn what_a_killed_backup_left_in_the_clear_goes_with_the_next_and_at_the_start() {
    let house = House::new(&KeySource::File);
    let stale = house.path("data/.backup-bkp_0");
    let leave = || {
        fs::create_dir(&stale).expect("made");
        fs::write(stale.join(DATABASE), "rows").expect("written");
    };
    leave();
    house.backup();
    assert!(!stale.exists());
    leave();
    let beside = house.path("data.restoring-bkp_0");
    fs::create_dir(&beside).expect("made");
    remove_stale(&house.path("data"), Timestamp::from_ms(0)).expect("removed");
    assert!(!stale.exists() && !beside.exists());
}

#[test]
fn a_log_that_does_not_verify_is_said_when_the_backup_is_made_and_accepted_only_on_demand() {
    let house = House::new(&KeySource::File);
    let db = rusqlite::Connection::open(house.db.path()).expect("opens");
    db.execute_batch("UPDATE audit_heads SET signature = zeroblob(64) WHERE size = 2")
        .expect("changed");
    let made = house.backup();
    assert!(!made.log_problems.is_empty());
    assert!(matches!(house.restore(&made, "new"), Err(BackupError::AuditLog(_))));
    let (key, target) = (house.path("data/keys/root.key"), house.path("new"));
    let request = Restore {
        data: &made.data,
        keys: Some(&made.keys),
        unlock: Unlock::KeyFile(&key),
        target: &target,
        is_replacing: false,
        damaged_log: DamagedLog::Accept,
    };
    put_back(&request).expect("restored as it is");
}

#[test]
fn a_restore_that_was_cut_off_between_two_steps_is_no_first_start() {
    let house = House::new(&KeySource::File);
    assert_eq!(cut_off(&house.path("data")), None);
    let (target, aside) = (house.path("gone"), house.path("gone.before-restore-2026"));
    assert_eq!(cut_off(&target), None);
    fs::create_dir(&aside).expect("made");
    assert_eq!(cut_off(&target), None, "an old restore that went well");
    fs::create_dir(house.path("gone.restoring-bkp_1")).expect("made");
    assert_eq!(cut_off(&target), Some(aside));
}

#[test]
fn a_restore_ends_sessions_links_and_keys_in_the_transaction_that_records_it() {
    for (keys, working) in [(Keys::End, 0), (Keys::Keep, 1)] {
        let house = House::new(&KeySource::File);
        let (user, now) = (UserId::new(), Timestamp::from_ms(5_000));
        let db = rusqlite::Connection::open(house.db.path()).expect("opens");
        let rows = format!(
            "INSERT INTO users VALUES ('{user}', 'ada', x'00', NULL, 0, 1, x'00');
             INSERT INTO sessions VALUES ('s', '{user}', x'01', 1, 1, 9999, NULL, x'00', x'00');
             INSERT INTO links VALUES ('l', 'invitation', x'02', '{user}', NULL, 1, 9999, x'00');
             INSERT INTO api_keys VALUES ('{}', '{user}', x'00', x'03', 'abcd', '[]', NULL, 1, NULL, NULL, x'00', NULL, NULL);
             INSERT INTO api_keys VALUES ('{}', '{user}', x'00', x'04', 'dead', '[]', NULL, 1, 4000, NULL, x'00', NULL, NULL);",
            KeyId::new(),
            KeyId::new(),
        );
        db.execute_batch(&rows).expect("inserted");
        let settled = settle(&house.db, &house.vault, &house.log, keys, now).expect("settled");
        assert_eq!((settled.sessions, settled.links, settled.keys.len()), (1, 1, 1));
        assert_eq!(settled.people_with_new_keys, 1);
        house.vault.seal(Scope::Person(user), &PLACE, b"words").expect("has a key now");
        assert_eq!((&*settled.keys[0].hint, &*settled.keys[0].username), ("abcd", "ada"));
        let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counted");
        assert_eq!(
            count("SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM links)"),
            0
        );
        let sql = "SELECT count(*) FROM api_keys WHERE expires_at IS NULL OR expires_at > 5000";
        assert_eq!(count(sql), working);
        let recorded = "SELECT count(*) FROM audit_events WHERE action = 'backup.restore'";
        assert_eq!(count(recorded), 1);
    }
}
