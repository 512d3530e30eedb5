//! A clock that goes back, and one that jumps ahead, between two starts and under a running server:
//! the real binary under libfaketime.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Home, Server, Session, both, skip, text};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const DAY: Duration = Duration::from_hours(24);

fn library() -> Option<PathBuf> {
    let found = ["x86_64", "aarch64"].map(|machine| {
        PathBuf::from(format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"))
    });
    found.into_iter().find(|path| path.exists())
}

fn start_with(home: &Home, library: &Path, clock: &[(&str, &str)]) -> Server {
    start_by(home, library, clock, &[])
}

fn start_by(home: &Home, library: &Path, clock: &[(&str, &str)], more: &[&str]) -> Server {
    // The library would also bend the clock by which threads wait.
    let mut environment =
        vec![("LD_PRELOAD", text(library)), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    environment.extend(clock);
    let server = Server::launch_with(home, more, &environment);
    let server = server.unwrap_or_else(|why| panic!("no start with {clock:?}: {why}"));
    server.wait_until(200);
    server
}

fn start_at(home: &Home, library: &Path, offset: &str) -> Server {
    start_with(home, library, &[("FAKETIME", offset)])
}

/// When each event of the audit log was, the newest first.
fn times(session: &Session) -> Vec<OffsetDateTime> {
    let events = session.client.get("/api/admin/audit?limit=500").expect(200);
    let events = events["events"].as_array().expect("events").clone();
    let time = |event: &Value| {
        // Texts of other lengths do not sort as their times do.
        let text = event["at"].as_str().expect("a time").to_owned();
        OffsetDateTime::parse(&text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}"))
    };
    events.iter().map(time).collect()
}

fn assert_in_order(session: &Session) -> Vec<OffsetDateTime> {
    let times = times(session);
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "newest first: {times:?}");
    times
}

fn assert_verified(home: &Home) {
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
}

#[test]
fn a_clock_that_goes_back_loses_nothing_and_keeps_the_log_in_order() {
    let Some(library) = library() else {
        return skip(
            "a_clock_that_goes_back_loses_nothing_and_keeps_the_log_in_order",
            "libfaketime is not installed",
        );
    };
    let home = Home::prepared();
    let ahead = start_at(&home, &library, "+2d");
    let session = ahead.sign_in();
    let id = session.begin_conversation("Said tomorrow");
    session.say(&id, "How do I make an API key?");
    let (_, key) = session.make_key(&json!({"name": "from tomorrow", "expires_in_days": 1}));
    assert!(ahead.stop().success());

    // Two days back: what was said is there, what was made works, and new events come after.
    let mut server = start_at(&home, &library, "+0");
    let session = server.sign_in();
    let read = session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(2));
    session.say(&id, "And how do I revoke it?");
    server.with_key(&key).get("/v1/models").expect(200);
    let times = assert_in_order(&session);
    assert!(times[0] - times[times.len() - 1] > DAY, "the first start was days ago: {times:?}");
    server.assert_alive();
    assert!(server.stop().success());
    assert_verified(&home);

    // Ten days ahead: sessions and the key have ended, people can sign in again.
    let late = start_at(&home, &library, "+10d");
    assert_eq!(session.client.at(&late.base).get("/api/me").status, 401);
    assert_eq!(late.with_key(&key).get("/v1/models").status, 401);
    late.sign_in();
}

#[test]
fn a_clock_that_jumps_under_a_running_server_keeps_the_log_in_order_and_lets_people_in() {
    let Some(library) = library() else {
        return skip(
            "a_clock_that_jumps_under_a_running_server_keeps_the_log_in_order_and_lets_people_in",
            "libfaketime is not installed",
        );
    };
    let home = Home::prepared();
    let file = home.write("clock", "+0\n");
    let jump = |offset: &str| {
        // Whole or not at all: the server reads it at every look at the clock.
        fs::rename(home.write("clock.new", format!("{offset}\n")), &file).expect("it is ours");
    };
    let clock = [("FAKETIME_TIMESTAMP_FILE", text(&file)), ("FAKETIME_NO_CACHE", "1")];
    let mut server = start_with(&home, &library, &clock);
    let first = server.sign_in();
    let id = first.begin_conversation("Said on every day");
    let (_, key) = first.make_key(&json!({"name": "for a week", "expires_in_days": 7}));
    let begun = assert_in_order(&first)[0];
    let has_ended = |session: &Session| session.client.get("/api/me").status == 401;
    assert!(!has_ended(&first));

    jump("+2d");
    assert!(has_ended(&first), "nobody has used it for two days");
    let second = server.sign_in();
    let later = use_everything(&server, &second, &id, &key)[0];
    assert!(later - begun > DAY, "the clock was set ahead: {begun} to {later}");
    // Three days back, behind the first start even: the log stands still, and nobody is shut out. A
    // session that began in the future ends, for it would last three days longer than any may.
    jump("-1d");
    assert!(has_ended(&second));
    let third = server.sign_in();
    let again = use_everything(&server, &third, &id, &key)[0];
    assert!(again - later < DAY, "the clock was set back: {later} to {again}");
    assert!(has_ended(&first), "what has ended does not begin again");
    jump("+4d");
    assert!(has_ended(&second) && has_ended(&third));
    let last = use_everything(&server, &server.sign_in(), &id, &key)[0];
    assert!(last - later > DAY, "the clock was set ahead again: {later} to {last}");
    // Everything ends in the end.
    jump("+30d");
    assert_eq!(server.with_key(&key).get("/v1/models").status, 401);
    assert_in_order(&server.sign_in());
    server.assert_alive();
    assert!(server.stop().success());
    assert_verified(&home);

    // The next start, with the right clock, dates nothing before what is on record.
    let mut server = start_at(&home, &library, "+0");
    let session = server.sign_in();
    assert_in_order(&session);
    let read = session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(read["messages"].as_array().map(Vec::len), Some(6));
    server.assert_alive();
    assert!(server.stop().success());
    assert_verified(&home);
}

/// A file by which the clock of a running server is set.
struct Hands<'a> {
    home: &'a Home,
    file: PathBuf,
}

impl<'a> Hands<'a> {
    fn new(home: &'a Home, offset_s: i64) -> Self {
        let file = home.write("clock", format!("{offset_s:+}\n"));
        Self { home, file }
    }

    fn set(&self, offset_s: i64) {
        // Whole or not at all: the server reads it at every look at the clock.
        let new = self.home.write("clock.new", format!("{offset_s:+}\n"));
        fs::rename(new, &self.file).expect("it is ours");
    }
}

#[test]
fn the_budget_of_a_month_opens_with_the_next_one_and_not_when_the_clock_goes_back() {
    let Some(library) = library() else {
        return skip(
            "the_budget_of_a_month_opens_with_the_next_one_and_not_when_the_clock_goes_back",
            "libfaketime is not installed",
        );
    };
    // Two hours before the end of this month, and two after it.
    let now = OffsetDateTime::now_utc();
    let first = now.replace_day(1).expect("every month has one") + DAY * 32;
    let next =
        first.replace_day(1).expect("every month has one").replace_time(time::Time::MIDNIGHT);
    let late = (next - now).whole_seconds() - 7_200;
    let early = late + 4 * 3_600;
    let home = Home::prepared();
    let hands = Hands::new(&home, late);
    let key = home.key();
    let ask = |server: &Server| {
        let body = json!({"model": "guide", "prompt": "Strongroom", "max_tokens": 60,
            "temperature": 0, "logit_bias": {"0": -100, "1": -100, "2": -100}});
        server.with_key(&key).post("/v1/completions", &body)
    };
    let assert_used_up = |server: &Server, when: &str| {
        let answer = ask(server);
        assert_eq!(answer.code(), "insufficient_quota", "{when}: {}", answer.text());
        answer.headers["retry-after"].to_str().expect("text").parse::<i64>().expect("seconds")
    };
    let clock = [("FAKETIME_TIMESTAMP_FILE", text(&hands.file)), ("FAKETIME_NO_CACHE", "1")];
    let limits = ["--set", "limits.person.tokens_per_month=200"];
    let begin = || start_by(&home, &library, &clock, &limits);
    let server = begin();
    let mut asked = 0;
    while ask(&server).status == 200 {
        asked += 1;
        assert!(asked < 100, "no limit holds");
    }
    assert!(asked > 0);
    let wait = assert_used_up(&server, "at the end of the month");
    assert!((1..=7_200).contains(&wait), "until the month ends: {wait}");
    hands.set(early);
    ask(&server).expect(200);
    hands.set(late);
    assert_used_up(&server, "set back");
    hands.set(early);
    ask(&server).expect(200);
    server.kill();

    hands.set(late);
    let server = begin();
    assert_used_up(&server, "set back while nothing ran");
    assert!(server.stop().success());
    hands.set(early);
    ask(&begin()).expect(200);
    assert_verified(&home);
}

/// Speaks and calls as if nothing had happened to the clock; gives the times of the log.
fn use_everything(
    server: &Server,
    session: &Session,
    conversation: &str,
    key: &str,
) -> Vec<OffsetDateTime> {
    let events = session.say(conversation, "How do I make an API key?");
    assert_eq!(events.last().map(|event| event.name.as_str()), Some("done"), "{events:?}");
    server.with_key(key).get("/v1/models").expect(200);
    assert_in_order(session)
}
