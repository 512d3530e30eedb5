//! Every way to present a key, with every rule that a key is under: the same answer by each. And that nothing
//! in an answer tells how near a wrong key was.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CHAT, start};
use crate::common::client::StreamEvent;
use crate::common::guides::{long_guide, no_end};
use crate::common::refusal::check;
use crate::common::{Answer, Client, GUEST_PASSWORD, GUIDE, Home, Server, Session, text, wait_for};

/// The ways that are known, by the header and what stands before the key.
const FORMS: [(&str, &str); 4] = [
    ("authorization", "Bearer "),
    ("authorization", "bearer "),
    ("authorization", "BEARER  "),
    ("x-api-key", ""),
];
/// Ways of other servers, which are none here.
const OTHERS: [(&str, &str); 8] = [
    ("authorization", ""),
    ("authorization", "Basic "),
    ("authorization", "Token "),
    ("authorization", "Bearer: "),
    ("api-key", ""),
    ("x-goog-api-key", ""),
    ("proxy-authorization", "Bearer "),
    ("cookie", "__Host-strongroom="),
];

fn by(server: &Server, form: (&str, &str), key: &str) -> Client {
    server.client().with(form.0, &format!("{}{key}", form.1))
}

fn body() -> Value {
    json!({"model": GUIDE, "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]})
}

/// What each of these addresses answers: status and code.
fn answers(client: &Client) -> Vec<(u16, String)> {
    let prompt = json!({"model": GUIDE, "prompt": "Hello"});
    let counted = json!({"model": GUIDE, "messages": body()["messages"]});
    let all: [Answer; 6] = [
        client.get("/v1/models"),
        client.post(CHAT, &body()),
        client.post("/v1/messages", &body()),
        client.post("/v1/messages/count_tokens", &counted),
        client.post("/v1/tokenize", &prompt),
        client.get("/metrics"),
    ];
    all.iter().map(|answer| (answer.status, answer.code())).collect()
}

#[test]
fn class_05_each_form_of_a_key_meets_every_rule() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let id = guest.me["person"]["id"].as_str().expect("an id").to_owned();
    let person = format!("/api/admin/people/{id}");
    let change = |change: Value| owner.client.send("PATCH", &person, Some(&change)).expect(200);
    let (_, good) = guest.make_key(&json!({"name": "good"}));
    let (gone_id, gone) = guest.make_key(&json!({"name": "gone"}));
    let (_, scraper) = owner.make_key(&json!({"name": "numbers", "scopes": ["metrics.read"]}));
    let (_, narrow) = owner.make_key(&json!({"name": "narrow", "models": [GUIDE]}));
    let (_, here) = guest.make_key(&json!({"name": "here", "networks": ["::1", "127.0.0.0/8"]}));
    let (_, away) = guest.make_key(&json!({"name": "away", "networks": ["192.0.2.0/24"]}));
    guest.client.send("DELETE", &format!("/api/me/keys/{gone_id}"), None);

    let refused = |code: &str, status: u16| vec![(status, code.to_owned()); 6];
    let mut fine = vec![(200, String::new()); 5];
    fine.push((403, "permission_denied".to_owned()));
    let mut numbers = refused("permission_denied", 403);
    numbers[5] = (200, String::new());
    for form in FORMS {
        assert_eq!(answers(&by(&server, form, &good)), fine, "{form:?}");
        assert_eq!(answers(&by(&server, form, &narrow)), fine, "{form:?}");
        assert_eq!(answers(&by(&server, form, &here)), fine, "{form:?}");
        assert_eq!(answers(&by(&server, form, &gone)), refused("invalid_api_key", 401), "{form:?}");
        assert_eq!(answers(&by(&server, form, &away)), refused("invalid_api_key", 401), "{form:?}");
        assert_eq!(answers(&by(&server, form, &scraper)), numbers, "{form:?}");
    }
    // A model that is not the key's, or not its owner's any more.
    let models = |roles: Value| {
        let path = format!("/api/admin/models/{GUIDE}");
        owner.client.send("PATCH", &path, Some(&json!({ "roles": roles }))).expect(200);
    };
    models(json!(["auditor"]));
    for form in FORMS {
        for key in [&good, &narrow] {
            let found = answers(&by(&server, form, key));
            let missing = (404, "model_not_found".to_owned());
            assert_eq!(found[1..5].to_vec(), vec![missing; 4], "{form:?}");
        }
    }
    models(Value::Null);
    // A person without the right, and one who is shut out.
    change(json!({"roles": ["auditor"]}));
    for form in FORMS {
        assert_eq!(
            answers(&by(&server, form, &good)),
            refused("permission_denied", 403),
            "{form:?}"
        );
    }
    change(json!({"roles": ["member"], "disabled": true}));
    for form in FORMS {
        assert_eq!(answers(&by(&server, form, &good)), refused("invalid_api_key", 401), "{form:?}");
    }
    change(json!({"disabled": false}));
    for form in FORMS {
        assert_eq!(answers(&by(&server, form, &good)), fine, "{form:?}");
    }
    for form in OTHERS {
        let found = answers(&by(&server, form, &good));
        assert_eq!(found, refused("invalid_api_key", 401), "{form:?}");
    }
    let query = server.client().post(&format!("{CHAT}?api_key={good}&key={good}"), &body());
    check("in the address", &query, 401, "invalid_api_key");
    assert!(!server.log().contains(&good) && !server.log().contains(&gone));
}

/// Which of two would count?
#[test]
fn class_05_a_request_has_one_credential() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let (_, good) = guest.make_key(&json!({"name": "good"}));
    let (_, other) = guest.make_key(&json!({"name": "other"}));
    let (gone_id, gone) = guest.make_key(&json!({"name": "gone"}));
    guest.client.send("DELETE", &format!("/api/me/keys/{gone_id}"), None);
    let refused = vec![(400, "invalid_request".to_owned()); 6];
    let bearer = format!("Bearer {good}");
    let cookie = guest.client.clone().with("authorization", &bearer);
    let same = by(&server, FORMS[0], &good).with("x-api-key", &good);
    let different = by(&server, FORMS[0], &good).with("x-api-key", &other);
    let mixed = by(&server, FORMS[0], &gone).with("x-api-key", &good);
    let twice = by(&server, FORMS[3], &good).with("x-api-key", &other);
    for (what, client) in [
        ("same", same),
        ("different", different),
        ("one gone", mixed),
        ("twice", twice),
        ("a session", cookie),
    ] {
        let found = answers(&client);
        assert_eq!(found, refused, "{what}");
    }
}

/// The guest's session: changes of their roles have ended the one before.
fn guest_again(server: &Server) -> Session {
    Session::sign_in(server.client(), "guest", GUEST_PASSWORD)
}

#[test]
fn class_05_what_is_withdrawn_ends_the_streams_that_run_on_it() {
    let home = Home::prepared();
    let model = long_guide(&home, "guide-long");
    let server =
        start(&home, &["models.default=guide", &format!("models.files=[{:?}]", text(&model))]);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    let id = guest.me["person"]["id"].as_str().expect("an id").to_owned();
    let person = format!("/api/admin/people/{id}");
    let change = |change: Value| owner.client.send("PATCH", &person, Some(&change)).expect(200);
    let endless = json!({"model": "guide-long", "max_tokens": 30_000, "stream": true,
        "logit_bias": no_end(), "messages": [{"role": "user", "content": "Hello"}]});
    for (form, how) in FORMS.iter().zip(["key", "person", "roles", "networks"]) {
        // On a fast machine the answer may end before that: then once more.
        wait_for(&format!("a stream to end by its {how}"), || {
            let session = guest_again(&server);
            let (key_id, key) = session.make_key(&json!({"name": "withdrawn"}));
            let mut events = by(&server, *form, &key).stream(CHAT, &endless);
            assert_eq!(events.by_ref().take(3).count(), 3, "it runs");
            match how {
                "key" => {
                    drop(session.client.send("DELETE", &format!("/api/me/keys/{key_id}"), None));
                }
                "networks" => {
                    let path = format!("/api/me/keys/{key_id}");
                    let elsewhere = json!({"networks": ["192.0.2.0/24"]});
                    session.client.send("PATCH", &path, Some(&elsewhere)).expect(200);
                }
                "roles" => drop(change(json!({"roles": ["auditor"]}))),
                _ => drop(change(json!({"disabled": true}))),
            }
            let rest: Vec<StreamEvent> = events.collect();
            change(json!({"disabled": false, "roles": ["member"]}));
            let Some(last) = rest.last().filter(|last| last.data != "[DONE]") else { return false };
            assert_eq!(last.json()["error"]["code"], "permission_denied", "{form:?} {how}");
            true
        });
    }
}

/// A key of the right form, checksum included, with these digits.
fn formed(random: &str) -> String {
    let sum = Sha256::digest(format!("strongroom/sr-{random}"));
    format!("sr-{random}{}", hex::encode(&sum[..4]))
}

/// Keys are found by a keyed hash of the whole: there is no comparison that could stop early. From outside:
/// whatever part of a key is right, the answer is the same to the last byte, but for its id.
#[test]
fn class_09_an_answer_does_not_tell_how_much_of_a_key_is_right() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let key = home.key();
    let random = &key["sr-".len().."sr-".len() + 64];
    assert_eq!(formed(random), key, "the form is as it is described");
    let told = |key: &str| {
        let answer = server.with_key(key).get("/v1/models");
        check("a wrong key", &answer, 401, "invalid_api_key");
        let mut headers: Vec<(String, String)> = answer
            .headers
            .iter()
            .filter(|(name, _)| *name != "x-request-id" && *name != "date")
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect();
        headers.sort_unstable();
        (answer.text(), headers)
    };
    let wrong = told("nothing");
    let other = |digit: &str| if digit == "0" { "1" } else { "0" };
    for place in [0, 1, 31, 62, 63] {
        let changed = format!(
            "{}{}{}",
            &random[..place],
            other(&random[place..=place]),
            &random[place + 1..]
        );
        assert_eq!(told(&formed(&changed)), wrong, "all but digit {place}");
    }
    for key in [
        formed(&"0".repeat(64)),
        key[..key.len() - 1].to_owned(),
        format!("{key}0"),
        key.to_uppercase(),
    ] {
        assert_eq!(told(&key), wrong);
    }
    server.with_key(&key).get("/v1/models").expect(200);
}

/// That a hash is computed for a name that nobody has, a test beside src/accounts/password.rs shows.
#[test]
fn class_09_a_sign_in_does_not_tell_who_has_an_account() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let told = |name: &str| {
        let wrong = json!({"username": name, "password": "ten geese over the old barn"});
        let answer = server.client().post("/api/session", &wrong);
        check(name, &answer, 401, "wrong_credentials");
        answer.text()
    };
    let known = told(crate::common::OWNER);
    for name in ["nobody", "olivia2"] {
        assert_eq!(told(name), known, "{name}");
    }
}
