//! Many people for a long time: hundreds of clients who stream at once from the real binary, over real
//! TLS; half of the time each person has as many connections as the next, and half of it one person has as
//! many as all others together. It ends with a failure where a request failed, where memory grew, or where
//! a person had another share than the others.
//!
//! `cargo bench --bench load -- [--seconds 600] [--clients 200] [--people 10] [--tokens 64] [--streams 16]`

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it prints figures, and ends where something fails"
)]

#[path = "../tests/common/mod.rs"]
mod common;
#[allow(dead_code, reason = "every benchmark uses another part of it")]
mod measure;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::crowd::{Door, HERE, exactly};
use common::{Home, Server, Session};
use measure::{Times, head};
use serde_json::Value;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// The part of each half that is not counted: until the line is that of this half, and the memory that is
/// kept for good has been touched.
const WARM_SHARE: f64 = 0.2;
const WARM_MAX: Duration = Duration::from_mins(1);
/// How far a person's share may be off the mean.
const UNFAIR: f64 = 0.10;
/// How much memory may be added between the first and the last tenth of what is counted: this part, or so
/// much where that is more.
const GROWTH_SHARE: f64 = 0.05;
const GROWTH_MIB: f64 = 8.0;
/// The cache of prompts is filled early, so that it does not look like a leak.
const CACHE_MIB: u64 = 64;
/// Threads that the clients share.
const CLIENT_THREADS: usize = 2;
const LOOK_EVERY: Duration = Duration::from_millis(500);

const QUESTIONS: [&str; 8] = [
    "How do I make an API key?",
    "Who can read what I write here?",
    "What does the audit log hold?",
    "How do I invite somebody?",
    "Which models can this server run?",
    "How do I make a backup?",
    "What is a role, and which are there?",
    "Can I use this without the internet?",
];

fn main() -> ExitCode {
    let asked = Asked::from_arguments();
    let home = Home::prepared();
    let settings = asked.settings();
    let arguments: Vec<&str> = settings.iter().flat_map(|one| ["--set", one]).collect();
    let server = Server::start_with(&home, &arguments);
    let people = server.members(&server.sign_in(), asked.people);
    let keys = people.iter().map(Session::key).collect();
    let plan = Arc::new(Plan { door: Door::of(&server), keys, begun: Instant::now(), asked });
    let runtime = Builder::new_multi_thread().worker_threads(CLIENT_THREADS).enable_all().build();
    let run = runtime.expect("a runtime").block_on(run(Arc::clone(&plan), &server));
    let is_well = report(&plan, &run);
    if server.stop().success() && is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the command line asks for.
struct Asked {
    seconds: u64,
    clients: usize,
    people: usize,
    tokens: u64,
    streams: usize,
}

impl Asked {
    fn from_arguments() -> Self {
        let mut asked = Self { seconds: 600, clients: 200, people: 10, tokens: 64, streams: 16 };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut number = || {
                let value = arguments.next().expect("a value behind the name");
                value.parse::<u64>().expect("a number")
            };
            match name.as_str() {
                "--seconds" => asked.seconds = number(),
                "--clients" => asked.clients = number() as usize,
                "--people" => asked.people = number() as usize,
                "--tokens" => asked.tokens = number(),
                "--streams" => asked.streams = number() as usize,
                // Cargo says so itself.
                "--bench" => {}
                other => panic!("`{other}` is not known"),
            }
        }
        assert!(asked.seconds >= 10 && asked.tokens > 1, "10 seconds and 2 tokens at least");
        assert!(
            asked.people > 1 && asked.clients >= 2 * asked.people,
            "two clients of each of two"
        );
        asked
    }

    /// Everything that would keep so many away is off; all else is as it is for everybody.
    fn settings(&self) -> Vec<String> {
        let mut all = vec![
            format!("engine.streams_max={}", self.streams),
            format!("engine.queue_max={}", 2 * self.clients),
            format!("engine.kv_budget_mib={CACHE_MIB}"),
            format!("server.connections_max={}", 2 * self.clients + 64),
            "server.connections_per_address_max=0".to_owned(),
        ];
        let limits = ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "concurrent"];
        let off = |of| limits.map(|what| format!("limits.{of}.{what}=0"));
        all.extend(["person", "key"].into_iter().flat_map(off));
        all
    }
}

/// What all clients know.
struct Plan {
    asked: Asked,
    door: Door,
    keys: Vec<String>,
    begun: Instant,
}

impl Plan {
    fn half(&self) -> Duration {
        Duration::from_secs(self.asked.seconds) / 2
    }

    fn warm(&self) -> Duration {
        self.half().mul_f64(WARM_SHARE).min(WARM_MAX)
    }

    /// Which half it is; none after both.
    fn part(&self, at: Duration) -> Option<usize> {
        let part = (at.as_secs_f64() / self.half().as_secs_f64()) as usize;
        (part < PARTS.len()).then_some(part)
    }

    /// The half that an answer counts for which ended then.
    fn counted(&self, at: Duration) -> Option<usize> {
        let part = self.part(at)?;
        let since = at.saturating_sub(self.half() * part as u32);
        (since >= self.warm()).then_some(part)
    }

    /// Whose client this is in one half.
    fn person(&self, client: usize, part: usize) -> usize {
        let people = self.asked.people;
        match (part, client % 2) {
            (0, _) => client % people,
            (_, 0) => 0,
            _ => 1 + client / 2 % (people - 1),
        }
    }
}

const PARTS: [&str; 2] = ["as many connections each", "one with half of all connections"];

/// What came out.
struct Run {
    errors: Vec<String>,
    requests: usize,
    /// Of what is counted, in both halves.
    firsts: Vec<Duration>,
    gaps: Vec<Duration>,
    /// Tokens by half and person.
    tokens: Vec<Vec<u64>>,
    /// Memory in MiB, and when.
    memory: Vec<(Duration, f64)>,
}

impl Run {
    fn new(people: usize) -> Self {
        Self {
            errors: Vec::new(),
            requests: 0,
            firsts: Vec::new(),
            gaps: Vec::new(),
            tokens: vec![vec![0; people]; PARTS.len()],
            memory: Vec::new(),
        }
    }

    fn add(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.requests += other.requests;
        self.firsts.extend(other.firsts);
        self.gaps.extend(other.gaps);
        for (own, others) in self.tokens.iter_mut().flatten().zip(other.tokens.concat()) {
            *own += others;
        }
    }
}

async fn run(plan: Arc<Plan>, server: &Server) -> Run {
    let mut clients = JoinSet::new();
    for client in 0..plan.asked.clients {
        clients.spawn(ask_on(Arc::clone(&plan), client));
    }
    let mut run = Run::new(plan.asked.people);
    while plan.part(plan.begun.elapsed()).is_some() {
        tokio::time::sleep(LOOK_EVERY).await;
        run.memory.push((plan.begun.elapsed(), server.resident_kib() as f64 / 1_024.0));
    }
    while let Some(one) = clients.join_next().await {
        run.add(one.expect("a client does not panic"));
    }
    run
}

/// One client: asks, reads to the end, asks again, until both halves are over.
async fn ask_on(plan: Arc<Plan>, client: usize) -> Run {
    let mut run = Run::new(plan.asked.people);
    let mut asker = None;
    let mut next = client;
    while let Some(part) = plan.part(plan.begun.elapsed()) {
        let person = plan.person(client, part);
        let body = exactly(plan.asked.tokens, QUESTIONS[next % QUESTIONS.len()]);
        next += 1;
        run.requests += 1;
        if let Err(error) = once(&plan, &mut asker, person, &body, &mut run).await {
            run.errors.push(error);
            // A connection that failed is not used again, and a server in trouble is not hammered.
            asker = None;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    run
}

async fn once(
    plan: &Plan,
    asker: &mut Option<common::crowd::Asker>,
    person: usize,
    body: &Value,
    run: &mut Run,
) -> Result<(), String> {
    let asker = match asker {
        Some(asker) => asker,
        none => none.insert(plan.door.asker(HERE).await?),
    };
    let told = asker.ask(&plan.keys[person], body).await?;
    let at = plan.begun.elapsed();
    if told.completion_tokens != plan.asked.tokens || told.finish != "length" {
        return Err(format!("{} tokens, ended by {}", told.completion_tokens, told.finish));
    }
    if let Some(part) = plan.counted(at) {
        run.tokens[part][person] += told.completion_tokens;
        run.firsts.extend(told.pieces.first());
        run.gaps.extend(told.pieces.windows(2).map(|two| two[1].saturating_sub(two[0])));
    }
    Ok(())
}

/// Says what came out, and whether it is as it should be.
fn report(plan: &Plan, run: &Run) -> bool {
    let Asked { seconds, clients, people, tokens, streams } = &plan.asked;
    println!(
        "{clients} clients of {people} people for {seconds} s, answers of {tokens} tokens, \
         {streams} at once in the engine"
    );
    println!("requests: {}, errors: {}", run.requests, run.errors.len());
    run.errors.iter().take(5).for_each(|error| println!("  {error}"));
    let counted = plan.half().saturating_sub(plan.warm()).as_secs_f64();
    let mut is_fair = true;
    for (name, of_people) in PARTS.iter().zip(&run.tokens) {
        let all: u64 = of_people.iter().sum();
        let off = off_the_mean(of_people);
        is_fair &= off <= UNFAIR;
        println!("\n{name}: {:.0} tokens/s", all as f64 / counted);
        println!("tokens by person: {of_people:?}, at most {:.1} % off the mean", 100.0 * off);
    }
    println!();
    if run.firsts.is_empty() || run.gaps.is_empty() {
        println!("no answer came while it was counted");
        return false;
    }
    head();
    Times::new(run.firsts.clone()).row("first token, the line included");
    Times::new(run.gaps.clone()).row("between two pieces of an answer");
    let is_flat = memory(plan, &run.memory);
    for (is_well, what) in [
        (run.errors.is_empty(), "requests failed"),
        (is_fair, "somebody had another share than the others"),
        (is_flat, "memory grew"),
    ] {
        if !is_well {
            println!("NOT WELL: {what}");
        }
    }
    run.errors.is_empty() && is_fair && is_flat
}

/// How far the share that is farthest off is off the mean.
fn off_the_mean(tokens: &[u64]) -> f64 {
    let mean = tokens.iter().sum::<u64>() as f64 / tokens.len() as f64;
    if mean == 0.0 {
        return 1.0;
    }
    tokens.iter().map(|one| (*one as f64 - mean).abs() / mean).fold(0.0, f64::max)
}

/// Says how memory went once it was warm; whether it stayed flat.
fn memory(plan: &Plan, all: &[(Duration, f64)]) -> bool {
    let warm: Vec<(f64, f64)> = all
        .iter()
        .filter(|(at, _)| *at >= plan.warm())
        .map(|(at, mib)| (at.as_secs_f64() / 60.0, *mib))
        .collect();
    let tenth = warm.len().div_ceil(10);
    let mean = |some: &[(f64, f64)]| some.iter().map(|one| one.1).sum::<f64>() / some.len() as f64;
    let (begin, end) = (mean(&warm[..tenth]), mean(&warm[warm.len() - tenth..]));
    let most = warm.iter().map(|one| one.1).fold(0.0, f64::max);
    println!(
        "\nmemory: {begin:.1} MiB when warm, {end:.1} MiB at the end, {most:.1} MiB at most, \
         {:+.2} MiB a minute",
        slope(&warm)
    );
    end - begin <= GROWTH_MIB.max(GROWTH_SHARE * begin)
}

/// The slope of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), one| (x + one.0, y + one.1));
    let (x, y) = (x / count, y / count);
    let both: f64 = points.iter().map(|one| (one.0 - x) * (one.1 - y)).sum();
    let squares: f64 = points.iter().map(|one| (one.0 - x).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { both / squares }
}
