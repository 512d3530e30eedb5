//! Sealing: what opens, and all that must not.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

fn vault() -> (tempfile::TempDir, Vault) {
    let directory = tempfile::tempdir().expect("directory");
    let vault = Vault::create(directory.path(), &KeySource::File).expect("made");
    (directory, vault)
}

fn place<'a>(row: &'a str, owner: &'a str) -> Aad<'a> {
    Aad { table: "messages", column: "content", row, owner }
}

const SYSTEM: Scope = Scope::System(Purpose::Settings);

#[test]
fn a_value_opens_only_where_it_was_sealed() {
    let (_directory, vault) = vault();
    let (one, other) = (UserId::new(), UserId::new());
    vault.add_person(one).expect("key");
    vault.add_person(other).expect("key");
    let aad = place("r1", "o1");
    let sealed = vault.seal(Scope::Person(one), &aad, b"words").expect("sealed");
    assert_eq!(vault.open(Scope::Person(one), &aad, &sealed).expect("opened").as_slice(), b"words");
    let elsewhere = [
        (Scope::Person(other), aad),
        (SYSTEM, aad),
        (Scope::Person(one), place("r2", "o1")),
        (Scope::Person(one), place("r1", "o2")),
        (Scope::Person(one), place("r1o", "1")),
        (Scope::Person(one), Aad { table: "conversations", ..aad }),
        (Scope::Person(one), Aad { column: "title", ..aad }),
    ];
    for (scope, aad) in elsewhere {
        assert!(matches!(vault.open(scope, &aad, &sealed), Err(VaultError::CannotOpen)));
    }
}

#[test]
fn a_value_of_another_vault_does_not_open() {
    let ((_one, first), (_other, second)) = (vault(), vault());
    let aad = place("r", "");
    let sealed = first.seal(SYSTEM, &aad, b"words").expect("sealed");
    assert!(matches!(second.open(SYSTEM, &aad, &sealed), Err(VaultError::CannotOpen)));
}

#[test]
fn every_single_flipped_bit_gives_the_one_error() {
    let (_directory, vault) = vault();
    let sealed = vault.seal(SYSTEM, &place("r", "o"), b"short words").expect("sealed");
    for bit in 0..sealed.as_bytes().len() * 8 {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = vault.open(SYSTEM, &place("r", "o"), &Sealed::from_stored(bytes));
        assert!(matches!(outcome, Err(VaultError::CannotOpen)), "bit {bit}: {outcome:?}");
    }
}

#[test]
fn empty_values_one_byte_and_a_mebibyte_survive_a_round_trip() {
    let (_directory, vault) = vault();
    for size in [0, 1, 1 << 20] {
        let plain: Vec<u8> = (0..size).map(|at: u32| at as u8).collect();
        let sealed = vault.seal(SYSTEM, &place("r", "o"), &plain).expect("sealed");
        assert_eq!(*vault.open(SYSTEM, &place("r", "o"), &sealed).expect("opened"), plain);
    }
}

/// Tables, columns and owners that share beginnings and ends, so that joined they could be equal.
const NAMES: [&str; 5] = ["", "a", "aa", "ab", "b"];
const PURPOSES: [Scope; 3] =
    [SYSTEM, Scope::System(Purpose::Models), Scope::System(Purpose::Audit)];

fn any_place() -> impl Strategy<Value = (usize, &'static str, &'static str, String, String)> {
    let name = || (0..NAMES.len()).prop_map(|at| NAMES[at]);
    (0..PURPOSES.len(), name(), name(), "[ab]{0,3}", "[ab]{0,3}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_value_opens_in_no_place_but_its_own(home in any_place(), elsewhere in any_place()) {
        fn aad<'a>(place: &'a (usize, &'static str, &'static str, String, String)) -> Aad<'a> {
            Aad { table: place.1, column: place.2, row: &place.3, owner: &place.4 }
        }
        thread_local! {
            static VAULT: (tempfile::TempDir, Vault) = vault();
        }
        VAULT.with(|(_, vault)| {
            let sealed = vault.seal(PURPOSES[home.0], &aad(&home), b"words").expect("sealed");
            let outcome = vault.open(PURPOSES[elsewhere.0], &aad(&elsewhere), &sealed);
            prop_assert_eq!(outcome.is_ok(), home == elsewhere);
            let outcome = vault.open(PURPOSES[home.0], &aad(&home), &sealed);
            prop_assert!(outcome.is_ok());
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_flipped_bit_gives_the_one_error(bit in 0_usize..8 * 64, text in "[a-z]{0,40}") {
        let (_directory, vault) = vault();
        let aad = place("r", "o");
        let sealed = vault.seal(SYSTEM, &aad, text.as_bytes()).expect("sealed");
        let mut bytes = sealed.as_bytes().to_vec();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let outcome = vault.open(SYSTEM, &aad, &Sealed::from_stored(bytes));
        prop_assert!(matches!(outcome, Err(VaultError::CannotOpen)));
    }

    #[test]
    fn any_size_survives_a_round_trip(size in 0_usize..=1_048_576, fill: u8) {
        let (_directory, vault) = vault();
        let plain = vec![fill; size];
        let sealed = vault.seal(SYSTEM, &place("r", "o"), &plain).expect("sealed");
        prop_assert_eq!(&*vault.open(SYSTEM, &place("r", "o"), &sealed).expect("opened"), &plain);
    }

    #[test]
    fn cut_values_give_the_one_error(kept in 0_usize..64) {
        let (_directory, vault) = vault();
        let sealed = vault.seal(SYSTEM, &place("r", "o"), b"some words here").expect("sealed");
        let cut = sealed.as_bytes()[..kept.min(sealed.as_bytes().len() - 1)].to_vec();
        let outcome = vault.open(SYSTEM, &place("r", "o"), &Sealed::from_stored(cut));
        prop_assert!(matches!(outcome, Err(VaultError::CannotOpen)));
    }
}

#[test]
fn no_nonce_repeats_in_a_million_seals() {
    let (_directory, vault) = vault();
    let aad = place("r", "o");
    let mut seen = HashSet::with_capacity(1_000_000);
    for _ in 0..1_000_000 {
        let sealed = vault.seal(SYSTEM, &aad, b"").expect("sealed");
        let nonce: [u8; 12] = sealed.as_bytes()[17..29].try_into().expect("twelve bytes");
        assert!(seen.insert(nonce));
    }
}

#[test]
fn a_data_key_is_renewed_at_its_limit_and_old_values_still_open() {
    let (directory, first) = vault();
    drop(first);
    let limited = Vault::with_limit(directory.path(), 100);
    let aad = place("r", "o");
    let sealed: Vec<Sealed> = (0..250_u32)
        .map(|i| limited.seal(SYSTEM, &aad, &i.to_be_bytes()).expect("sealed"))
        .collect();
    let ids: HashSet<_> = sealed.iter().filter_map(|one| aead::key_id(one.as_bytes())).collect();
    assert_eq!(ids.len(), 3);
    let again = Vault::with_limit(directory.path(), 100);
    for (i, one) in sealed.iter().enumerate() {
        let opened = again.open(SYSTEM, &aad, one).expect("opened");
        assert_eq!(opened.as_slice(), (i as u32).to_be_bytes());
    }
}

#[test]
fn a_restart_never_gives_back_seals_that_a_key_has_used() {
    let (directory, first) = vault();
    drop(first);
    let aad = place("r", "o");
    let mut ids = HashSet::new();
    for _ in 0..120 {
        let limited = Vault::with_limit(directory.path(), 100);
        let sealed = limited.seal(SYSTEM, &aad, b"").expect("sealed");
        ids.insert(aead::key_id(sealed.as_bytes()).expect("id"));
    }
    assert!(ids.len() >= 2);
}

#[test]
fn what_was_sealed_for_a_person_is_gone_with_their_key() {
    let (directory, vault) = vault();
    let user = UserId::new();
    vault.add_person(user).expect("key");
    let aad = place("r", "o");
    let sealed = vault.seal(Scope::Person(user), &aad, b"words").expect("sealed");
    vault.shred_person(user).expect("shredded");
    assert!(vault.open(Scope::Person(user), &aad, &sealed).is_err());
    assert!(vault.seal(Scope::Person(user), &aad, b"more").is_err());
    let again = Vault::load(directory.path()).expect("loaded");
    assert!(again.open(Scope::Person(user), &aad, &sealed).is_err());
}

#[test]
fn a_destruction_that_was_cut_off_between_generations_is_finished() {
    let (directory, vault) = vault();
    let user = UserId::new();
    vault.add_person(user).expect("key");
    let people = directory.path().join("people");
    let file = |generation: u32| people.join(format!("{user}.{generation}.key"));
    // The second generation is still there, and the first is not.
    std::fs::rename(file(1), file(2)).expect("renamed");
    let again = Vault::load(directory.path()).expect("loaded");
    again.shred_person(user).expect("shredded");
    assert_eq!(std::fs::read_dir(&people).expect("listed").count(), 0);
}

#[test]
fn a_key_of_the_system_that_is_missing_is_not_made_anew() {
    let (directory, vault) = vault();
    drop(vault);
    let path = directory.path().join("system/index.1.key");
    std::fs::remove_file(&path).expect("removed");
    let outcome = Vault::load(directory.path());
    assert!(matches!(outcome, Err(VaultError::Damaged(named)) if named == path));
    // A first start that was cut off before its root key was there is begun again.
    std::fs::remove_file(directory.path().join(root::CLEAR_FILE)).expect("removed");
    Vault::create(directory.path(), &KeySource::File).expect("made");
    assert!(Vault::load(directory.path()).is_ok_and(|vault| vault.is_open()));
}

#[test]
fn a_move_to_a_passphrase_that_was_cut_off_is_finished_when_it_is_opened() {
    let (directory, vault) = vault();
    let clear = directory.path().join(root::CLEAR_FILE);
    let kept = std::fs::read(&clear).expect("read");
    let phrase = SecretText::new("four quiet words here".into());
    vault.move_to_passphrase(&phrase).expect("moved");
    // As a crash right before the last step leaves it.
    files::write(&clear, &kept).expect("written");
    let again = Vault::load(directory.path()).expect("loaded");
    assert!(!again.is_open());
    again.unseal(&phrase).expect("opens");
    assert!(!clear.exists(), "the root key lies nowhere in the clear");
    // A key that is not ours is no rest of a move: nothing is destroyed, and it is told.
    let (other, _) = self::vault();
    let foreign = std::fs::read(other.path().join(root::CLEAR_FILE)).expect("read");
    files::write(&clear, &foreign).expect("written");
    let again = Vault::load(directory.path()).expect("loaded");
    assert!(again.unseal(&phrase).is_err() && clear.exists());
}

#[test]
fn a_passphrase_opens_a_sealed_vault_and_a_wrong_one_does_not() {
    let directory = tempfile::tempdir().expect("directory");
    let phrase = SecretText::new("four quiet words here".into());
    let made =
        Vault::create(directory.path(), &KeySource::Passphrase(phrase.clone())).expect("made");
    let sealed = made.seal(SYSTEM, &place("r", "o"), b"words").expect("sealed");
    let loaded = Vault::load(directory.path()).expect("loaded");
    assert!(!loaded.is_open());
    assert!(matches!(loaded.open(SYSTEM, &place("r", "o"), &sealed), Err(VaultError::Sealed)));
    let wrong = SecretText::new("four loud words here!".into());
    assert!(matches!(loaded.unseal(&wrong), Err(VaultError::WrongPassphrase)));
    loaded.unseal(&phrase).expect("opens");
    assert!(loaded.open(SYSTEM, &place("r", "o"), &sealed).is_ok());
}

#[test]
fn a_key_file_can_be_moved_under_a_passphrase() {
    let (directory, vault) = vault();
    let sealed = vault.seal(SYSTEM, &place("r", "o"), b"words").expect("sealed");
    let phrase = SecretText::new("four quiet words here".into());
    vault.move_to_passphrase(&phrase).expect("moved");
    assert!(!directory.path().join("root.key").exists());
    let loaded = Vault::load(directory.path()).expect("loaded");
    loaded.unseal(&phrase).expect("opens");
    assert!(loaded.open(SYSTEM, &place("r", "o"), &sealed).is_ok());
    assert_eq!(loaded.source().expect("known"), SourceKind::Passphrase);
    let short = SecretText::new("short".into());
    assert!(matches!(loaded.move_to_passphrase(&short), Err(VaultError::ShortPassphrase(_))));
}

#[test]
fn damaged_missing_and_open_key_files_are_refused_in_words() {
    let (directory, vault) = vault();
    drop(vault);
    let root = directory.path().join("root.key");
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o644)).expect("mode");
    assert!(matches!(Vault::load(directory.path()), Err(VaultError::InsecureMode(_))));
    std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o600)).expect("mode");
    let index = directory.path().join("system/index.1.key");
    let mut bytes = std::fs::read(&index).expect("read");
    bytes[20] ^= 1;
    std::fs::write(&index, &bytes).expect("written");
    assert!(matches!(Vault::load(directory.path()), Err(VaultError::Damaged(_))));
    std::fs::write(&root, "nonsense").expect("written");
    assert!(matches!(Vault::load(directory.path()), Err(VaultError::Damaged(_))));
    std::fs::remove_file(&root).expect("removed");
    assert!(matches!(Vault::load(directory.path()), Err(VaultError::NoRoot(_))));
}

#[test]
fn derived_keys_stay_the_same_over_a_restart_and_differ_by_purpose() {
    let (directory, vault) = vault();
    let session = vault.blind(BlindPurpose::Session, b"x").expect("digest");
    assert_ne!(session, vault.blind(BlindPurpose::ApiKey, b"x").expect("digest"));
    let signer = vault.audit_signing_key().expect("key").verifying_key();
    let again = Vault::load(directory.path()).expect("loaded");
    assert_eq!(again.blind(BlindPurpose::Session, b"x").expect("digest"), session);
    assert_eq!(again.audit_signing_key().expect("key").verifying_key(), signer);
}

#[test]
fn a_passphrase_is_changed_only_with_the_current_one() {
    let directory = tempfile::tempdir().expect("directory");
    let phrases = ["four quiet words here", "five other quiet words here", "some wrong words !!"];
    let [old, new, wrong] = phrases.map(|text| SecretText::new(text.into()));
    let made = Vault::create(directory.path(), &KeySource::Passphrase(old.clone())).expect("made");
    assert!(matches!(made.change_passphrase(&wrong, &new), Err(VaultError::WrongPassphrase)));
    made.change_passphrase(&old, &new).expect("changed");
    let loaded = Vault::load(directory.path()).expect("loaded");
    assert!(matches!(loaded.unseal(&old), Err(VaultError::WrongPassphrase)));
    loaded.unseal(&new).expect("opens");
}

#[test]
fn the_root_key_can_be_replaced_and_all_values_still_open() {
    let (directory, vault) = vault();
    let user = UserId::new();
    vault.add_person(user).expect("key");
    let aad = place("r", "o");
    let sealed = vault.seal(Scope::Person(user), &aad, b"words").expect("sealed");
    let old = std::fs::read(directory.path().join("root.key")).expect("read");
    vault.rotate_root(&KeySource::File).expect("rotated");
    assert_ne!(std::fs::read(directory.path().join("root.key")).expect("read"), old);
    let more = vault.seal(Scope::Person(user), &aad, b"more").expect("sealed");
    let again = Vault::load(directory.path()).expect("loaded");
    for (sealed, words) in [(&sealed, &b"words"[..]), (&more, b"more")] {
        let opened = again.open(Scope::Person(user), &aad, sealed).expect("opened");
        assert_eq!(opened.as_slice(), words);
    }
    let phrase = SecretText::new("four quiet words here".into());
    assert!(again.rotate_root(&KeySource::Passphrase(phrase)).is_err());
    // The old root key opens nothing any more.
    std::fs::write(directory.path().join("root.key"), &old).expect("written");
    assert!(matches!(Vault::load(directory.path()), Err(VaultError::Damaged(_))));
}

#[test]
fn a_rotation_that_a_crash_cut_off_is_finished_or_forgotten_by_the_next_start() {
    let (directory, vault) = vault();
    let aad = place("r", "o");
    let sealed = vault.seal(SYSTEM, &aad, b"words").expect("sealed");
    let path = directory.path();
    let opens = || {
        let again = Vault::load(path).expect("loaded");
        again.open(SYSTEM, &aad, &sealed).expect("opened");
    };
    let prepare = || {
        let root = SecretKey::random().expect("random");
        let again = Vault::load(path).expect("loaded");
        let next = rotate::begin(path).expect("begun");
        again.with_keyring(|keyring| keyring.rewrap(&next, &root)).expect("wrapped");
        root::write(&next, &root, &KeySource::File).expect("written");
        next
    };
    let next = prepare();
    opens();
    assert!(!next.exists());
    let next = prepare();
    std::fs::rename(&next, path.join("ready")).expect("the step");
    let moved = "system/settings.1.key";
    std::fs::rename(path.join("ready").join(moved), path.join(moved)).expect("half of it");
    opens();
    assert!(!path.join("ready").exists());
    opens();
}

#[test]
fn a_vault_in_the_clear_refuses_every_passphrase() {
    let (directory, vault) = vault();
    let phrase = SecretText::new("four quiet words here".into());
    assert!(matches!(vault.unseal(&phrase), Err(VaultError::NoPassphrase)));
    let outcome = vault.change_passphrase(&phrase, &phrase);
    assert!(matches!(outcome, Err(VaultError::NoPassphrase)));
    assert_eq!(
        Vault::load(directory.path()).expect("loaded").source().expect("known"),
        SourceKind::File
    );
}

#[test]
fn a_passphrase_that_cannot_be_typed_in_one_line_is_refused_before_anything_is_made() {
    for bad in ["four quiet\nwords here", "four quiet words\there", &"long ".repeat(300)] {
        let directory = tempfile::tempdir().expect("directory");
        let phrase = SecretText::new(bad.to_owned());
        let made = Vault::create(directory.path(), &KeySource::Passphrase(phrase.clone()));
        assert!(matches!(made, Err(VaultError::UnfitPassphrase(_))), "{bad:?}");
        assert!(!Vault::exists(directory.path()));
        let clear = Vault::create(directory.path(), &KeySource::File).expect("made");
        assert!(clear.move_to_passphrase(&phrase).is_err());
        assert_eq!(clear.source().expect("known"), SourceKind::File, "the key is where it was");
    }
}

#[test]
fn a_wrapped_key_that_cannot_be_kept_destroys_nothing() {
    let (directory, vault) = vault();
    let sealed = vault.seal(SYSTEM, &place("r", "o"), b"words").expect("sealed");
    let phrase = SecretText::new("four quiet words here".into());
    // A directory in the way of the file that is to be read back.
    std::fs::create_dir(directory.path().join("root.checking")).expect("made");
    assert!(vault.move_to_passphrase(&phrase).is_err());
    let again = Vault::load(directory.path()).expect("loaded");
    assert!(again.open(SYSTEM, &place("r", "o"), &sealed).is_ok(), "the old root key is there");
}

#[test]
fn a_root_key_under_a_passphrase_is_replaced_with_that_passphrase() {
    let directory = tempfile::tempdir().expect("directory");
    let phrase = SecretText::new("four quiet words here".into());
    let made =
        Vault::create(directory.path(), &KeySource::Passphrase(phrase.clone())).expect("made");
    let sealed = made.seal(SYSTEM, &place("r", "o"), b"words").expect("sealed");
    let old = std::fs::read(directory.path().join("root.sealed")).expect("read");
    let wrong = SecretText::new("four loud words here!".into());
    assert!(made.rotate_root(&KeySource::Passphrase(wrong)).is_err());
    made.rotate_root(&KeySource::Passphrase(phrase.clone())).expect("rotated");
    assert_ne!(std::fs::read(directory.path().join("root.sealed")).expect("read"), old);
    let again = Vault::load(directory.path()).expect("loaded");
    again.unseal(&phrase).expect("opens");
    assert!(again.open(SYSTEM, &place("r", "o"), &sealed).is_ok());
}
