//! Refusals on record. A refusal is recorded before it is answered, up to a bound a minute for each
//! source and for all together; what goes beyond is counted, and the count is recorded once a
//! minute. Otherwise whoever is refused could fill the disk with their refusals.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use crate::audit::{Action, Actor, AuditError, AuditLog, Event, Outcome};
use crate::clock::{Clock, Timestamp};
use crate::ids::UserId;
use crate::web::network::household;

/// Refusals that are recorded one by one in a minute: of one source, and of all
/// strangers or all people.
const OF_ONE_MAX: u32 = 30;
const OF_ALL_MAX: u32 = 600;
/// Sources that are told apart; further ones count as one.
const SOURCES_MAX: usize = 4_096;
const MINUTE: Duration = Duration::from_mins(1);

/// Who is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Somebody at this address.
    Address(Option<IpAddr>),
    /// Somebody who is signed in.
    Person(UserId),
}

/// The refusals of the last minute.
pub(crate) struct Refusals {
    audit: AuditLog,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    windows: HashMap<String, Window>,
    all_addresses: Window,
    all_people: Window,
    counted: u64,
}

#[derive(Clone, Copy)]
struct Window {
    begun: Timestamp,
    recorded: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self { begun: Timestamp::from_ms(i64::MIN), recorded: 0 }
    }
}

impl Window {
    /// Whether one more is within the bound.
    fn admits(&mut self, now: Timestamp, most: u32) -> bool {
        if now.since(self.begun) >= MINUTE {
            *self = Self { begun: now, recorded: 0 };
        }
        let is_within = self.recorded < most;
        self.recorded += u32::from(is_within);
        is_within
    }
}

impl Refusals {
    /// None yet.
    pub(crate) fn new(audit: &AuditLog, clock: &Clock) -> Self {
        Self { audit: audit.clone(), clock: clock.clone(), state: Mutex::default() }
    }

    /// Records a refusal, or counts it where there were too many.
    pub(crate) async fn record(&self, event: Event, source: Source) -> Result<(), AuditError> {
        if self.admit(source) { self.audit.record(event).await.map(drop) } else { Ok(()) }
    }

    fn admit(&self, source: Source) -> bool {
        let now = self.clock.steady();
        let name = match source {
            Source::Address(address) => household(address),
            Source::Person(user) => user.to_string(),
        };
        let mut state = self.state.lock();
        let State { windows, all_addresses, all_people, counted } = &mut *state;
        // Apart, so that strangers cannot crowd out what is told of those who have an account.
        let all = match source {
            Source::Address(_) => all_addresses,
            Source::Person(_) => all_people,
        };
        if windows.len() >= SOURCES_MAX && !windows.contains_key(&name) {
            windows.retain(|_, window| now.since(window.begun) < MINUTE);
        }
        let name = if windows.len() >= SOURCES_MAX { String::new() } else { name };
        let is_within =
            windows.entry(name).or_default().admits(now, OF_ONE_MAX) && all.admits(now, OF_ALL_MAX);
        *counted += u64::from(!is_within);
        is_within
    }

    /// Records how many were only counted since the last time; called once a minute, and at
    /// shutdown.
    pub(crate) async fn flush(&self) -> Result<(), AuditError> {
        let counted = std::mem::take(&mut self.state.lock().counted);
        if counted == 0 {
            return Ok(());
        }
        let event = Event::new(Action::RefusalsCounted, Outcome::Denied, Actor::Anonymous)
            .with("count", counted);
        let outcome = self.audit.record(event).await;
        if outcome.is_err() {
            self.state.lock().counted += counted;
        }
        outcome.map(drop)
    }
}
