//! The verdicts: from facts to items. Looks at nothing but the facts.

use std::fmt::Write;
use std::time::Duration;

use super::facts::{Facts, Last};
use super::place::ModelSeen;
use super::{Item, Posture, Practice, State};
use crate::clock::Timestamp;
use crate::monitor::sbom;
use crate::vault::SourceKind;

const DAY: Duration = Duration::from_hours(24);
/// By so much the clock may be wrong.
const CLOCK_OFF: Duration = Duration::from_hours(1);
/// A certificate that runs out within this time is due.
const CERTIFICATE_SOON: Duration = Duration::from_hours(24 * 14);

/// Judges the facts.
pub(crate) fn judge(facts: &Facts) -> Posture {
    let practice = |id, title, items| Practice { id, title, items };
    let practices = vec![
        practice("access", "Access control", access(facts)),
        practice("encryption", "Encryption at rest and in transit", encryption(facts)),
        practice("updates", "Updates and patches", updates(facts)),
        practice("monitoring", "Monitoring and audit", monitoring(facts)),
        practice("adversarial", "Protection against adversarial input", adversarial(facts)),
        practice("fairness", "Bias and fairness testing", vec![fairness(facts)]),
    ];
    Posture { practices }
}

fn met_if(is_met: bool, otherwise: State) -> State {
    if is_met { State::Met } else { otherwise }
}

fn date(at: Timestamp) -> String {
    at.rfc3339().chars().take(10).collect()
}

fn access(facts: &Facts) -> Vec<Item> {
    let counts = &facts.counts;
    let unused = super::facts::UNUSED.as_secs() / DAY.as_secs();
    vec![
        Item::new(
            "owners",
            "Owners",
            match counts.owners {
                2..=4 => State::Met,
                _ => State::Due,
            },
            format!("{} of {} accounts can do everything", counts.owners, counts.people),
        )
        .mend("Have two to four owners: one alone can be lost, and more are more to lose."),
        Item::new(
            "accounts_unused",
            "Accounts in use",
            met_if(counts.people_unused == 0, State::Due),
            format!("{} accounts without use for {unused} days", counts.people_unused),
        )
        .mend("Disable the accounts of people who have left, on the People page."),
        Item::new(
            "mfa",
            "Second factor at sign-in",
            State::Due,
            format!("0 of {} people: this version has no second factor", counts.people),
        )
        .mend("Reach the server through a network that asks for one (VPN), until it is built in."),
        Item::new(
            "keys_expiry",
            "API keys expire",
            met_if(counts.keys_endless == 0, State::Due),
            format!("{} of {} keys have no expiry", counts.keys_endless, counts.keys),
        )
        .mend("Replace them by keys with an expiry."),
        Item::new(
            "keys_unused",
            "API keys in use",
            met_if(counts.keys_unused == 0, State::Due),
            format!("{} keys without use for {unused} days", counts.keys_unused),
        )
        .mend("Revoke the keys that nobody uses."),
    ]
}

fn encryption(facts: &Facts) -> Vec<Item> {
    let is_plain = facts.settings.server.plain_http;
    let mut items = vec![
        tls(facts),
        Item::new(
            "plain_http",
            "No plain HTTP",
            met_if(!is_plain, State::Due),
            if is_plain {
                "plain HTTP, on the loopback address only".to_owned()
            } else {
                "every connection is TLS 1.3 or 1.2".to_owned()
            },
        )
        .mend("Set server.plain_http = false, unless a proxy on this machine speaks TLS for it."),
    ];
    items.extend(root_key(facts));
    items.push(modes(facts));
    if let Some(is_off) = facts.is_core_off {
        let evidence = if is_off { "off, for this process" } else { "on, for this process" };
        let state = met_if(is_off, State::Failing);
        items.push(
            Item::new("core_dumps", "No core dumps", state, evidence.to_owned())
                .mend("Start the server with `ulimit -c 0`: a dump would hold keys."),
        );
    }
    items
}

fn tls(facts: &Facts) -> Item {
    let (id, title) = ("tls", "Certificate");
    if facts.settings.server.plain_http {
        let evidence = "none in use: the server speaks plain HTTP".to_owned();
        return Item::new(id, title, State::Due, evidence).mend("See “No plain HTTP”.");
    }
    let seen = match &facts.certificate {
        Ok(seen) => seen,
        Err(reason) => {
            return Item::new(id, title, State::Failing, format!("cannot be read: {reason}"))
                .mend("Start the server, which makes one, or see tls.certificate_file.");
        }
    };
    let (from, until) = (seen.facts.not_before, seen.facts.not_after);
    let state = match facts.now {
        now if now >= until || now < from => State::Failing,
        now if now.plus(CERTIFICATE_SOON) >= until => State::Due,
        _ => State::Met,
    };
    let source = if seen.is_own_authority {
        "from this server's own authority, renews by itself"
    } else {
        "from your files"
    };
    let evidence = format!(
        "{source}; valid until {}; TLS 1.3 and 1.2, post-quantum key exchange first",
        date(until)
    );
    Item::new(id, title, state, evidence)
        .mend("Renew the certificate; one of the server's own renews while the server runs.")
}

fn root_key(facts: &Facts) -> Vec<Item> {
    let (source, made_at) = match &facts.root_key {
        Ok(found) => *found,
        Err(reason) => {
            let evidence = format!("cannot be read: {reason}");
            let item = Item::new("key_source", "Where the root key lies", State::Failing, evidence);
            return vec![item.mend("Put the keys back, or restore a backup.")];
        }
    };
    let limit = facts.settings.monitor.root_key_days;
    let days = facts.now.since(made_at).as_secs() / DAY.as_secs();
    vec![
        Item::new(
            "key_source",
            "Where the root key lies",
            met_if(source == SourceKind::Passphrase, State::Due),
            match source {
                SourceKind::Passphrase => "under a passphrase; the server starts sealed".to_owned(),
                SourceKind::File => {
                    "in a file in the data directory: whoever has the disk has the key".to_owned()
                }
            },
        )
        .mend("Run `strongroom key move`, or keep the disk itself encrypted."),
        Item::new(
            "key_age",
            "Age of the root key",
            met_if(days < u64::from(limit), State::Due),
            format!("made {}, {days} days ago; due after {limit}", date(made_at)),
        )
        .mend("Run `strongroom key rotate` while the server is stopped, and make a new backup."),
    ]
}

fn modes(facts: &Facts) -> Item {
    let (id, title) = ("file_modes", "Files closed to others");
    let modes = match &facts.modes {
        Ok(modes) => modes,
        Err(reason) => {
            return Item::new(id, title, State::Failing, format!("cannot be read: {reason}"))
                .mend("Give --data-dir, or server.data_dir, the right directory.");
        }
    };
    // The six low bits are what others may do.
    let is_closed = modes.directory.trailing_zeros() >= 6 && modes.open_count == 0;
    let mut evidence = format!("the data directory has mode {:04o}", modes.directory);
    if modes.open_count > 0 {
        let names = modes.open.join(", ");
        let _ = write!(evidence, "; {} files are open to others: {names}", modes.open_count);
    }
    if modes.has_more {
        evidence += "; there are more files than were looked at";
    }
    Item::new(id, title, met_if(is_closed, State::Failing), evidence)
        .mend("Run: chmod -R go-rwx on the data directory.")
}

fn updates(facts: &Facts) -> Vec<Item> {
    let components = serde_json::from_str::<serde_json::Value>(sbom::CYCLONEDX)
        .ok()
        .and_then(|document| document["components"].as_array().map(Vec::len))
        .unwrap_or(0);
    let version = env!("CARGO_PKG_VERSION");
    vec![
        advisories(facts),
        Item::new(
            "sbom",
            "Bill of materials",
            met_if(components > 0, State::Failing),
            format!("{components} components inside the binary; `strongroom sbom` prints them"),
        )
        .mend("Build the binary from its repository."),
        // No server is asked for a newer one: nothing goes out by itself.
        Item::new("version", "Version", State::Met, format!("Strongroom {version}")),
        models(facts),
    ]
}

fn advisories(facts: &Facts) -> Item {
    let days = facts.settings.monitor.advisory_check_days;
    let (id, title) = ("advisories", "Known vulnerabilities");
    let Some(last) = &facts.advisories else {
        return Item::new(id, title, State::Due, "never checked".to_owned()).mend(
            "Set monitor.advisory_db to a copy of the RustSec database, or run `strongroom advisories check --db DIR`.",
        );
    };
    let count = |name: &str| last.detail[name].as_u64();
    match (last.is_done, count("vulnerabilities")) {
        (true, Some(0)) => {
            let warnings = count("warnings").unwrap_or(0);
            let found = format!("no vulnerability, {warnings} warnings");
            Item::new(id, title, fresh(facts, last.at, days), checked(last, &found))
                .mend("Bring the copy of the database up to date and check again.")
        }
        (true, Some(found)) => {
            let evidence = checked(last, &format!("{found} vulnerabilities"));
            Item::new(id, title, State::Failing, evidence)
                .mend("Install a release in which they are mended; `strongroom advisories check` names them.")
        }
        (_, _) => {
            let evidence = checked(last, "the check could not be made");
            Item::new(id, title, State::Due, evidence)
                .mend("See the server's log; monitor.advisory_db must hold a copy of the database.")
        }
    }
}

fn fresh(facts: &Facts, last: Timestamp, days: u32) -> State {
    // What is dated in the future was done by a clock that was wrong: when, nobody knows.
    let is_dated = last <= facts.now.plus(CLOCK_OFF);
    met_if(is_dated && facts.now.since(last) < DAY * days, State::Due)
}

fn clock(facts: &Facts) -> Item {
    let ahead = facts.newest_record.filter(|at| *at > facts.now.plus(CLOCK_OFF));
    let jumped = facts.clock.as_ref().filter(|last| facts.now.since(last.at) < DAY * 7);
    let (state, evidence) = match (ahead, jumped) {
        (Some(at), _) => {
            (State::Failing, format!("the newest record is dated {}, which is to come", date(at)))
        }
        (None, Some(last)) => {
            (State::Due, checked(last, "found wrong by more than an hour, or the machine slept"))
        }
        (None, None) => (State::Met, "agrees with the record".to_owned()),
    };
    Item::new("clock", "Clock", state, evidence)
        .mend("Set the machine's clock by a source of time; records stay in order meanwhile.")
}

fn checked(last: &Last, found: &str) -> String {
    format!("{}: {found}", date(last.at))
}

fn models(facts: &Facts) -> Item {
    let wrong = |seen: ModelSeen| -> Vec<&str> {
        let models = facts.models.iter().filter(|(_, one)| *one == seen);
        models.map(|(name, _)| name.as_str()).collect()
    };
    let (changed, lost, new) =
        (wrong(ModelSeen::Changed), wrong(ModelSeen::Unreadable), wrong(ModelSeen::NotRecorded));
    let (state, evidence) = if !changed.is_empty() {
        (State::Failing, format!("not the file that was loaded: {}", changed.join(", ")))
    } else if !lost.is_empty() {
        (State::Failing, format!("cannot be read: {}", lost.join(", ")))
    } else if !new.is_empty() {
        (State::Due, format!("not on record yet: {}", new.join(", ")))
    } else {
        let files = facts.models.len();
        (
            State::Met,
            format!("{files} files as they are on record; the built-in guide is in the binary"),
        )
    };
    Item::new("model_digests", "Model files", state, evidence)
        .mend("Find out who changed the file, and put the right one back; then restart.")
}

fn monitoring(facts: &Facts) -> Vec<Item> {
    let monitor = &facts.settings.monitor;
    let audit = match &facts.verified {
        None => (State::Due, "never verified".to_owned()),
        Some(last) if !last.is_done => (State::Failing, checked(last, "NOT as it was written")),
        Some(last) => {
            let size = last.detail["size"].as_u64().unwrap_or(0);
            let text = format!("{size} events in place, the head is signed");
            (fresh(facts, last.at, monitor.audit_verify_days), checked(last, &text))
        }
    };
    let backup = match &facts.backup {
        None => (State::Due, "never made".to_owned()),
        Some(last) if !last.is_done => (State::Failing, checked(last, "the last one failed")),
        Some(last) => (fresh(facts, last.at, monitor.backup_days), checked(last, "made")),
    };
    vec![
        Item::new("audit_verified", "Audit log verified", audit.0, audit.1).mend(
            "Run `strongroom audit verify`, keep what it says, and find out what was changed.",
        ),
        Item::new("backup", "Backup", backup.0, backup.1)
            .mend("Run `strongroom backup create`, and keep the files on another machine."),
        clock(facts),
        Item::new(
            "alerts",
            "Alerts looked at",
            met_if(facts.alerts_open == 0, State::Due),
            format!("{} open", facts.alerts_open),
        )
        .mend("Look at them on the Alerts page, and acknowledge them."),
    ]
}

fn adversarial(facts: &Facts) -> Vec<Item> {
    let limits = &facts.settings.limits.person;
    let set = |value: Option<u64>| value.is_some_and(|value| value > 0);
    let is_limited = set(limits.requests_per_minute.map(u64::from))
        && (set(limits.tokens_per_minute) || set(limits.tokens_per_day))
        && set(limits.concurrent.map(u64::from));
    vec![
        if let Some(policy) = &facts.guard { Item::new("guard", "Guard", State::Met, policy.clone()) } else {
            let evidence = "no guard reads prompts and answers in this build".to_owned();
            Item::new("guard", "Guard", State::Failing, evidence)
                .mend("Use a version with a guard.")
        },
        Item::new(
            "limits",
            "Limits on use",
            met_if(is_limited, State::Due),
            if is_limited { "requests, tokens and concurrency are limited for everybody".to_owned() } else { "requests, tokens or concurrency are not limited".to_owned() },
        )
        .mend("Set requests_per_minute, tokens_per_minute or tokens_per_day, and concurrent in [limits.person]."),
    ]
}

fn fairness(facts: &Facts) -> Item {
    let days = facts.settings.monitor.fairness_days;
    let (state, evidence) = match &facts.fairness {
        None => (State::Due, "never run".to_owned()),
        Some(run) => (
            fresh(facts, run.at, days),
            format!("{}: {} on {}", date(run.at), run.suite, run.model),
        ),
    };
    Item::new("fairness_run", "Fairness measured", state, evidence)
        .mend("Start an evaluation on the Evaluations page, and read its report.")
}
