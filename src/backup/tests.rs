//! Backups: made while the server writes, verified, restored, and refused when broken.

use std::fs;

use super::*;
use crate::audit::{Action, Actor, AuditLog, Event, Outcome};
use crate::clock::Clock;
use crate::db::{Db, DbOptions};
use crate::ids::UserId;
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
        let head = self.log.head().map(|head| format!("{}:{}", head.size, hex::encode(head.root)));
        let sources = Sources {
            data_dir: &self.path("data"),
            db: &self.db,
            vault: &self.vault,
            audit_head: head,
        };
        create(&sources, &self.path("backups"), Timestamp::from_ms(1_000)).expect("made")
    }

    fn restore(&self, made: &Created, target: &str) -> Result<Restored, BackupError> {
        let request = Restore {
            data: &made.data,
            keys: Some(&made.keys),
            unlock: Unlock::KeyFile(&self.path("data/keys/root.key")),
            target: &self.path(target),
            is_replacing: false,
        };
        restore(&request, Timestamp::from_ms(2_000))
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

#[test]
fn a_backup_restores_to_an_empty_place_and_opens_there() {
    let house = House::new(&KeySource::File);
    let made = house.backup();
    assert_eq!(verify(&made.data, &house.vault).expect("whole").0, Kind::Data);
    assert_eq!(verify(&made.keys, &house.vault).expect("whole").1.files.len(), 1);
    let restored = house.restore(&made, "new").expect("restored");
    assert_eq!((restored.people_keys, restored.moved_aside), (1, None));
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
    };
    let outcome = restore(&request(&wrong), Timestamp::from_ms(0));
    assert!(matches!(outcome, Err(BackupError::Vault(VaultError::WrongPassphrase))));
    assert!(!target.exists());
    restore(&request(&phrase), Timestamp::from_ms(0)).expect("restored");
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
    let request = Restore {
        data: &made.data,
        keys: None,
        unlock: Unlock::KeyFile(&key),
        target: &target,
        is_replacing: true,
    };
    let held = crate::db::lock::DataLock::acquire(&target, Timestamp::from_ms(0)).expect("held");
    let outcome = restore(&request, Timestamp::from_ms(0));
    assert!(matches!(outcome, Err(BackupError::Lock(_))));
    drop(held);
    let restored = restore(&request, Timestamp::from_ms(0)).expect("replaced");
    assert!(restored.moved_aside.expect("aside").join(DATABASE).exists());
    assert!(target.join("models").exists());
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
    let count = expire_key_files(&house.path("backups"), Timestamp::from_ms(1_001));
    assert_eq!(count.expect("expired"), 2);
    assert!(!old.keys.exists() && old.data.exists());
}
