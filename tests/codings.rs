//! Answers in codings (gzip, brotli, zstd), where that is safe; bodies of requests never.

mod common;

use common::{Answer, GUIDE, Home, Server};
use serde_json::json;

const SCRIPT: &str = "/static/js/app.js";
const CHAT: &str = "/v1/chat/completions";

fn coding(answer: &Answer) -> Option<&str> {
    answer.headers.get("content-encoding").map(|value| value.to_str().expect("text"))
}

fn varies(answer: &Answer) -> bool {
    let mut values = answer.headers.get_all("vary").iter();
    values.any(|value| value == "accept-encoding")
}

fn tag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("text").to_owned()
}

#[test]
fn files_come_in_the_coding_that_is_asked_for_each_with_its_own_tag() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let client = server.client();
    let plain = client.get(SCRIPT);
    assert_eq!((plain.status, coding(&plain), varies(&plain)), (200, None, true));
    let mut tags = vec![tag(&plain)];
    // The first bytes of gzip (RFC 1952) and of zstd (RFC 8878); brotli has none.
    for (name, magic) in
        [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]), ("br", &[])]
    {
        let asking = client.clone().with("accept-encoding", name);
        let answer = asking.get(SCRIPT);
        assert_eq!((answer.status, coding(&answer), varies(&answer)), (200, Some(name), true));
        assert!(answer.body.starts_with(magic) && answer.body.len() < plain.body.len(), "{name}");
        assert_eq!(asking.get(SCRIPT).body, answer.body, "it was made once");
        let again = asking.clone().with("if-none-match", &tag(&answer)).get(SCRIPT);
        assert_eq!((again.status, tag(&again), again.body.len()), (304, tag(&answer), 0));
        assert!(varies(&again));
        let other = asking.with("if-none-match", &tag(&plain)).get(SCRIPT);
        assert_eq!(other.status, 200, "the tag is that of another thing");
        tags.push(tag(&answer));
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 4);
    let picture = client.clone().with("accept-encoding", "gzip").get("/static/icon.svg");
    assert!(picture.body.len() < 1_024 || coding(&picture).is_some());
    let page = client.with("accept-encoding", "identity, gzip;q=0").get("/");
    assert_eq!(coding(&page), None);
}

#[test]
fn programs_get_long_json_smaller_and_sessions_and_streams_never() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let program = server.with_key(&home.key()).with("accept-encoding", "gzip");
    let long = "word ".repeat(2_000);
    let tokens = program.post("/v1/tokenize", &json!({"model": GUIDE, "prompt": long}));
    assert_eq!((tokens.status, coding(&tokens), varies(&tokens)), (200, Some("gzip"), true));
    assert!(tokens.body.starts_with(&[0x1f, 0x8b]));
    let short = program.post("/v1/tokenize", &json!({"model": GUIDE, "prompt": "word"}));
    assert_eq!((short.status, coding(&short)), (200, None));
    let streamed = json!({"model": GUIDE, "max_tokens": 64, "stream": true,
        "messages": [{"role": "user", "content": "What does Strongroom do?"}]});
    let streamed = program.post(CHAT, &streamed);
    assert_eq!((streamed.status, coding(&streamed)), (200, None));
    assert!(streamed.text().ends_with("data: [DONE]\n\n"));
    let session = server.sign_in();
    let browser = session.client.clone().with("accept-encoding", "gzip");
    for path in ["/api/admin/audit", "/api/admin/posture", "/api/admin/overview"] {
        let answer = browser.get(path);
        assert_eq!((answer.status, coding(&answer), varies(&answer)), (200, None, false), "{path}");
    }
    assert!(browser.get("/api/admin/audit").body.len() > 1_024, "it is long enough");
}

#[test]
fn bodies_in_a_coding_are_refused_and_not_opened() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let program = server.with_key(&home.key());
    // A gzip file of nothing: had it been opened, the answer would be about its JSON.
    let empty = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for coding in ["gzip", "br", "zstd", "deflate", "x-new", "gzip, identity"] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let answer = program.try_send("POST", CHAT, &headers, Some(empty.to_vec()));
        let answer = answer.expect("an answer");
        assert_eq!(answer.code(), "unsupported_media_type", "{coding}");
        assert_eq!(answer.expect(415)["error"]["param"], "content-encoding", "{coding}");
    }
    let headers = [("content-type", "application/json"), ("content-encoding", "identity")];
    let body = json!({"model": GUIDE, "max_tokens": 2,
        "messages": [{"role": "user", "content": "hello"}]});
    let answer = program.try_send("POST", CHAT, &headers, Some(body.to_string().into_bytes()));
    assert_eq!(answer.expect("an answer").status, 200);
}

#[test]
fn bodies_have_a_bound_in_bytes_and_in_depth() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &["--set", "server.body_bytes_max=100000"]);
    let program = server.with_key(&home.key());
    let long = json!({"model": GUIDE, "prompt": "a".repeat(100_000)});
    let answer = program.post("/v1/completions", &long);
    assert_eq!(answer.code(), "payload_too_large");
    assert_eq!(answer.expect(413)["error"]["param"], "body");
    let deep = format!("{{\"model\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    let headers = [("content-type", "application/json")];
    let answer = program.try_send("POST", CHAT, &headers, Some(deep.into_bytes()));
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"));
    assert!(answer.text().contains("128"), "{}", answer.text());
}
