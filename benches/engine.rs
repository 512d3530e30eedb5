//! What the engine gives to one and to many: tokens a second by streams; the time to the first token
//! with and without a known beginning, and while somebody else's long prompt is being read; and what
//! guesses save on a text that repeats itself. On a model file of chance weights, or on a real one.
//!
//! `cargo bench --bench engine -- [--shape 0.6b|1b|8b] [--type TYPE] [--layers N] [--model FILE]
//! [--device cpu|cuda:N|metal] [--streams 1,8,32] [--prompt N] [--runs N]`

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it prints figures, and ends where something fails"
)]

mod measure;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use measure::{Times, ms};
use strongroom::engine::{
    DeviceChoice, Domain, Engine, EngineOptions, Generation, GenerationEvent, GenerationRequest,
    LoadProgress, Sampling, Speculation, Weights,
};
use strongroom::speed::chance::{self, Kind, Shape};

const ANSWER: usize = 64;
const LONG_PROMPT: usize = 4_000;
const SHARED: usize = 1_024;

fn main() {
    let asked = Asked::from_arguments();
    let folder = tempfile::tempdir().expect("a folder");
    let path = asked.model.clone().unwrap_or_else(|| {
        let path = folder.path().join("chance.gguf");
        let file = std::fs::File::create(&path).expect("a file");
        chance::write(&file, &asked.shape, asked.kind).expect("writes the model");
        path
    });
    let engine = load(&path, &asked, Speculation::Off);
    let info = engine.info();
    let millions = info.parameters / 1_000_000;
    println!("{}, {millions} million weights, {}", info.architecture, info.quantization);
    println!("prompts of {} tokens, answers of {ANSWER}", asked.prompt);
    let mut bench = Bench { engine, prompt: asked.prompt, runs: asked.runs, next: 0 };
    // Pages of the cache that were never touched.
    bench.together(2);
    println!(
        "\n{:<26} {:>16} {:>17} {:>9}",
        "streams", "read, tokens/s", "write, tokens/s", "each"
    );
    for &streams in &asked.streams {
        let rates: Vec<[f64; 2]> = (0..bench.runs).map(|_| bench.together(streams)).collect();
        let [read, written] = [0, 1].map(|which| median(rates.iter().map(|one| one[which])));
        let each = written / streams as f64;
        println!("{streams:<26} {read:>16.1} {written:>17.1} {each:>9.1}");
    }
    println!();
    measure::head();
    bench.first_tokens();
    println!();
    guesses(&path, &asked);
}

fn median(rates: impl Iterator<Item = f64>) -> f64 {
    let mut rates: Vec<f64> = rates.collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What the command line asks for.
struct Asked {
    shape: Shape,
    kind: Kind,
    model: Option<PathBuf>,
    device: DeviceChoice,
    streams: Vec<usize>,
    prompt: usize,
    runs: usize,
}

impl Asked {
    fn from_arguments() -> Self {
        let mut asked = Self {
            shape: Shape::SMALL,
            kind: Kind::Q8_0,
            model: None,
            device: DeviceChoice::Cpu,
            streams: vec![1, 2, 4, 8, 16],
            prompt: 128,
            runs: 5,
        };
        let mut layers = None;
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().expect("a value behind the name");
            match name.as_str() {
                "--shape" => asked.shape = shape(&value()),
                "--type" => asked.kind = kind(&value()),
                "--layers" => layers = Some(value().parse().expect("a number")),
                "--model" => asked.model = Some(value().into()),
                "--device" => asked.device = device(&value()),
                "--streams" => {
                    let number = |one: &str| one.parse().expect("numbers with commas between");
                    asked.streams = value().split(',').map(number).collect();
                }
                "--prompt" => asked.prompt = value().parse().expect("a number"),
                "--runs" => asked.runs = value().parse().expect("a number"),
                // Cargo says so itself.
                "--bench" => {}
                other => panic!("`{other}` is not known"),
            }
        }
        asked.shape.layers = layers.unwrap_or(asked.shape.layers);
        asked
    }
}

fn shape(name: &str) -> Shape {
    Shape::named(name).unwrap_or_else(|| panic!("{name} is none of: 0.6b, 1b, 8b"))
}

fn kind(name: &str) -> Kind {
    Kind::named(name).unwrap_or_else(|| panic!("{name} is none of: f16, q8_0, q4_0, q4_k, q4_k_m"))
}

fn device(name: &str) -> DeviceChoice {
    match (name, name.strip_prefix("cuda:")) {
        ("cpu", _) => DeviceChoice::Cpu,
        ("metal", _) => DeviceChoice::Metal,
        (_, Some(number)) => DeviceChoice::Cuda(number.parse().expect("the number of a device")),
        (other, None) => panic!("{other} is none of: cpu, metal, cuda:N"),
    }
}

fn load(path: &std::path::Path, asked: &Asked, speculation: Speculation) -> Engine {
    let usual = EngineOptions::default();
    let options = EngineOptions {
        speculation,
        device: asked.device,
        streams_max: asked.streams.iter().copied().max().unwrap_or(1).max(usual.streams_max),
        prefill_chunk_tokens: match asked.device {
            DeviceChoice::Cpu => usual.prefill_chunk_tokens,
            _ => 2_048,
        },
        ..usual
    };
    Engine::load(Weights::File(path.to_owned()), options, &LoadProgress::new()).expect("loads")
}

struct Bench {
    engine: Engine,
    prompt: usize,
    runs: usize,
    /// No two prompts are the same, unless they are meant to be.
    next: u64,
}

impl Bench {
    fn prompt(&mut self, tokens: usize) -> Vec<u32> {
        self.next += 1;
        chance::prompt(self.next, tokens, self.engine.info().vocabulary)
    }

    fn ask(&self, prompt: Vec<u32>, tokens: usize, domain: u128) -> Generation {
        self.engine.generate(request(prompt, tokens, domain)).expect("accepted")
    }

    /// Tokens a second of so many requests at once: of prompts, until the last answer begins, and of
    /// answers from there on.
    fn together(&mut self, streams: usize) -> [f64; 2] {
        let asked = Instant::now();
        let running: Vec<Generation> = (0..streams)
            .map(|stream| {
                let prompt = self.prompt(self.prompt);
                self.ask(prompt, ANSWER, stream as u128)
            })
            .collect();
        let readers: Vec<_> =
            running.into_iter().map(|one| std::thread::spawn(move || arrivals(one))).collect();
        let all: Vec<Vec<Instant>> =
            readers.into_iter().map(|reader| reader.join().expect("reads")).collect();
        let begun = all.iter().filter_map(|one| one.first()).max().copied().expect("some");
        let ended = all.iter().filter_map(|one| one.last()).max().copied().expect("some");
        let counted = all.iter().flatten().filter(|at| **at > begun).count();
        let read = (streams * self.prompt) as f64 / begun.duration_since(asked).as_secs_f64();
        [read, counted as f64 / ended.duration_since(begun).as_secs_f64()]
    }

    fn first_tokens(&mut self) {
        let first = |bench: &Self, prompt: Vec<u32>, domain| {
            let begun = Instant::now();
            let arrived = arrivals(bench.ask(prompt, 1, domain));
            arrived.first().copied().expect("one").duration_since(begun)
        };
        let (mut cold, mut warm, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..self.runs {
            let domain = 100 + run as u128;
            let known = self.prompt(SHARED);
            cold.push(first(self, known.clone(), domain));
            let question = [known, self.prompt(32)].concat();
            warm.push(first(self, question, domain));
            let long = self.prompt(LONG_PROMPT);
            let reading = self.ask(long, 1, 1);
            let short = self.prompt(32);
            // So that the long one has begun.
            std::thread::sleep(Duration::from_millis(20));
            beside.push(first(self, short, 2));
            drop(reading);
        }
        Times::new(cold).row("first token, 1,024 tokens of prompt, new");
        Times::new(warm).row("first token, 32 more after those, known");
        let runs = self.runs;
        let alone = || {
            let short = self.prompt(32);
            first(self, short, 3);
        };
        Times::of(1, runs, alone).row("first token, 32 tokens, alone");
        Times::new(beside).row("first token, 32 tokens, beside 4,000 of another");
    }
}

/// A greedy request that does not end before its last token.
fn request(prompt: Vec<u32>, tokens: usize, domain: u128) -> GenerationRequest {
    let mut request = GenerationRequest::new(prompt, tokens, Domain(domain));
    request.sampling =
        Sampling { logit_bias: vec![(chance::END, -1_000.0)], ..Sampling::default() };
    request.logprobs = Some(0);
    request
}

/// When each token came.
fn arrivals(mut generation: Generation) -> Vec<Instant> {
    let mut arrived = Vec::new();
    while let Some(event) = generation.next_blocking() {
        match event {
            GenerationEvent::Text { logprobs, .. } => {
                arrived.extend(logprobs.iter().map(|_| Instant::now()));
            }
            GenerationEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    arrived
}

/// An answer that copies its prompt, with guesses and without.
fn guesses(path: &std::path::Path, asked: &Asked) {
    let runs = asked.runs;
    let timed = |speculation| {
        let engine = load(path, asked, speculation);
        let phrase = chance::prompt(1, 12, engine.info().vocabulary);
        let mut taken = Vec::new();
        for run in 0..=runs {
            let mut request = request(phrase.repeat(8), 128, run as u128);
            // Held to the words of the phrase, it soon goes in a circle.
            request.sampling.logit_bias.extend(phrase.iter().map(|&token| (token, 100.0)));
            let begun = Instant::now();
            arrivals(engine.generate(request).expect("accepted"));
            if run > 0 {
                taken.push(begun.elapsed());
            }
        }
        let stats = engine.stats();
        (ms(Times::new(taken).share(0.5)), stats.guessed_right_total, stats.guessed_tokens_total)
    };
    let (plain, ..) = timed(Speculation::Off);
    println!("an answer that repeats, no guesses: {plain:.0} ms");
    for mode in [Speculation::Auto, Speculation::On] {
        let (guessed, right, all) = timed(mode);
        let ratio = plain / guessed;
        println!(
            "{mode:?}: {guessed:.0} ms, {ratio:.2} times as fast, {right} of {all} guesses right"
        );
    }
}
