//! Delays after failed sign-ins, kept across restarts. Three counts, so that a guesser is slowed
//! down and a stranger cannot lock anybody out:
//!
//! - person and address together: from the sixth failure on;
//! - the address alone: from the twenty-first on, whoever it tries;
//! - the person alone, from addresses that have never signed in as them: from the fifty-first on.
//!   Who signs in from where they signed in before does not meet this one.

use std::net::IpAddr;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::AccountError;
use crate::access::registry::SecretHash;
use crate::clock::Timestamp;
use crate::vault::{BlindPurpose, Vault};

const DELAY_MAX: Duration = Duration::from_mins(15);
/// After this long without a failure, a count starts again.
const FORGET: Duration = Duration::from_hours(24);

/// The counts that one attempt touches.
#[derive(Clone, Copy)]
pub(super) struct Sources {
    pair: SecretHash,
    address: SecretHash,
    person: SecretHash,
}

const FREE: [i64; 3] = [5, 20, 50];

impl Sources {
    pub(super) fn new(
        vault: &Vault,
        username: &str,
        address: Option<IpAddr>,
    ) -> Result<Self, AccountError> {
        let network = network(address);
        let hash = |text: String| vault.blind(BlindPurpose::Throttle, text.as_bytes());
        Ok(Self {
            pair: hash(format!("pair\n{username}\n{network}"))?,
            address: hash(format!("address\n{network}"))?,
            person: hash(format!("person\n{username}"))?,
        })
    }

    fn all(&self) -> [SecretHash; 3] {
        [self.pair, self.address, self.person]
    }
}

/// Where addresses are handed out by the network, the network is what counts.
fn network(address: Option<IpAddr>) -> String {
    match address {
        None => "console".to_owned(),
        Some(IpAddr::V4(four)) => four.to_string(),
        Some(IpAddr::V6(six)) => {
            let [a, b, c, d, ..] = six.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// Counts an attempt before it is made, so that many at once cannot slip through; refuses it where
/// it comes too early.
pub(super) fn begin(
    db: &Connection,
    sources: &Sources,
    now: Timestamp,
) -> Result<(), AccountError> {
    let is_known = is_known(db, sources)?;
    let counted = if is_known { 2 } else { 3 };
    let mut wait = Duration::ZERO;
    for (source, free) in sources.all().iter().zip(FREE).take(counted) {
        wait = wait.max(remaining(db, source, free, now)?);
    }
    if wait > Duration::ZERO {
        return Err(AccountError::Throttled(wait));
    }
    db.execute("DELETE FROM sign_in_failures WHERE last_at < ?1", [now.minus(FORGET)])?;
    for source in sources.all().iter().take(counted) {
        db.execute(
            "INSERT INTO sign_in_failures (source, failures, last_at) VALUES (?1, 1, ?2)
             ON CONFLICT (source) DO UPDATE SET failures = failures + 1, last_at = ?2",
            params![source, now],
        )?;
    }
    Ok(())
}

/// Forgets what was counted for a person and address that have signed in.
pub(super) fn succeed(
    db: &Connection,
    sources: &Sources,
    now: Timestamp,
) -> Result<(), AccountError> {
    db.execute("DELETE FROM sign_in_failures WHERE source = ?1", [sources.pair])?;
    for source in [sources.address, sources.person] {
        let sql = "UPDATE sign_in_failures SET failures = max(failures - 1, 0) WHERE source = ?1";
        db.execute(sql, [source])?;
    }
    db.execute("INSERT OR REPLACE INTO sign_in_known VALUES (?1, ?2)", params![sources.pair, now])?;
    Ok(())
}

fn is_known(db: &Connection, sources: &Sources) -> Result<bool, AccountError> {
    let found = db
        .query_row("SELECT 1 FROM sign_in_known WHERE source = ?1", [sources.pair], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

fn remaining(
    db: &Connection,
    source: &SecretHash,
    free: i64,
    now: Timestamp,
) -> Result<Duration, AccountError> {
    let row: Option<(i64, Timestamp)> = db
        .query_row(
            "SELECT failures, last_at FROM sign_in_failures WHERE source = ?1",
            [source],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let Some((failures, last_at)) = row else { return Ok(Duration::ZERO) };
    Ok(delay(failures - free).saturating_sub(now.since(last_at)))
}

/// Doubles from one second on, up to a quarter of an hour.
fn delay(beyond: i64) -> Duration {
    match u32::try_from(beyond) {
        Ok(0) | Err(_) => Duration::ZERO,
        Ok(beyond) => Duration::from_secs(1 << (beyond - 1).min(12)).min(DELAY_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_bounded() {
        let seconds: Vec<u64> = (-1..13).map(|beyond| delay(beyond).as_secs()).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let parse = |text: &str| network(Some(text.parse().expect("address")));
        assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::9"));
        assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
        assert_ne!(parse("192.0.2.1"), parse("192.0.2.2"));
    }
}
