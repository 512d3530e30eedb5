//! What a person waits for: the start, the first page, a sign-in, the first word; and what the server
//! holds in memory. The real binary over real TLS, on this machine's loopback.
//!
//! `cargo bench --bench server`

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "it prints figures, and ends where something fails"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::time::{Duration, Instant};

use common::{Client, GUIDE, Home, OWNER, PASSWORD, Server, Session};
use measure::{Times, head};
use serde_json::json;

const STARTS: usize = 10;
const PAGES: usize = 300;
const SIGN_INS: usize = 20;
const MODELS: usize = 5_000;
const ANSWERS: usize = 50;
const CLIENTS: usize = 4;
const UNLIMITED: [&str; 8] = [
    "--set",
    "limits.person.requests_per_minute=0",
    "--set",
    "limits.person.tokens_per_minute=0",
    "--set",
    "limits.key.requests_per_minute=0",
    "--set",
    "limits.key.tokens_per_minute=0",
];

fn main() {
    let home = Home::prepared();
    head();
    let first = |_| {
        let fresh = Home::empty();
        let begun = Instant::now();
        drop(Server::start(&fresh));
        begun.elapsed()
    };
    Times::new((0..STARTS).map(first).collect()).row("first start: everything made, model loaded");
    Times::of(1, STARTS, || drop(Server::start(&home)))
        .row("start on existing data, until /readyz is 200");
    let server = Server::start_with(&home, &UNLIMITED);
    let memory = server.resident_mib();
    let page = || {
        // A new connection each time: what a first visit pays.
        let client = server.client();
        assert_eq!(client.get("/").status, 200);
    };
    Times::of(10, PAGES, page).row("the app's page, new connection and TLS");
    let client = server.client();
    Times::of(10, PAGES, || assert_eq!(client.get("/").status, 200))
        .row("the app's page, connection open");
    Times::of(1, SIGN_INS, || drop(Session::sign_in(server.client(), OWNER, PASSWORD)))
        .row("sign-in with argon2id, new connection");
    let program = server.with_key(&home.key());
    Times::of(3, ANSWERS, || first_word(&program)).row("the guide's first word, streamed");
    let per_second = models_a_second(&program);
    println!("\nGET /v1/models a second, {CLIENTS} clients on the same cores: {per_second:.0}");
    println!(
        "resident memory after the start: {memory} MiB; after all this: {} MiB",
        server.resident_mib()
    );
    assert!(server.stop().success());
}

fn first_word(client: &Client) {
    let body = json!({"model": GUIDE, "stream": true, "max_tokens": 4,
        "messages": [{"role": "user", "content": "How do I make an API key?"}]});
    let mut events = client.stream("/v1/chat/completions", &body);
    let spoken = events.find(|event| {
        event.data.contains("\"content\":\"") && !event.data.contains("\"content\":\"\"")
    });
    assert!(spoken.is_some(), "it says something");
}

fn models_a_second(client: &Client) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..MODELS / CLIENTS {
                    assert_eq!(client.get("/v1/models").status, 200);
                }
            });
        }
    });
    let taken: Duration = begun.elapsed();
    MODELS as f64 / taken.as_secs_f64()
}
