//! What is known in memory of sessions and keys, and what is forgotten.

use super::*;
use crate::access::KeyContext;
use crate::access::permission::PermissionSet;
use crate::clock::DRIFT;
use crate::config::LimitSet;

const IDLE: Duration = Duration::from_hours(1);

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn session(user: UserId, id: SessionId) -> SessionEntry {
    SessionEntry::new(id, user, (at(1), at(1_000_000_000)), at(1))
}

#[test]
fn nobody_ends_what_is_somebody_else_s() {
    let registry = Registry::new(IDLE);
    let (user, id) = (UserId::new(), SessionId::new());
    registry.put_session([1; 32], session(user, id));
    registry.remove_session(UserId::new(), id);
    assert!(registry.use_session(&[1; 32], at(2)).is_some());
    registry.remove_session(user, id);
    assert!(registry.use_session(&[1; 32], at(3)).is_none());
}

#[test]
fn only_what_changed_is_kept_and_what_is_over_is_forgotten() {
    let registry = Registry::new(IDLE);
    let (user, used, unused) = (UserId::new(), SessionId::new(), SessionId::new());
    registry.put_session([1; 32], session(user, used));
    registry.put_session([2; 32], session(user, unused));
    registry.use_session(&[1; 32], at(5)).expect("live");
    let kept = registry.sessions_to_keep();
    assert_eq!(kept, [(used, at(5))]);
    registry.sessions_kept(&kept);
    assert!(registry.sessions_to_keep().is_empty());
    registry.purge(at(3_600_001));
    assert_eq!(registry.session_seen_at(unused), None);
    assert_eq!(registry.session_seen_at(used), Some(at(5)));
}

#[test]
fn a_session_that_is_forgotten_ends_what_runs_on_it() {
    let registry = Registry::new(IDLE);
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    registry.on_revocation(move |what| listener.lock().push(what));
    let (user, id) = (UserId::new(), SessionId::new());
    registry.put_session([1; 32], session(user, id));
    registry.purge(at(2));
    assert!(told.lock().is_empty());
    registry.purge(at(3_600_001));
    assert_eq!(*told.lock(), [Revocation::Session(id)]);
}

#[test]
fn a_key_is_let_in_from_its_networks_alone_and_is_not_used_from_elsewhere() {
    let registry = Registry::new(IDLE);
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    registry.on_revocation(move |what| listener.lock().push(what));
    let list = |text: &str| Networks::parse(&[text.to_owned()]).expect("a list");
    let (user, id) = (UserId::new(), KeyId::new());
    let terms = KeyTerms {
        scopes: PermissionSet::default(),
        models: None,
        limits: LimitSet::default(),
        networks: list("10.0.0.0/8"),
        expires_at: Some(at(9)),
    };
    registry.put_key([1; 32], KeyEntry::new(id, user, terms));
    let from = |text: &str| Some(text.parse().expect("an address"));
    let (inside, outside) = (from("10.0.0.1"), from("192.0.2.7"));
    let use_it = |now, address| registry.use_key(&[1; 32], at(now), address);
    let is_elsewhere = |used| matches!(used, Err(KeyRefusal::Elsewhere(_)));
    for address in [outside, None] {
        assert!(is_elsewhere(use_it(2, address)), "{address:?}");
        assert_eq!(registry.key_turned_away(id), Some(TurnedAway { at: at(2), address }));
    }
    assert_eq!(registry.key_used_at(id), None);
    assert!(use_it(3, inside).is_ok());
    assert_eq!(registry.key_used_at(id), Some(at(3)));
    registry.put_networks(UserId::new(), id, Networks::default());
    assert!(is_elsewhere(use_it(4, outside)), "that was nobody's key");
    registry.put_networks(user, id, list("192.0.2.0/24"));
    assert_eq!(registry.key_turned_away(id), None, "it would be let in now");
    assert!(use_it(5, outside).is_ok() && is_elsewhere(use_it(5, inside)));
    // Whether it is good elsewhere is not looked at once its time is over.
    assert!(matches!(use_it(9, inside), Err(KeyRefusal::Unknown)));
    let told = told.lock().clone();
    let [what] = &told[..] else { panic!("one change") };
    let caller = |address| Caller {
        user,
        via: Via::Key(KeyContext { id, models: None, limits: LimitSet::default() }),
        address,
        ..Caller::system()
    };
    assert!(what.concerns(&caller(inside)) && !what.concerns(&caller(outside)));
    assert!(!what.concerns(&Caller { address: inside, ..Caller::system() }));
}

#[test]
fn a_reading_of_a_clock_that_was_ahead_does_not_keep_a_session_alive() {
    let registry = Registry::new(IDLE);
    let (user, id) = (UserId::new(), SessionId::new());
    registry.put_session([1; 32], session(user, id));
    registry.use_session(&[1; 32], at(3_000_000)).expect("ahead");
    registry.use_session(&[1; 32], at(1_000)).expect("put right");
    assert!(registry.use_session(&[1; 32], at(3_700_000)).is_none());
}

#[test]
fn a_session_that_a_clock_began_in_the_future_is_refused_until_then() {
    let (registry, now) = (Registry::new(IDLE), at(1_000_000_000));
    let (user, wrong, right) = (UserId::new(), SessionId::new(), SessionId::new());
    for (hash, id, ahead) in [(1, wrong, 1), (2, right, 0)] {
        let begun = now.plus(DRIFT).plus(Duration::from_millis(ahead));
        let lasts = (begun, begun.plus(Duration::from_hours(24)));
        registry.put_session([hash; 32], SessionEntry::new(id, user, lasts, begun));
    }
    assert!(registry.use_session(&[1; 32], now).is_none());
    assert!(registry.use_session(&[2; 32], now).is_some(), "clocks go wrong by that much");
    registry.purge(now);
    let later = now.plus(DRIFT * 2);
    assert!(registry.use_session(&[1; 32], later).is_some(), "the clock was behind");
    registry.remove_session(user, wrong);
    assert!(registry.use_session(&[1; 32], later).is_none(), "it was ended");
}

#[test]
fn uses_in_the_future_are_taken_back() {
    let registry = Registry::new(IDLE);
    let (user, id) = (UserId::new(), SessionId::new());
    registry.put_session([1; 32], session(user, id));
    registry.use_session(&[1; 32], at(3_000_000)).expect("ahead");
    registry.take_back_uses(at(1_000));
    assert_eq!(registry.session_seen_at(id), Some(at(1_000)));
    registry.take_back_uses(at(2_000));
    assert_eq!(registry.session_seen_at(id), Some(at(1_000)), "what is past stays");
}
