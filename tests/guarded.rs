//! The guard and the limits as programs meet them: what is replaced, what is refused, how much may be
//! used, and that neither a restart nor a sudden death gives anything back.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use common::{Answer, Client, GUIDE, Home, OWNER, PASSWORD, Server, Session, text, wait_for};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const CARD: &str = "4111 1111 1111 1111";
const RATE_HEADERS: [&str; 6] = [
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
];
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

/// Starts a server with these settings laid over none.
fn start(home: &Home, settings: &[&str]) -> Server {
    let all = NO_LIMITS.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
    Server::start_with(home, &all.collect::<Vec<_>>())
}

fn chat(content: &str) -> Value {
    json!({"model": GUIDE, "max_tokens": 24, "temperature": 0,
        "messages": [{"role": "user", "content": content}]})
}

/// A request that takes at least `tokens` of any account, and whose answer has just as many: the tokens
/// that end an answer are ruled out.
fn completion(tokens: u64) -> Value {
    json!({"model": GUIDE, "prompt": "Strongroom", "max_tokens": tokens, "temperature": 0,
        "logit_bias": {"0": -100, "1": -100, "2": -100}})
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let value = answer.headers.get(name).unwrap_or_else(|| panic!("no {name}: {}", answer.text()));
    value.to_str().expect("text")
}

/// Holds a refusal against what clients read.
fn check_refusal(answer: &Answer, code: &str, kind: &str) {
    let error = answer.expect(429)["error"].clone();
    assert_eq!((&error["code"], &error["type"]), (&json!(code), &json!(kind)), "{error}");
    let seconds: u64 = header(answer, "retry-after").parse().expect("whole seconds");
    let ms: u64 = header(answer, "retry-after-ms").parse().expect("whole milliseconds");
    assert!(ms > 0 && seconds == ms.div_ceil(1_000), "{seconds} s and {ms} ms");
}

/// Asks until the server refuses; however slow it is, the account does not refill that fast.
fn until_refused(client: &Client, body: &Value) -> (u64, Answer) {
    let mut answered = 0;
    loop {
        let answer = client.post(COMPLETIONS, body);
        if answer.status != 200 {
            return (answered, answer);
        }
        answered += 1;
        assert!(answered < 1_000, "no limit holds");
    }
}

#[test]
fn a_card_number_reaches_no_model_and_the_sender_is_told() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let client = server.with_key(&home.key());
    let notice = json!([
        {"category": "personal.card", "action": "redact", "direction": "input", "count": 1}
    ]);
    let asked = |content: &str| client.post(CHAT, &chat(content)).expect(200);
    let words = |card: &str| format!("My card is {card}. What is Strongroom?");
    let guarded = asked(&words(CARD));
    assert_eq!(guarded["strongroom_notices"], notice);
    // The model read just what it reads where the placeholder itself is sent.
    let placeholder = asked(&words("[card-1]"));
    assert_eq!(placeholder.get("strongroom_notices"), None);
    assert_eq!(guarded["usage"]["prompt_tokens"], placeholder["usage"]["prompt_tokens"]);
    let said =
        |answer: &Value| answer["choices"][0]["message"]["content"].as_str().map(str::to_owned);
    let expected = said(&placeholder).expect("an answer").replace("[card-1]", CARD);
    assert_eq!(said(&guarded), Some(expected));
    for harmless in ["4111 1111 1111 1112", "1234 5678 9012 3456", "4111 1111 1111", "four ones"] {
        let answer = asked(&words(harmless));
        assert_eq!(answer.get("strongroom_notices"), None, "{harmless}");
    }
    let twice = asked(&format!("{CARD} and 5555 5555 5555 4444, and {CARD} again"));
    assert_eq!(twice["strongroom_notices"][0]["count"], 3, "{twice}");

    let mut streamed = chat(&words(CARD));
    streamed["stream"] = json!(true);
    let events: Vec<_> = client.stream(CHAT, &streamed).collect();
    assert_eq!(events[0].json()["strongroom_notices"], notice);
    let session = server.sign_in();
    let id = session.begin_conversation("Cards");
    let events = session.say(&id, &words(CARD));
    let told = events.iter().find(|event| event.name == "notice").expect("a notice").json();
    assert_eq!(told, notice[0]);
    // People see their own words again.
    let read = session.client.get(&format!("/api/conversations/{id}")).expect(200);
    assert_eq!(read["messages"][0]["content"], words(CARD));
    assert!(!server.log().contains(CARD));
}

#[test]
fn a_policy_that_refuses_gives_the_category_and_charges_nothing() {
    let home = Home::prepared();
    let policy = home.write(
        "guard.toml",
        "[input]\n\"personal.card\" = \"refuse\"\n[phrases]\ndenied = [\"project falcon\"]\n",
    );
    let setting = format!("guard.policy_file={}", text(&policy));
    let server = start(&home, &[&setting]);
    let session = server.sign_in();
    let client = server.with_key(&home.key());
    let id = session.begin_conversation("Falcons");
    let path = format!("/api/conversations/{id}/messages");
    for (content, category) in [
        (format!("My card is {CARD}."), "personal.card"),
        ("Tell me about Project Falcon.".to_owned(), "denied"),
        ("tell me about PROJECT FALCON".to_owned(), "denied"),
    ] {
        let answers = [
            client.post(CHAT, &chat(&content)),
            client.post(COMPLETIONS, &json!({"model": GUIDE, "prompt": content, "stream": true})),
            session.client.post(&path, &json!({"content": content})),
        ];
        for answer in answers {
            let error = answer.expect(400)["error"].clone();
            assert_eq!(error["code"], "content_policy", "{content}: {error}");
            assert_eq!(error["message"], format!("The guard refused this text ({category})."));
            assert!(!answer.headers.contains_key("retry-after"), "to wait does not help");
        }
    }
    assert_eq!(session.client.get("/api/me").expect(200)["usage"]["tokens_day"]["used"], 0);
    let refused = session.client.get("/api/admin/audit?action=generation.refuse").expect(200);
    assert_eq!(refused["events"].as_array().map(Vec::len), Some(9), "{refused}");
    assert!(!refused.to_string().to_lowercase().contains("falcon"), "{refused}");
    for harmless in ["Tell me about falcons.", "A projectfalcon.", "What is a project?"] {
        client.post(CHAT, &chat(harmless)).expect(200);
    }
    assert_ne!(session.client.get("/api/me").expect(200)["usage"]["tokens_day"]["used"], 0);
}

#[test]
fn answers_and_refusals_say_where_the_caller_stands() {
    let home = Home::prepared();
    let server = start(
        &home,
        &["limits.person.requests_per_minute=2", "limits.key.tokens_per_minute=100000"],
    );
    let client = server.with_key(&home.key());
    let first = client.post(COMPLETIONS, &completion(1));
    assert_eq!(first.status, 200, "{}", first.text());
    let (_, refused) = until_refused(&client, &completion(1));
    check_refusal(&refused, "rate_limit_exceeded", "requests");
    for answer in [&first, &refused] {
        for name in RATE_HEADERS {
            assert!(!header(answer, name).is_empty());
        }
        assert_eq!(header(answer, "x-ratelimit-limit-requests"), "2");
        assert_eq!(header(answer, "x-ratelimit-limit-tokens"), "100000");
        let reset = header(answer, "x-ratelimit-reset-requests");
        assert!(reset.ends_with('s') && reset != "0ms", "{reset}");
    }
    assert_eq!(header(&first, "x-ratelimit-remaining-requests"), "1");
    assert_eq!(header(&refused, "x-ratelimit-remaining-requests"), "0");
    assert!(!refused.headers.contains_key("x-should-retry"), "a minute is worth the wait");
    // Listing models takes nothing, and says it all the same.
    let listed = client.get("/v1/models");
    assert_eq!(listed.status, 200);
    assert!(RATE_HEADERS.iter().all(|name| listed.headers.contains_key(*name)));
}

#[test]
fn every_answer_to_a_key_says_where_it_stands_whatever_was_asked() {
    let home = Home::prepared();
    let settings =
        ["limits.person.requests_per_minute=1000", "limits.key.tokens_per_minute=100000"];
    let server = start(&home, &settings);
    let client = server.with_key(&home.key());
    let check = |what: &str, answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(header(answer, "x-ratelimit-limit-requests"), "1000", "{what}");
        assert_eq!(header(answer, "x-ratelimit-limit-tokens"), "100000", "{what}");
        for name in RATE_HEADERS {
            assert!(!header(answer, name).is_empty(), "{what}: {name}");
        }
    };
    let talk = json!({"model": GUIDE, "messages": [{"role": "user", "content": "Hello"}]});
    let with = |mut body: Value, name: &str, value: Value| {
        body[name] = value;
        body
    };
    let short = with(talk.clone(), "max_tokens", json!(1));
    let input = json!({"model": GUIDE, "input": "Hello"});
    let words = json!({"model": GUIDE, "prompt": "Hello"});
    let tokens = json!({"model": GUIDE, "tokens": [300]});
    let rank = json!({"model": GUIDE, "query": "a", "documents": ["b"]});
    for (path, body, status) in [
        (CHAT, short.clone(), 200),
        (CHAT, with(short.clone(), "stream", json!(true)), 200),
        (COMPLETIONS, completion(1), 200),
        ("/v1/responses", with(input.clone(), "max_output_tokens", json!(1)), 200),
        ("/v1/responses/input_tokens", input.clone(), 200),
        ("/v1/messages", short, 200),
        ("/v1/messages/count_tokens", talk, 200),
        ("/v1/moderations", json!({"input": "Hello"}), 200),
        ("/v1/tokenize", words.clone(), 200),
        ("/v1/detokenize", tokens.clone(), 200),
        ("/tokenize", words, 200),
        ("/detokenize", tokens, 200),
        // The guide answers in words alone.
        ("/v1/embeddings", input, 400),
        ("/v1/rerank", rank.clone(), 400),
        ("/rerank", rank, 400),
    ] {
        check(path, &client.post(path, &body), status);
        check(path, &client.post(path, &json!({"colour": 1})), 400);
    }
    let kept = client.post("/v1/responses", &json!({"input": "Hello", "max_output_tokens": 1}));
    let kept = format!("/v1/responses/{}", kept.expect(200)["id"].as_str().expect("an id"));
    for path in ["/v1/models", "/v1/models/guide", &kept, &format!("{kept}/input_items")] {
        check(path, &client.get(path), 200);
    }
    check("deleted", &client.send("DELETE", &kept, None), 200);
    check("gone", &client.get(&kept), 404);
}

#[test]
fn each_limit_has_its_own_refusal() {
    let home = Home::prepared();
    let server = start(&home, &["limits.key.tokens_per_minute=12"]);
    let client = server.with_key(&home.key());
    let (answered, refused) = until_refused(&client, &completion(10));
    assert!(answered > 0);
    check_refusal(&refused, "rate_limit_exceeded", "tokens");
    // What never fits is no matter of waiting.
    let never = client.post(COMPLETIONS, &completion(13));
    let error = never.expect(400)["error"].clone();
    assert_eq!(error["code"], "request_exceeds_limit", "{error}");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("limit of 12")), "{error}");
    assert!(!never.headers.contains_key("retry-after"), "it never fits");
    assert!(server.stop().success());

    let server = start(&home, &["limits.person.tokens_per_day=200"]);
    let client = server.with_key(&home.key());
    let (answered, refused) = until_refused(&client, &completion(40));
    assert!(answered > 0);
    check_refusal(&refused, "insufficient_quota", "insufficient_quota");
    assert_eq!(header(&refused, "x-should-retry"), "false");
    assert!(server.stop().success());

    let server = start(&home, &["limits.person.concurrent=1"]);
    let client = server.with_key(&home.key());
    let mut refused = None;
    wait_for("a second answer beside the first to be refused", || {
        let (first, second) = two_at_once(&client);
        assert_eq!(first.last().map(String::as_str), Some("[DONE]"));
        refused = (second.status != 200).then_some(second);
        refused.is_some()
    });
    check_refusal(&refused.expect("it was waited for"), "concurrency_exceeded", "requests");
    client.post(COMPLETIONS, &completion(1)).expect(200);
    assert!(server.stop().success());
    let server = start(&home, &["limits.person.concurrent=2"]);
    let client = server.with_key(&home.key());
    for _ in 0..3 {
        assert_eq!(two_at_once(&client).1.status, 200);
    }
}

/// Asks for a short answer as soon as a long one has begun.
fn two_at_once(client: &Client) -> (Vec<String>, Answer) {
    let mut long = completion(100);
    long["stream"] = json!(true);
    let mut events = client.stream(COMPLETIONS, &long);
    let first = events.next().expect("the answer begins");
    let second = client.post(COMPLETIONS, &completion(1));
    let rest = events.map(|event| event.data);
    ([first.data].into_iter().chain(rest).collect(), second)
}

#[test]
fn the_budget_of_a_day_outlives_a_restart_and_a_sudden_death() {
    let home = Home::prepared();
    let settings = ["limits.person.tokens_per_day=400"];
    let server = start(&home, &settings);
    let client = server.with_key(&home.key());
    let mut used = 0;
    for _ in 0..2 {
        let answer = client.post(COMPLETIONS, &completion(40)).expect(200);
        used += answer["usage"]["total_tokens"].as_u64().expect("a number");
    }
    assert!(used > 0);
    let used_of = |server: &Server| {
        let session = Session::sign_in(server.client(), OWNER, PASSWORD);
        let usage = session.client.get("/api/me").expect(200)["usage"]["tokens_day"].clone();
        assert_eq!(usage["limit"], 400);
        usage["used"].as_u64().expect("a number")
    };
    assert_eq!(used_of(&server), used);
    assert!(server.stop().success());
    let server = start(&home, &settings);
    assert_eq!(used_of(&server), used, "after a restart");
    server.kill();
    let server = start(&home, &settings);
    assert_eq!(used_of(&server), used, "after a sudden death");

    // Killed within an answer, all that was taken for it stays taken.
    let longest = 400 - used - 20;
    let mut long = completion(longest);
    long["stream"] = json!(true);
    let mut events = server.with_key(&home.key()).stream(COMPLETIONS, &long);
    assert!(events.next().is_some(), "the answer begins");
    server.kill();
    let server = start(&home, &settings);
    let after = used_of(&server);
    assert!(after > used, "an answer that began is counted: {used}, then {after}");
    assert!(after <= 400, "no more than the limit was ever taken: {after}");
    let client = server.with_key(&home.key());
    let refused = client.post(COMPLETIONS, &completion(400 - after));
    check_refusal(&refused, "insufficient_quota", "insufficient_quota");
    assert_eq!(used_of(&server), after, "a refusal takes nothing");
}

#[test]
fn keys_share_what_their_owner_has_and_nobody_else_does() {
    let home = Home::prepared();
    let settings = ["limits.person.tokens_per_day=150", "limits.key.tokens_per_day=100"];
    let server = start(&home, &settings);
    let session = server.sign_in();
    let keys = ["one", "two", "three"].map(|name| session.make_key(&json!({"name": name})).1);
    let clients = keys.each_ref().map(|key| server.with_key(key));
    // The first key comes to its own end; the second goes on, until the person has nothing left.
    let (_, refused) = until_refused(&clients[0], &completion(30));
    check_refusal(&refused, "insufficient_quota", "insufficient_quota");
    let (answered, refused) = until_refused(&clients[1], &completion(30));
    assert!(answered > 0, "the second key has a budget of its own");
    check_refusal(&refused, "insufficient_quota", "insufficient_quota");
    // A key that was never used has none either, and so has the web app.
    check_refusal(
        &clients[2].post(COMPLETIONS, &completion(30)),
        "insufficient_quota",
        "insufficient_quota",
    );
    let id = session.begin_conversation("Nothing left");
    let path = format!("/api/conversations/{id}/messages");
    let refused = session.client.post(&path, &json!({"content": "What is Strongroom?"}));
    assert_eq!(refused.code(), "insufficient_quota", "{}", refused.text());

    let guest = server.invite(&session, "member");
    let (_, theirs) = guest.make_key(&json!({"name": "theirs"}));
    server.with_key(&theirs).post(COMPLETIONS, &completion(30)).expect(200);
}

#[test]
fn texts_are_judged_without_a_model_and_without_a_trace() {
    let home = Home::prepared();
    let policy = home.write("guard.toml", "[phrases]\ndenied = [\"project falcon\"]\n");
    let setting = format!("guard.policy_file={}", text(&policy));
    let server = start(&home, &[&setting, "limits.key.requests_per_minute=3"]);
    let client = server.with_key(&home.key());
    let path = "/v1/moderations";
    assert_eq!(server.client().post(path, &json!({"input": "x"})).status, 401);
    let body = json!({"model": "omni-moderation-latest",
        "input": ["What is a falcon?", "Tell me about Project Falcon.", format!("It is {CARD}.")]});
    let answer = client.post(path, &body).expect(200);
    let results = answer["results"].as_array().expect("a list");
    let flagged: Vec<&Value> = results.iter().map(|one| &one["flagged"]).collect();
    assert_eq!(flagged, [&json!(false), &json!(true), &json!(true)]);
    assert_eq!(results[1]["categories"]["illicit"], true);
    assert_eq!(results[1]["category_applied_input_types"]["hate"], json!([]));
    let own = |at: usize| results[at]["strongroom"]["categories"][0]["category"].clone();
    assert_eq!((own(1), own(2)), (json!("denied"), json!("personal.card")));
    let refused = client.post(path, &json!({"input": "x".repeat(1_048_577)}));
    assert_eq!(refused.code(), "invalid_value", "{}", refused.text());
    client.post(path, &json!({"input": "x"})).expect(200);
    check_refusal(&client.post(path, &json!({"input": "x"})), "rate_limit_exceeded", "requests");
    let session = server.sign_in();
    assert_eq!(session.client.get("/api/me").expect(200)["usage"]["tokens_day"]["used"], 0);
    let events = session.client.get("/api/admin/audit?action=texts.moderated").text();
    assert!(events.contains("texts.moderated"), "{events}");
    assert!(!events.to_lowercase().contains("falcon") && !events.contains(CARD), "{events}");
    assert!(!server.log().contains(CARD));
}
