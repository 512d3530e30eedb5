//! Budgets of a minute, a day and a month, of one key and of a group of people, as programs meet them over
//! TLS: what is refused, for how long, and that neither a sudden death nor another member gives anything back.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::time::{Duration, Instant};

use common::{Answer, Client, GUIDE, Home, Server, Session, both};
use serde_json::{Value, json};
use time::OffsetDateTime;

const COMPLETIONS: &str = "/v1/completions";
/// Nothing but what a test sets itself.
const NO_LIMITS: [&str; 8] = [
    "limits.person.requests_per_minute=0",
    "limits.person.tokens_per_minute=0",
    "limits.person.tokens_per_day=0",
    "limits.person.concurrent=0",
    "limits.key.requests_per_minute=0",
    "limits.key.tokens_per_minute=0",
    "limits.key.tokens_per_day=0",
    "limits.key.concurrent=0",
];
const DAY_S: u64 = 86_400;
/// The longest month.
const MONTH_S: u64 = 31 * DAY_S;
/// No test here takes longer.
const TEST_S: u64 = 120;

/// Days and months end at midnight in UTC, and their budgets with them: no test begins shortly before.
fn wait_for_midnight_where_it_is_near() {
    let now = OffsetDateTime::now_utc();
    let left = DAY_S - u64::from(now.hour()) * 3_600 - u64::from(now.minute()) * 60;
    if left <= TEST_S {
        std::thread::sleep(Duration::from_secs(left));
    }
}

fn start(home: &Home, settings: &[&str]) -> Server {
    wait_for_midnight_where_it_is_near();
    let all = NO_LIMITS.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
    Server::start_with(home, &all.collect::<Vec<_>>())
}

/// A request whose answer has just so many tokens: those that end an answer are ruled out.
fn completion(tokens: u64) -> Value {
    json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": tokens, "temperature": 0,
        "logit_bias": {"0": -100, "1": -100, "2": -100}})
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let value = answer.headers.get(name).unwrap_or_else(|| panic!("no {name}: {}", answer.text()));
    value.to_str().expect("text")
}

/// Holds a refusal against what clients read of a budget that is used up; gives its words.
fn check_exhausted(answer: &Answer) -> String {
    let error = answer.expect(429)["error"].clone();
    let quota = json!("insufficient_quota");
    assert_eq!((&error["code"], &error["type"]), (&quota, &quota), "{error}");
    assert_eq!(header(answer, "x-should-retry"), "false");
    let seconds: u64 = header(answer, "retry-after").parse().expect("whole seconds");
    assert!((1..=MONTH_S).contains(&seconds), "{seconds}");
    error["message"].as_str().expect("words").to_owned()
}

/// Asks until the server refuses; gives the tokens that were used.
fn until_refused(client: &Client, tokens: u64) -> (u64, Answer) {
    let mut used = 0;
    for _ in 0..1_000 {
        let answer = client.post(COMPLETIONS, &completion(tokens));
        if answer.status != 200 {
            return (used, answer);
        }
        used += answer.expect(200)["usage"]["total_tokens"].as_u64().expect("a number");
    }
    panic!("no limit holds")
}

fn usage(session: &Session) -> Value {
    session.client.get("/api/me").expect(200)["usage"].clone()
}

fn id_of(session: &Session) -> Value {
    session.client.get("/api/me").expect(200)["person"]["id"].clone()
}

#[test]
fn the_month_of_a_key_is_used_up_once_and_stays_so_after_a_sudden_death() {
    let home = Home::prepared();
    let server = start(&home, &["limits.person.tokens_per_month=100000"]);
    let session = server.sign_in();
    let limits = json!({"tokens_per_month": 120});
    let (_, key) = session.make_key(&json!({"name": "small", "limits": limits}));
    let (_, other) = session.make_key(&json!({"name": "other"}));
    let (used, refused) = until_refused(&server.with_key(&key), 30);
    assert!((1..=120).contains(&used), "{used}");
    let words = check_exhausted(&refused);
    assert!(words.contains("This key's limit of 120 tokens a month"), "{words}");
    // The key alone: its person and their other keys have more.
    server.with_key(&other).post(COMPLETIONS, &completion(30)).expect(200);
    let told = usage(&session);
    assert_eq!(told["tokens_month"]["limit"], 100_000, "{told}");
    assert!(told["tokens_month"]["used"].as_u64().is_some_and(|all| all > used), "{told}");
    assert_eq!(told["tokens_day"]["limit"], Value::Null, "{told}");

    server.kill();
    let server = start(&home, &["limits.person.tokens_per_month=100000"]);
    check_exhausted(&server.with_key(&key).post(COMPLETIONS, &completion(30)));
    server.with_key(&other).post(COMPLETIONS, &completion(30)).expect(200);
    assert_eq!(usage(&server.sign_in())["tokens_month"]["limit"], 100_000);

    // Killed within an answer, all that was taken for it stays taken.
    let (_, third) = server.sign_in().make_key(&json!({"name": "third", "limits": limits}));
    let mut long = completion(100);
    long["stream"] = json!(true);
    let mut events = server.with_key(&third).stream(COMPLETIONS, &long);
    assert!(events.next().is_some(), "the answer begins");
    server.kill();
    let server = start(&home, &[]);
    check_exhausted(&server.with_key(&third).post(COMPLETIONS, &completion(100)));
}

#[test]
fn requests_of_a_day_are_a_budget_too() {
    let home = Home::prepared();
    let server = start(&home, &["limits.person.requests_per_day=2"]);
    let client = server.with_key(&home.key());
    for _ in 0..2 {
        client.post(COMPLETIONS, &completion(1)).expect(200);
    }
    let words = check_exhausted(&client.post(COMPLETIONS, &completion(1)));
    assert!(words.contains("2 requests a day"), "{words}");
    assert!(server.stop().success());
    let server = start(&home, &["limits.person.requests_per_month=3"]);
    let client = server.with_key(&home.key());
    client.post(COMPLETIONS, &completion(1)).expect(200);
    let words = check_exhausted(&client.post(COMPLETIONS, &completion(1)));
    assert!(words.contains("3 requests a month"), "those of the day count: {words}");
}

#[test]
fn two_members_of_a_group_use_up_its_budget_together() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let members = json!([id_of(&owner), id_of(&guest)]);
    let group = json!({"name": "research", "limits": {"tokens_per_month": 200}, "add": members});
    let made = owner.client.post("/api/admin/groups", &group).expect(201);
    let path = format!("/api/admin/groups/{}", made["id"].as_str().expect("an id"));
    let (_, key) = guest.make_key(&json!({"name": "theirs"}));
    let (mine, theirs) = (server.with_key(&home.key()), server.with_key(&key));
    mine.post(COMPLETIONS, &completion(30)).expect(200);
    let (used, refused) = until_refused(&theirs, 30);
    assert!(used > 0, "there was something left");
    assert!(check_exhausted(&refused).contains("Your group's limit"), "{}", refused.text());
    check_exhausted(&mine.post(COMPLETIONS, &completion(30)));
    // Both see the same meter, and the administrator too.
    let meter = |session: &Session| usage(session)["groups"][0]["usage"]["tokens_month"].clone();
    assert_eq!(meter(&owner), meter(&guest));
    assert_eq!(meter(&guest)["limit"], 200);
    let list = owner.client.get("/api/admin/groups").expect(200);
    assert_eq!(list["groups"][0]["usage"]["tokens_month"], meter(&guest));
    assert_eq!(guest.client.get("/api/admin/groups").status, 403);

    server.kill();
    let server = start(&home, &[]);
    let (mine, theirs) = (server.with_key(&home.key()), server.with_key(&key));
    for client in [&mine, &theirs] {
        check_exhausted(&client.post(COMPLETIONS, &completion(30)));
    }
    // Who is out of it is not bound by it, and when it is gone nobody is.
    let owner = server.sign_in();
    let out = json!({"remove": [members[1]]});
    owner.client.send("PATCH", &path, Some(&out)).expect(200);
    theirs.post(COMPLETIONS, &completion(30)).expect(200);
    check_exhausted(&mine.post(COMPLETIONS, &completion(30)));
    assert_eq!(owner.client.send("DELETE", &path, None).status, 204);
    mine.post(COMPLETIONS, &completion(30)).expect(200);
}

/// A member of a group, and how their programs ask.
struct Member {
    session: Session,
    key: String,
}

/// The owner and a guest, in a group that has these limits.
fn two_in_a_group(server: &Server, limits: &Value) -> [Member; 2] {
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let add = json!([id_of(&owner), id_of(&guest)]);
    let group = json!({"name": "research", "limits": limits, "add": add});
    owner.client.post("/api/admin/groups", &group).expect(201);
    [owner, guest].map(|session| Member { key: session.key(), session })
}

/// Holds a refusal against what clients read of a rate of a group that is used up.
fn check_rate(answer: &Answer, kind: &str, limit: u64) {
    let error = answer.expect(429)["error"].clone();
    let expected = (&json!("rate_limit_exceeded"), &json!(kind));
    assert_eq!((&error["code"], &error["type"]), expected, "{error}");
    let words = format!("Your group's limit of {limit} {kind} a minute");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(&words)), "{error}");
    assert_eq!(header(answer, &format!("x-ratelimit-limit-{kind}")), limit.to_string());
    assert!(answer.headers.get("x-should-retry").is_none_or(|value| value != "false"));
    let seconds: u64 = header(answer, "retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[test]
fn the_rate_of_a_group_is_that_of_both_members_together_and_comes_back() {
    for (kind, limit) in [("requests", 20), ("tokens", 600)] {
        let home = Home::prepared();
        let server = start(&home, &[]);
        let limits = json!({(format!("{kind}_per_minute")): limit});
        let [owner, guest] = two_in_a_group(&server, &limits);
        let outsider = server.invite_as(&owner.session, "outsider", "member").key();
        let [mine, theirs] = [&owner, &guest].map(|member| server.with_key(&member.key));
        let begun = Instant::now();
        let first = mine.post(COMPLETIONS, &completion(20)).expect(200);
        let each = first["usage"]["total_tokens"].as_u64().expect("a number");
        let (by_guest, refused) = until_refused(&theirs, 20);
        check_rate(&refused, kind, limit);
        // What has come back by now is soon used up.
        let (by_owner, refused) = until_refused(&mine, 20);
        check_rate(&refused, kind, limit);
        let one = if kind == "tokens" { each } else { 1 };
        let taken = (each + by_guest + by_owner) / each * one;
        let given = limit + limit * begun.elapsed().as_millis() as u64 / 60_000;
        // Alone, each of them would have had as much.
        assert!((limit - one..=given + one).contains(&taken), "{taken} {kind} of {given}");
        server.with_key(&outsider).post(COMPLETIONS, &completion(20)).expect(200);
        let seconds = header(&refused, "retry-after").parse().expect("whole seconds");
        std::thread::sleep(Duration::from_secs(seconds));
        theirs.post(COMPLETIONS, &completion(20)).expect(200);
    }
}

#[test]
fn the_day_of_a_group_is_used_up_by_both_members_and_stays_so_after_a_sudden_death() {
    for (kind, limit) in [("requests", 5), ("tokens", 200)] {
        let home = Home::prepared();
        let server = start(&home, &[]);
        let limits = json!({(format!("{kind}_per_day")): limit});
        let [owner, guest] = two_in_a_group(&server, &limits);
        let outsider = server.invite_as(&owner.session, "outsider", "member").key();
        let check = |answer: &Answer| {
            let (said, words) = (check_exhausted(answer), format!("limit of {limit} {kind} a day"));
            assert!(said.contains(&format!("Your group's {words}")), "{said}");
            let seconds: u64 = header(answer, "retry-after").parse().expect("whole seconds");
            assert!(seconds <= DAY_S, "{seconds}");
        };
        let ask = |server: &Server, member: &Member| {
            server.with_key(&member.key).post(COMPLETIONS, &completion(30))
        };
        ask(&server, &owner).expect(200);
        let (used, refused) = until_refused(&server.with_key(&guest.key), 30);
        assert!(used > 0, "there was something left");
        check(&refused);
        check(&ask(&server, &owner));
        for member in [&owner, &guest] {
            let told = usage(&member.session)["groups"][0]["usage"].clone();
            assert_eq!(told[format!("{kind}_day")]["limit"], limit, "{told}");
        }
        server.kill();
        let server = start(&home, &[]);
        check(&ask(&server, &owner));
        check(&ask(&server, &guest));
        server.with_key(&outsider).post(COMPLETIONS, &completion(30)).expect(200);
    }
}

#[test]
fn groups_are_kept_at_the_console_beside_a_server_and_without_one() {
    let home = Home::prepared();
    let group = |arguments: &[&str]| {
        let all: Vec<&str> = ["user", "group"].iter().chain(arguments).copied().collect();
        let output = home.strongroom(&all);
        assert!(output.status.success(), "{arguments:?}: {}", both(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    group(&["create", "research", "--tokens-per-month", "60", "--add", common::OWNER]);
    let server = start(&home, &[]);
    let client = server.with_key(&home.key());
    let (_, refused) = until_refused(&client, 20);
    check_exhausted(&refused);
    let listed: Value = serde_json::from_str(group(&["list", "--json"]).trim()).expect("JSON");
    assert_eq!(listed["members"], json!([common::OWNER]));
    assert_eq!(listed["limits"]["tokens_per_month"], 60);
    assert!(listed["usage"]["tokens_month"]["used"].as_u64().is_some_and(|used| used > 0));
    // It holds from the next request on.
    group(&["change", "research", "--tokens-per-month", "100000", "--rename", "science"]);
    client.post(COMPLETIONS, &completion(20)).expect(200);
    group(&["delete", "science"]);
    assert!(group(&["list"]).is_empty());
    let unknown = home.strongroom(&["user", "group", "delete", "science"]);
    assert!(!unknown.status.success());
    assert!(both(&unknown).contains("no group called `science`"), "{}", both(&unknown));
}

#[test]
fn anthropic_s_clients_read_where_they_stand_in_their_own_headers() {
    let home = Home::prepared();
    let settings = ["limits.person.requests_per_minute=2", "limits.key.tokens_per_minute=90000"];
    let server = start(&home, &settings);
    let client = server.with_key(&home.key());
    let body =
        json!({"model": GUIDE, "max_tokens": 4, "messages": [{"role": "user", "content": "Hi"}]});
    let mut answers = vec![client.post("/v1/messages", &body)];
    assert_eq!(answers[0].status, 200, "{}", answers[0].text());
    while answers.last().is_some_and(|answer| answer.status == 200) {
        assert!(answers.len() < 1_000, "no limit holds");
        answers.push(client.post("/v1/messages", &body));
    }
    let refused = answers.last().expect("one");
    assert_eq!(refused.expect(429)["error"]["type"], "rate_limit_error");
    // Paths below it that are not there tell it too.
    let nowhere = client.post("/v1/messages/nothing", &body);
    for answer in [&answers[0], refused, &nowhere] {
        assert_eq!(header(answer, "request-id"), header(answer, "x-request-id"));
        assert_eq!(header(answer, "anthropic-ratelimit-requests-limit"), "2");
        assert_eq!(header(answer, "anthropic-ratelimit-tokens-limit"), "90000");
        for kind in ["requests", "tokens"] {
            let left = header(answer, &format!("anthropic-ratelimit-{kind}-remaining"));
            assert_eq!(left, header(answer, &format!("x-ratelimit-remaining-{kind}")));
            let reset = header(answer, &format!("anthropic-ratelimit-{kind}-reset"));
            let format = &time::format_description::well_known::Rfc3339;
            assert!(OffsetDateTime::parse(reset, format).is_ok(), "{reset}");
        }
    }
    let others = client.get("/v1/models");
    assert!(!others.headers.contains_key("anthropic-ratelimit-requests-limit"));
}
