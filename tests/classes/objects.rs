//! Things of other people: whatever is asked for by the id of somebody else's is not there, in the very words
//! that are said of what never was.

use serde_json::{Value, json};

use super::{path_of, start};
use crate::common::numbered::rows;
use crate::common::{Answer, Client, GUIDE, Home, Server, Session};

/// What a person has, by the addresses that name it.
struct Belongings {
    conversation: String,
    key: String,
    session: String,
    response: String,
}

/// Whose a thing at an address is.
enum Of {
    /// One person's: this id of theirs.
    Person(fn(&Belongings) -> &str),
    /// Nobody's, or that of all who have the permission of the row.
    House,
}

/// Every route with a parameter stands here, by the begin of its path.
const PLACES: [(&str, Of); 15] = [
    ("/api/conversations/", Of::Person(|of| &of.conversation)),
    ("/api/me/keys/", Of::Person(|of| &of.key)),
    ("/api/me/sessions/", Of::Person(|of| &of.session)),
    ("/v1/responses/", Of::Person(|of| &of.response)),
    ("/v1/models/", Of::House),
    ("/api/admin/people/", Of::House),
    ("/api/admin/groups/", Of::House),
    ("/api/admin/models/", Of::House),
    ("/api/admin/model-aliases/", Of::House),
    ("/api/admin/prompts/", Of::House),
    ("/api/admin/alerts/", Of::House),
    ("/api/admin/evaluations/", Of::House),
    ("/c/", Of::House),
    ("/admin/", Of::House),
    ("/static/", Of::House),
];

/// A person with a browser and a program.
struct Person {
    session: Session,
    program: Client,
    has: Belongings,
}

impl Person {
    fn of(server: &Server, session: Session) -> Self {
        let conversation = session.begin_conversation("mine");
        let said = session.say(&conversation, "What are you?");
        assert_eq!(said.last().map(|event| event.name.as_str()), Some("done"));
        let (key, secret) = session.make_key(&json!({"name": "script"}));
        let program = server.with_key(&secret);
        let body = json!({"model": GUIDE, "input": "Hello", "max_output_tokens": 4, "store": true});
        let response = program.post("/v1/responses", &body).expect(200)["id"].clone();
        let text = |value: &Value| value.as_str().expect("an id").to_owned();
        let has = Belongings {
            conversation,
            key,
            session: text(&session.me["session_id"]),
            response: text(&response),
        };
        Self { session, program, has }
    }

    fn client(&self, path: &str) -> &Client {
        if path.starts_with("/v1/") { &self.program } else { &self.session.client }
    }

    /// All that they have, as they see it.
    fn state(&self) -> Vec<Value> {
        let get = |path: String| self.client(&path).get(&path).expect(200);
        let mut sessions = get("/api/me/sessions".to_owned());
        for session in sessions["sessions"].as_array_mut().into_iter().flatten() {
            // It is used by looking.
            session["last_seen_at"] = Value::Null;
        }
        let mut keys = get("/api/me/keys".to_owned());
        for key in keys["keys"].as_array_mut().into_iter().flatten() {
            key["last_used_at"] = Value::Null;
        }
        vec![
            get("/api/conversations".to_owned()),
            get(format!("/api/conversations/{}", self.has.conversation)),
            get(format!("/v1/responses/{}", self.has.response)),
            get(format!("/v1/responses/{}/input_items", self.has.response)),
            sessions,
            keys,
        ]
    }
}

/// An id of the same form that nobody has.
fn nobodys(id: &str) -> String {
    let (kind, digits) = id.rsplit_once('_').expect("a kind");
    format!("{kind}_{}", "0".repeat(digits.len()))
}

/// What a body of the route would be, if it were one's own.
fn body(method: &str, path: &str) -> Option<Value> {
    match method {
        "PATCH" if path.starts_with("/api/me/keys/") => Some(json!({"networks": ["192.0.2.7"]})),
        "PATCH" => Some(json!({"title": "taken"})),
        "POST" if path.ends_with("/messages") => Some(json!({"content": "Hello"})),
        _ => None,
    }
}

/// All of an answer but what is new in each.
fn told(answer: &Answer) -> (u16, String, Vec<String>) {
    let names = answer.headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name != "date" && name != "x-request-id" && !name.starts_with("x-ratelimit-")
    });
    let mut names: Vec<String> =
        names.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    names.sort_unstable();
    (answer.status, answer.text(), names)
}

#[test]
fn class_06_nothing_of_anybody_is_there_for_anybody_else_by_any_verb() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let owner = server.sign_in();
    let guest = server.invite(&owner, "member");
    // Whoever manages people is no nearer to what they have.
    let people = [Person::of(&server, owner), Person::of(&server, guest)];
    let before = [people[0].state(), people[1].state()];
    let table = rows("api.md", "routes");
    let mut tried = 0;
    for row in &table[1..] {
        let (method, pattern) = (row[0].as_str(), row[1].trim_matches('`'));
        if !pattern.contains('{') {
            continue;
        }
        let place = PLACES.iter().find(|(begin, _)| pattern.starts_with(begin));
        let (_, of) = place.unwrap_or_else(|| panic!("whose is what is at {pattern}?"));
        let Of::Person(id) = of else { continue };
        for (one, other) in [(&people[0], &people[1]), (&people[1], &people[0])] {
            let theirs = id(&other.has);
            let client = one.client(pattern);
            let ask = |id: &str| {
                let path = path_of(pattern, id);
                client.send(method, &path, body(method, &path).as_ref())
            };
            let refused = ask(theirs);
            assert_eq!(refused.status, 404, "{method} {pattern}: {}", refused.text());
            assert_eq!(refused.code(), "not_found", "{method} {pattern}");
            assert_eq!(told(&refused), told(&ask(&nobodys(theirs))), "{method} {pattern}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
    // Nor by an id in the body of another request.
    for (one, other) in [(&people[0], &people[1]), (&people[1], &people[0])] {
        let going_on = |id: &str| {
            let body = json!({"model": GUIDE, "input": "Go on.", "max_output_tokens": 1,
                "previous_response_id": id});
            told(&one.program.post("/v1/responses", &body))
        };
        let (theirs, nothing) = (&other.has.response, nobodys(&other.has.response));
        assert_eq!(going_on(theirs).0, 404);
        assert_eq!(going_on(theirs), going_on(&nothing));
        let kept = other.program.get(&format!("/v1/responses/{theirs}")).expect(200);
        let item = kept["output"][0]["id"].as_str().expect("an id").to_owned();
        let named = |id: &str| {
            let input =
                json!([{"type": "item_reference", "id": id}, {"role": "user", "content": "x"}]);
            let body = json!({"model": GUIDE, "input": input, "max_output_tokens": 1});
            told(&one.program.post("/v1/responses", &body))
        };
        assert!(matches!(named(&item).0, 400 | 404), "{:?}", named(&item));
        assert_eq!(named(&item), named(&nobodys(&item)));
        // Looking for words finds one's own alone.
        let found =
            one.session.client.get("/api/conversations?search=What%20are%20you").expect(200);
        let ids = found["conversations"].as_array().expect("a list");
        assert!(ids.iter().all(|found| found["id"] != other.has.conversation.as_str()), "{found}");
    }
    let after = [people[0].state(), people[1].state()];
    assert_eq!(before, after, "nothing was changed");
    server.assert_alive();
}
