//! Words that are meant for something behind the server: its database, its files, its templates, other
//! servers. And that no answer tells of any of these.

use std::io::ErrorKind;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{CHAT, start};
use crate::common::refusal::{check, post};
use crate::common::{Answer, GUIDE, Home, OWNER, text};

fn chat(content: &Value) -> Value {
    json!({"model": GUIDE, "max_tokens": 2, "temperature": 0,
        "messages": [{"role": "user", "content": content}]})
}

/// Statements, as they would be if words became part of one.
const STATEMENTS: [&str; 8] = [
    "' OR '1'='1",
    "'; DROP TABLE api_keys; --",
    "\" OR \"\"=\"",
    "') OR 1=1 --",
    "1; ATTACH DATABASE '/tmp/x' AS x",
    "x' UNION SELECT secret_hash FROM api_keys --",
    "%' OR '%'='",
    "\\",
];

/// A text in the address, byte by byte.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        encoded.push('%');
        encoded.push_str(&hex::encode_upper([byte]));
    }
    encoded
}

#[test]
fn class_12_no_word_becomes_part_of_a_statement() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let owner = server.sign_in();
    let conversation = owner.begin_conversation("Only this");
    let (client, program) = (&owner.client, server.with_key(&home.key()));
    for words in STATEMENTS {
        let path = encoded(words);
        for key in [words.to_owned(), format!("sr-{words}"), format!("{}{words}", home.key())] {
            for (name, value) in
                [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone())]
            {
                let answer = server.client().with(name, &value).get("/v1/models");
                check(words, &answer, 401, "invalid_api_key");
            }
        }
        for (path, code) in [
            (format!("/v1/models/{path}"), "model_not_found"),
            (format!("/v1/responses/{path}"), "not_found"),
        ] {
            check(words, &program.get(&path), 404, code);
        }
        for (method, path) in [
            ("GET", format!("/api/conversations/{path}")),
            ("GET", format!("/api/conversations/{path}/stream")),
            ("GET", format!("/api/admin/evaluations/{path}/report")),
            ("DELETE", format!("/api/conversations/{path}")),
            ("DELETE", format!("/api/me/keys/{path}")),
            ("DELETE", format!("/api/me/sessions/{path}")),
            ("DELETE", format!("/api/admin/people/{path}")),
            ("DELETE", format!("/api/admin/prompts/{path}")),
        ] {
            let answer = client.send(method, &path, None);
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text());
        }
        // What is looked for is text: it is found where it stands, and nowhere else.
        let found = client.get(&format!("/api/conversations?search={path}")).expect(200);
        assert_eq!(found["conversations"], json!([]), "{words}");
        for field in ["actor", "subject"] {
            let found = client.get(&format!("/api/admin/audit?{field}={path}")).expect(200);
            assert_eq!(found["events"], json!([]), "{field}: {words}");
        }
        check(words, &client.get(&format!("/api/admin/audit?action={path}")), 400, "invalid_value");
        let answer =
            program.post(CHAT, &json!({"model": words, "messages": chat(&json!("x"))["messages"]}));
        check(words, &answer, 404, "model_not_found");
        // It is kept as it is.
        let named = owner.begin_conversation(words);
        let kept = client.get(&format!("/api/conversations/{named}")).expect(200);
        assert_eq!(kept["conversation"]["title"], words);
        assert_eq!(client.send("DELETE", &format!("/api/conversations/{named}"), None).status, 204);
    }
    let left = client.get("/api/conversations").expect(200);
    assert_eq!(left["conversations"][0]["id"], conversation.as_str());
    assert_eq!(left["conversations"].as_array().map(Vec::len), Some(1));
    program.get("/v1/models").expect(200);
    server.assert_alive();
}

#[test]
fn class_10_no_name_leads_out_of_a_directory() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let (owner, program) = (server.sign_in(), server.with_key(&home.key()));
    let secret = home.write("secret.gguf", "vermilion-walrus");
    let database = home.data().join("strongroom.db");
    for name in [
        "../strongroom.db",
        "..",
        ".",
        "../../etc/passwd",
        "/etc/passwd",
        "....//....//etc/passwd",
        "..\\..\\etc\\passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "guide/../../../etc/passwd",
        "guide.gguf",
        "guide\u{0}",
        "sha256-../../x",
        "file:///etc/passwd",
        text(&secret),
        text(&database),
    ] {
        let answer =
            program.post(CHAT, &json!({"model": name, "messages": chat(&json!("x"))["messages"]}));
        check(name, &answer, 404, "model_not_found");
        let path = encoded(name);
        let answer = program.get(&format!("/v1/models/{path}"));
        assert_eq!(answer.status, 404, "{name}: {}", answer.text());
        let load = owner.client.post(&format!("/api/admin/models/{path}/load"), &json!({}));
        assert_eq!(load.status, 404, "{name}: {}", load.text());
        for begin in ["/static/", "/static/js/", "/.well-known/"] {
            for path in [name.to_owned(), path.clone()] {
                if path.contains(['\u{0}', '\\']) {
                    continue;
                }
                let answer = server.client().get(&format!("{begin}{path}"));
                let place = format!("{begin}{path}: {} {}", answer.status, answer.text());
                assert!(matches!(answer.status, 400 | 404), "{place}");
                assert!(
                    !answer.text().contains("root:") && !answer.text().contains("walrus"),
                    "{place}"
                );
            }
        }
    }
    server.assert_alive();
}

#[test]
fn class_03_what_a_template_is_given_is_not_the_callers_to_replace() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let client = server.with_key(&home.key());
    let plain = client.post(CHAT, &chat(&json!("Hello"))).expect(200);
    for name in [
        "messages",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "chat_template",
        "strftime_now",
        "raise_exception",
        "range",
        "namespace",
        "tokenize",
        "__class__",
        "self.x",
    ] {
        let mut body = chat(&json!("Hello"));
        body["chat_template_kwargs"] = json!({ name: "{{ messages }}" });
        let answer = client.post(CHAT, &body);
        if answer.status == 200 {
            // A name that templates do not know is data, and changes nothing.
            assert_eq!(
                answer.expect(200)["usage"]["prompt_tokens"],
                plain["usage"]["prompt_tokens"],
                "{name}"
            );
            assert!(["tokenize", "__class__"].contains(&name), "{name} was taken");
        } else {
            check(name, &answer, 400, "invalid_value");
        }
    }
    for name in ["chat_template", "template", "tokenizer", "jinja"] {
        let mut body = chat(&json!("Hello"));
        body[name] = json!("{{ messages }}");
        check(name, &client.post(CHAT, &body), 400, "unknown_parameter");
    }
}

#[test]
fn class_02_words_of_a_template_are_text_wherever_they_stand() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let client = server.with_key(&home.key());
    for words in [
        "{{ 7 * 7 }}",
        "{% for a in range(1000000000) %}x{% endfor %}",
        "{{ messages }}",
        "${7*7}",
        "#{7*7}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% include '/etc/passwd' %}",
        "{{ config }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{%",
        "{{",
        "{#",
        "%}",
    ] {
        // It has as many tokens as it has by itself, in the same frame: nothing was made of it.
        let count = |content: &str| {
            let body = json!({"model": GUIDE, "messages": chat(&json!(content))["messages"]});
            let read = client.post("/v1/tokenize", &body).expect(200);
            read["tokens"].as_array().expect("a list").clone()
        };
        let framed = client.post("/v1/detokenize", &json!({"tokens": count(words)})).expect(200);
        assert!(
            framed["content"].as_str().is_some_and(|text| text.contains(words)),
            "{words}: {framed}"
        );
        for role in ["user", "system", "assistant"] {
            let messages =
                json!([{"role": role, "content": words}, {"role": "user", "content": words}]);
            let body = json!({"model": GUIDE, "max_tokens": 1, "messages": messages});
            client.post(CHAT, &body).expect(200);
        }
        let tool = json!([{"type": "function", "function": {"name": "f", "description": words}}]);
        let mut body = chat(&json!(words));
        body["tools"] = tool;
        client.post(CHAT, &body).expect(200);
    }
    server.assert_alive();
}

#[test]
fn class_07_no_address_in_a_request_is_gone_to() {
    let home = Home::prepared();
    let mut server = start(&home, &[]);
    let (owner, client) = (server.sign_in(), server.with_key(&home.key()));
    let bait = TcpListener::bind("127.0.0.1:0").expect("a port");
    bait.set_nonblocking(true).expect("it can");
    let url = format!("http://{}/x", bait.local_addr().expect("an address"));
    let part =
        |kind: &str| json!([{"type": kind, kind: {"url": url, "file_url": url, "data": url}}]);
    let block = json!([{"type": "image", "source": {"type": "url", "url": url}}]);
    let said = |content: Value| json!([{"role": "user", "content": content}]);
    let mcp = json!([{"type": "mcp", "server_label": "x", "server_url": url}]);
    for (path, body) in [
        (CHAT, chat(&json!(format!("Read {url} ![x]({url})")))),
        (CHAT, chat(&part("image_url"))),
        (CHAT, chat(&part("input_audio"))),
        (CHAT, chat(&part("file"))),
        (CHAT, json!({"model": url, "messages": said(json!("x"))})),
        (CHAT, json!({"model": GUIDE, "messages": said(json!("x")), "guided_json": {"$ref": url}})),
        (CHAT, json!({"model": GUIDE, "messages": said(json!("x")), "web_search_options": {}})),
        ("/v1/responses", json!({"model": GUIDE, "input": "x", "tools": mcp})),
        ("/v1/responses", json!({"model": GUIDE, "input": "x", "tools": [{"type": "web_search"}]})),
        ("/v1/messages", json!({"model": GUIDE, "max_tokens": 2, "messages": said(block)})),
        (
            "/v1/messages",
            json!({"model": GUIDE, "max_tokens": 2, "messages": said(json!("x")),
            "mcp_servers": [{"type": "url", "url": url, "name": "x"}]}),
        ),
        ("/v1/embeddings", json!({"model": GUIDE, "input": url})),
        ("/v1/moderations", json!({"input": part("image_url")})),
    ] {
        let answer = client.post(path, &body);
        assert!(answer.status < 500, "{path}: {}", answer.text());
    }
    let conversation = owner.begin_conversation(&url);
    owner.say(&conversation, &format!("Read {url}"));
    owner.client.post("/api/admin/model-aliases", &json!({"alias": "x", "model": url}));
    let nobody = bait.accept().expect_err("nobody came");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock, "{nobody}");
    server.assert_alive();
}

/// Words of the inside.
const INSIDE: [&str; 11] = [
    "panicked",
    ".rs:",
    "src/",
    "rusqlite",
    "sqlite",
    "SELECT ",
    "stack backtrace",
    "/home/",
    "/root/",
    "RUST_",
    "thread '",
];
/// Bodies that are right nowhere.
const BROKEN: [&str; 8] =
    ["", "{", "[]", "null", "{\"model\": 7}", "{\"model\": \"../x\"}", "\u{0}", "{\"a\": 1e400}"];

#[test]
fn class_14_no_answer_tells_of_files_statements_or_people() {
    let home = Home::prepared();
    let server = start(&home, &[]);
    let (stranger, program) = (server.client(), server.with_key(&home.key()));
    let owner = server.sign_in();
    let data = home.data();
    let held = |what: &str, answer: &Answer| {
        let headers = format!("{:?}", answer.headers);
        for inside in INSIDE.iter().copied().chain([text(&data)]) {
            let told = answer.text();
            assert!(
                !told.contains(inside) && !headers.contains(inside),
                "{what} shows `{inside}`: {told}"
            );
        }
    };
    let mut looked = 0;
    for row in &crate::common::numbered::rows("api.md", "routes")[1..] {
        let (method, pattern) = (row[0].as_str(), row[1].trim_matches('`'));
        // Pages and files are what they are, and numbers are for whoever may read them.
        if row[2] == "everybody" && method == "GET" && !pattern.starts_with("/api") {
            continue;
        }
        for filled in ["nothing", "%00", "%27", "..%2f..", "0"] {
            let path = super::path_of(pattern, filled);
            for client in [&stranger, &program, &owner.client] {
                let sign_out = path == "/api/session" && method == "DELETE";
                if method == "GET" || sign_out {
                    let answer = client.try_send("GET", &path, &[], None).expect("an answer");
                    // An administrator may see where models lie.
                    if answer.status != 200 {
                        held(&format!("GET {path}"), &answer);
                    }
                    looked += 1;
                    continue;
                }
                for body in BROKEN {
                    let headers = [("content-type", "application/json")];
                    let body = Some(body.as_bytes().to_vec());
                    let answer = client.try_send(method, &path, &headers, body).expect("an answer");
                    if answer.status != 200 {
                        held(&format!("{method} {path}"), &answer);
                        assert!(answer.status < 500, "{method} {path}: {}", answer.text());
                    }
                    looked += 1;
                }
            }
            if !pattern.contains('{') {
                break;
            }
        }
    }
    assert!(looked > 500, "{looked}");
    // What strangers are told of the server is that it is there.
    for path in ["/healthz", "/readyz", "/api/status"] {
        let answer = stranger.get(path);
        held(path, &answer);
        assert!(!answer.text().contains(OWNER), "{path}: {}", answer.text());
    }
    let odd = post(&program, CHAT, "application/json", vec![0xff; 10]);
    check("bytes", &odd, 400, "invalid_json");
    assert!(!server.log().contains("panicked"));
}
