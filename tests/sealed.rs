//! A server whose root key is under a passphrase: shut until somebody opens it.

mod common;

use std::fs;

use common::{Home, OWNER, PASSWORD, Server, Session, both, text};
use serde_json::json;

const PASSPHRASE: &str = "three grey geese in a green field";
const TITLE: &str = "Behind the door";

#[test]
fn a_sealed_server_answers_nothing_until_it_is_opened() {
    let home = Home::empty();
    let passphrase = home.write("passphrase", PASSPHRASE);
    home.init(&["--passphrase-file", text(&passphrase)]);
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    assert_sealed(&server, &home.key());

    let wrong = home.write("wrong", "three grey geese in a red field");
    let refused = home.strongroom(&["unseal", "--passphrase-file", text(&wrong)]);
    assert!(!refused.status.success(), "{}", both(&refused));
    assert!(!both(&refused).contains("geese"), "{}", both(&refused));
    assert_sealed(&server, &home.key());

    let opened = home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]);
    assert!(opened.status.success(), "{}", both(&opened));
    server.wait_until(200);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let conversation = session.begin_conversation(TITLE);
    server.with_key(&home.key()).get("/v1/models").expect(200);
    let again = home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]);
    assert!(!again.status.success(), "an open server cannot be opened");
    assert!(server.stop().success());

    // A restart seals it again, and what was kept opens again.
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    assert_sealed(&server, &home.key());
    assert!(home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]).status.success());
    server.wait_until(200);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let read = session.client.get(&format!("/api/conversations/{conversation}")).expect(200);
    assert_eq!(read["conversation"]["title"], TITLE);
    assert!(!server.log().contains("geese"));
}

#[test]
fn a_sealed_server_stops_when_it_is_told_to() {
    let home = Home::empty();
    let passphrase = home.write("passphrase", PASSPHRASE);
    home.init(&["--passphrase-file", text(&passphrase)]);
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    assert!(server.stop().success());
}

#[test]
fn moving_the_key_under_a_passphrase_leaves_no_key_file() {
    let home = Home::prepared();
    let root = home.data().join("keys/root.key");
    let key = fs::read(&root).expect("the key is a file at first");
    let passphrase = home.write("passphrase", PASSPHRASE);
    let moved = home.strongroom(&["key", "move", "--passphrase-file", text(&passphrase)]);
    assert!(moved.status.success(), "{}", both(&moved));
    for entry in fs::read_dir(home.data().join("keys")).expect("the directory is there") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            let is_there = bytes.windows(key.len()).any(|window| window == key);
            assert!(!is_there, "{} still holds the key", path.display());
        }
    }
    let server = Server::launch(&home, &[]).expect("it starts sealed");
    server.wait_until(503);
    assert!(home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]).status.success());
    server.wait_until(200);
    server.with_key(&home.key()).get("/v1/models").expect(200);
}

fn assert_sealed(server: &Server, key: &str) {
    let client = server.with_key(key);
    let chat = json!({"model": "guide", "messages": [{"role": "user", "content": "hello"}]});
    let answers = [
        client.get("/readyz"),
        client.get("/v1/models"),
        client.post("/v1/chat/completions", &chat),
        server.client().get("/api/status"),
        server.client().get("/api/me"),
        server.client().post("/api/session", &json!({"username": OWNER, "password": PASSWORD})),
        server.client().get("/metrics"),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.code().as_str()), (503, "sealed"), "{}", answer.text());
    }
    assert_eq!(server.client().get("/healthz").status, 200, "the process is alive");
}
