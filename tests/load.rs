//! Many at once: what each of them is told, whose turn it is, and that whoever is slow, silent, hostile or
//! gone is in nobody's way. For a few seconds, over loopback alone; `benches/load.rs` does it for long.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::crowd::{Asker, Door, HERE, Hearing, exactly};
use common::guides::long_guide;
use common::raw::Raw;
use common::{Client, Home, Server, Session, frames, text, wait_for};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const QUESTION: &str = "How do I make an API key?";
const LARGE: &str = "/static/vendor/markdown-it.js";
/// Tokens that no answer of these tests comes to by itself; with the question, the built-in model's
/// context holds them.
const LONG: u64 = 400;
/// As many answers to one question as the engine works on at once in those tests.
const CHOICES: u64 = 12;

fn start(home: &Home, settings: &[&str]) -> Server {
    let all = settings.iter().flat_map(|setting| ["--set", *setting]);
    Server::start_with(home, &all.collect::<Vec<_>>())
}

fn clients() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// What the server tells operators.
struct Numbers(Client);

impl Numbers {
    fn of(server: &Server, owner: &Session) -> Self {
        let body = json!({"name": "scrape", "scopes": ["metrics.read"]});
        Self(server.with_key(&owner.make_key(&body).1))
    }

    /// The sum of a number, over all of it that have these labels.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.0.get("/metrics").text();
        let of_name = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        let value =
            |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
        text.lines().filter(of_name).map(|line| value(line).expect("a number")).sum()
    }

    fn exchanges(&self, outcome: &str) -> f64 {
        self.sum("strongroom_exchanges_total", &[&format!("outcome=\"{outcome}\"")])
    }

    fn written(&self) -> f64 {
        self.sum("gen_ai_client_token_usage_sum", &["gen_ai_token_type=\"output\""])
    }

    /// Waits until nobody is served any more, and holds that nothing is kept for anybody.
    fn wait_for_rest(&self) {
        wait_for("the last exchange to end", || {
            self.sum("strongroom_exchanges_running", &[]) == 0.0
        });
        for name in ["running", "queued", "cache_used_bytes"] {
            wait_for(name, || self.sum(&format!("strongroom_engine_{name}"), &[]) == 0.0);
        }
    }
}

/// One client: asks so many times for so many tokens, and gets exactly them.
async fn asks(door: Door, key: String, times: u64, tokens: u64) -> u64 {
    let mut asker = door.asker(HERE).await.expect("a connection");
    let mut taken = 0;
    for _ in 0..times {
        let told = asker.ask(&key, &exactly(tokens, QUESTION)).await.expect("an answer");
        assert_eq!((told.completion_tokens, &*told.finish), (tokens, "length"));
        assert!(told.pieces.len() as u64 <= tokens, "{told:?}");
        taken += told.prompt_tokens + told.completion_tokens;
    }
    taken
}

#[test]
fn forty_who_stream_at_once_are_each_told_all_and_charged_exactly() {
    let (home, tokens, times) = (Home::prepared(), 24, 2);
    let server = start(
        &home,
        &["limits.person.concurrent=10", "limits.key.concurrent=10", "engine.queue_max=100"],
    );
    let owner = server.sign_in();
    let (numbers, people) = (Numbers::of(&server, &owner), server.members(&owner, 4));
    let (door, runtime) = (Door::of(&server), clients());
    let mut taken = vec![0; people.len()];
    runtime.block_on(async {
        let mut all = JoinSet::new();
        for client in 0..40 {
            let person = client % people.len();
            let asking = asks(door.clone(), people[person].key(), times, tokens);
            all.spawn(async move { (person, asking.await) });
        }
        while let Some(one) = all.join_next().await {
            let (person, tokens) = one.expect("every stream is whole");
            taken[person] += tokens;
        }
    });
    numbers.wait_for_rest();
    for (person, taken) in people.iter().zip(&taken) {
        let used = &person.client.get("/api/me").expect(200)["usage"]["tokens_day"]["used"];
        assert_eq!(used, taken);
    }
    assert!(taken.iter().all(|one| *one == taken[0]), "the same work for each: {taken:?}");
    assert_eq!(numbers.exchanges("done"), 40.0 * times as f64);
    assert_eq!(numbers.written(), (40 * times * tokens) as f64);
    assert!(server.stop().success());
}

#[test]
fn whoever_has_a_long_line_of_requests_lets_the_one_of_somebody_else_pass() {
    let home = Home::prepared();
    let server = start(
        &home,
        &["limits.person.concurrent=0", "limits.key.concurrent=0", "engine.streams_max=1"],
    );
    let owner = server.sign_in();
    let (numbers, people) = (Numbers::of(&server, &owner), server.members(&owner, 2));
    let (door, runtime, line) = (Door::of(&server), clients(), 16);
    let [many, one] = [0, 1].map(|person| people[person].key());
    // So much that a turn is two of them.
    let body = exactly(48, &"Please tell me how it works. ".repeat(24));
    let finished = Arc::new(AtomicUsize::new(0));
    let mut askers: Vec<Asker> =
        (0..=line).map(|_| runtime.block_on(door.asker(HERE)).expect("a connection")).collect();
    let mut other = askers.pop().expect("one more");
    let all: Vec<_> = askers
        .into_iter()
        .map(|mut asker| {
            let (key, body, finished) = (many.clone(), body.clone(), Arc::clone(&finished));
            runtime.spawn(async move {
                asker.ask(&key, &body).await.expect("an answer");
                finished.fetch_add(1, Ordering::SeqCst);
            })
        })
        .collect();
    wait_for("a line", || {
        let in_engine = ["strongroom_engine_queued", "strongroom_engine_running"]
            .map(|name| numbers.sum(name, &[]) as usize);
        in_engine.iter().sum::<usize>() + finished.load(Ordering::SeqCst) >= line
    });
    let before = finished.load(Ordering::SeqCst);
    assert!(before <= line / 2, "most of the line is still there");
    runtime.block_on(other.ask(&one, &body)).expect("an answer");
    let passed = finished.load(Ordering::SeqCst) - before;
    // One that is at work, a turn, and what ended while it was asked.
    assert!(passed <= 6, "{passed} of the {line} went first");
    for one in all {
        runtime.block_on(one).expect("every stream is whole");
    }
}

/// Somebody who begins again with a head that comes a byte at a time.
async fn drip(door: &Door) -> std::io::Result<()> {
    let mut stream = door.enter(ELSEWHERE).await?;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-long: {}", "y".repeat(4_096));
    for byte in head.bytes() {
        stream.write_all(&[byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Somebody who says the first words of TLS, and no more.
async fn stall(door: &Door) -> std::io::Result<()> {
    let mut stream = door.knock(ELSEWHERE).await?;
    // A record of a handshake, of 512 bytes, of which one comes.
    stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await?;
    stream.read(&mut [0; 64]).await.map(drop)
}

/// Somebody who asks for much and reads nothing.
async fn ignore(door: &Door) -> std::io::Result<()> {
    let mut stream = door.enter(ELSEWHERE).await?;
    let ask = format!("GET {LARGE} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    loop {
        stream.write_all(ask.as_bytes()).await?;
    }
}

/// Whether a connection from elsewhere is served.
async fn is_served(door: Door) -> bool {
    let request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    let Ok(mut stream) = door.enter(ELSEWHERE).await else { return false };
    let mut said = Vec::new();
    let _ = stream.write_all(request).await;
    let _ = stream.read_to_end(&mut said).await;
    said.starts_with(b"HTTP/1.1 200 ")
}

const DRIPPING: usize = 100;
const STALLING: usize = 50;
const IGNORING: usize = 50;
const STILL: usize = DRIPPING + STALLING;

#[test]
fn two_hundred_who_hold_connections_open_for_nothing_are_in_nobodys_way() {
    let home = Home::prepared();
    let server = start(
        &home,
        &[
            "server.connections_per_address_max=200",
            "server.head_timeout_ms=2000",
            "server.write_timeout_ms=2000",
            "limits.person.concurrent=8",
        ],
    );
    let owner = server.sign_in();
    let (numbers, people) = (Numbers::of(&server, &owner), server.members(&owner, 2));
    let (door, runtime) = (Door::of(&server), clients());
    let (before, mut hostile) = (server.resident_mib(), JoinSet::new());
    for number in 0..STILL + IGNORING {
        let door = door.clone();
        // Whoever is given up comes back.
        let again = async move {
            loop {
                let _ = match number {
                    0..DRIPPING => drip(&door).await,
                    DRIPPING..STILL => stall(&door).await,
                    _ => ignore(&door).await,
                };
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        hostile.spawn_on(again, runtime.handle());
    }
    wait_for("the address to have all that it may", || !runtime.block_on(is_served(door.clone())));
    for _ in 0..3 {
        let keys = people.iter().flat_map(|person| [person.key(), person.key(), person.key()]);
        let served: Vec<_> =
            keys.map(|key| runtime.spawn(asks(door.clone(), key, 3, 12))).collect();
        // A flood of the same address beside them.
        let flood: Vec<_> = (0..100).map(|_| runtime.spawn(is_served(door.clone()))).collect();
        assert_eq!(server.client().get("/healthz").status, 200);
        for one in served {
            runtime.block_on(one).expect("everybody else is served");
        }
        for one in flood {
            runtime.block_on(one).expect("an answer or an end");
        }
    }
    runtime.block_on(hostile.shutdown());
    // All of it is free again: two hundred at once are served, from there as from anywhere.
    wait_for("the places of those who are gone", || {
        let all = 0..STILL + IGNORING;
        let all: Vec<_> = all.map(|_| runtime.spawn(is_served(door.clone()))).collect();
        // All are waited for, whatever the first says.
        let served = all.into_iter().map(|one| runtime.block_on(one).expect("no panic"));
        served.filter(|is_served| !is_served).count() == 0
    });
    numbers.wait_for_rest();
    let after = server.resident_mib();
    assert!(after < before + 128, "{before} MiB before, {after} MiB after");
    assert!(server.stop().success());
}

/// A request for more than the sockets of both sides hold: twelve answers, each token with twenty others.
fn much() -> Value {
    let mut body = exactly(LONG, QUESTION);
    let object = body.as_object_mut().expect("an object");
    object.extend([
        ("n".to_owned(), json!(CHOICES)),
        ("logprobs".to_owned(), json!(true)),
        ("top_logprobs".to_owned(), json!(20)),
    ]);
    body
}

/// Whether anything is said, read as far as that.
async fn first_piece(asker: &mut Asker, key: &str, body: &Value) -> Hearing {
    let mut hearing = asker.begin(key, body).await.expect("an answer");
    while hearing.told.pieces.is_empty() {
        assert!(hearing.next().await.expect("no error"), "it says something");
    }
    hearing
}

#[test]
fn a_slow_reader_holds_up_nobody_and_is_told_all_of_it() {
    let home = Home::prepared();
    let server = start(&home, &["engine.streams_max=12"]);
    let owner = server.sign_in();
    let (numbers, people) = (Numbers::of(&server, &owner), server.members(&owner, 2));
    let (door, runtime, [slow, other]) =
        (Door::of(&server), clients(), [0, 1].map(|person| people[person].key()));
    let mut asker =
        runtime.block_on(door.clone().holding_little().asker(ELSEWHERE)).expect("a connection");
    let mut hearing = runtime.block_on(first_piece(&mut asker, &slow, &much()));
    for _ in 0..3 {
        // It has all places, and others have them where it does not read.
        runtime.block_on(asks(door.clone(), other.clone(), 1, 12));
        assert!(runtime.block_on(hearing.next()).expect("no error"));
    }
    wait_for("the ends of the others", || numbers.written() >= 36.0);
    assert_eq!(numbers.written(), 36.0, "what is not read is not made ahead");
    while runtime.block_on(hearing.next()).expect("no error") {}
    let told = hearing.told.whole().expect("all of it");
    assert_eq!((told.completion_tokens, &*told.finish), (CHOICES * LONG, "length"));
    numbers.wait_for_rest();
}

/// Streams that nobody reads, and the tokens that each asks for.
const UNREAD: usize = 24;
const UNREAD_TOKENS: u64 = 4_000;
/// What they may take all together: twice what they take, and a small part of what their answers would.
const UNREAD_KIB_MAX: u64 = 64 << 10;

#[test]
fn streams_that_nobody_reads_take_no_more_memory_however_long_they_stand() {
    let home = Home::prepared();
    let model = long_guide(&home, "guide-long");
    let mut arguments = vec!["--model", text(&model)];
    for setting in [
        "limits.person.concurrent=0",
        "limits.person.tokens_per_minute=0",
        "limits.key.concurrent=0",
        "limits.key.tokens_per_minute=0",
        "engine.streams_max=24",
        "server.write_timeout_ms=600000",
    ] {
        arguments.extend(["--set", setting]);
    }
    let server = Server::start_with(&home, &arguments);
    let (owner, key) = (server.sign_in(), home.key());
    let (numbers, guest) = (Numbers::of(&server, &owner), server.invite(&owner, "member").key());
    let mut body = much();
    (body["model"], body["n"], body["max_tokens"]) = (json!("guide-long"), json!(1), json!(8));
    let door = "/v1/chat/completions";
    server.with_key(&key).post(door, &body).expect(200);
    let before = server.resident_kib();
    body["max_tokens"] = json!(UNREAD_TOKENS);
    let ask = [frames::hello(), frames::post(1, door, &key, &body.to_string())].concat();
    // Over HTTP/2 the server stands where the client's window ends. Over HTTP/1.1 the system takes megabytes
    // of each stream first, and it takes minutes to make them.
    let begin = |_| {
        let mut raw = server.raw_from("127.0.0.1", &["h2"]).expect("a place");
        raw.send(&ask).expect("taken");
        raw
    };
    let unread: Vec<Raw> = (0..UNREAD).map(begin).collect();
    let all_stand = || numbers.sum("strongroom_exchanges_running", &[]) == UNREAD as f64;
    let mut stands_at = before;
    wait_for("the memory to come to rest", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = server.resident_kib();
        assert!(now < before + UNREAD_KIB_MAX, "{before} KiB before, {now} KiB while nobody reads");
        let is_at_rest = now < stands_at + 512;
        stands_at = now;
        is_at_rest && all_stand()
    });
    let (way, runtime) = (Door::of(&server), clients());
    for _ in 0..6 {
        runtime.block_on(asks(way.clone(), guest.clone(), 1, 12));
        std::thread::sleep(Duration::from_millis(500));
    }
    let after = server.resident_kib();
    assert!(after < before + UNREAD_KIB_MAX, "{before}, {stands_at}, and {after} KiB");
    assert!(all_stand(), "nobody was given up");
    drop(unread);
    wait_for("their ends", || numbers.exchanges("cancelled") == UNREAD as f64);
    numbers.wait_for_rest();
    let written = numbers.written();
    assert!(written < (UNREAD as u64 * UNREAD_TOKENS / 4) as f64, "{written} tokens for nobody");
}

#[test]
fn who_does_not_read_loses_the_connection_and_what_it_held() {
    let home = Home::prepared();
    let server = start(&home, &["engine.streams_max=12", "server.write_timeout_ms=2000"]);
    let numbers = Numbers::of(&server, &server.sign_in());
    let (door, runtime) = (Door::of(&server), clients());
    let _held = runtime.block_on(async {
        let door = door.clone().holding_little();
        let mut asker = door.asker(ELSEWHERE).await.expect("a connection");
        let hearing = first_piece(&mut asker, &home.key(), &much()).await;
        (asker, hearing)
    });
    wait_for("the exchange to be ended", || numbers.exchanges("cancelled") == 1.0);
    numbers.wait_for_rest();
    assert!(numbers.written() < (CHOICES * LONG) as f64, "{}", numbers.written());
}

#[test]
fn who_closes_the_connection_frees_their_places() {
    let home = Home::prepared();
    let server = start(&home, &["engine.streams_max=12"]);
    let owner = server.sign_in();
    let (numbers, guest) = (Numbers::of(&server, &owner), server.invite(&owner, "member"));
    let (door, runtime) = (Door::of(&server), clients());
    let mut body = exactly(LONG, QUESTION);
    body["n"] = json!(CHOICES);
    for left in 1..=3 {
        runtime.block_on(async {
            let mut asker = door.asker(HERE).await.expect("a connection");
            drop(first_piece(&mut asker, &home.key(), &body).await);
            drop(asker);
            asks(door.clone(), guest.key(), 1, 4).await;
        });
        wait_for("the exchange to be ended", || numbers.exchanges("cancelled") == f64::from(left));
        numbers.wait_for_rest();
    }
    let written = numbers.written() - 3.0 * 4.0;
    assert!(written < (3 * CHOICES * LONG / 2) as f64, "{written} tokens for nobody");
    assert_eq!(numbers.exchanges("done"), 3.0);
}
