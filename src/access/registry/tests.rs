//! What is known in memory of sessions and keys, and what is forgotten.

use super::*;
use crate::clock::DRIFT;

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
