//! What a device makes of models in the shapes that people serve: tokens a second, reading prompts and
//! writing, for one stream and for many. The weights are random, made here, and mean nothing.
//!
//! `cargo bench --features cuda --bench device -- cuda:0 8b q4_k`

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "it prints figures, and ends where something fails"
)]

use std::time::{Duration, Instant};

use strongroom::engine::gguf::testing::Writer;
use strongroom::engine::{
    DeviceChoice, Domain, Engine, EngineOptions, Generation, GenerationEvent, GenerationRequest,
    LoadProgress, Weights,
};

const VOCABULARY: usize = 128_256;
const PROMPT: usize = 512;
const ANSWER: usize = 128;
const STREAMS: [usize; 4] = [1, 8, 32, 64];

/// The sizes of a decoder of the llama family.
struct Shape {
    width: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    hidden: usize,
}

impl Shape {
    fn named(name: &str) -> Self {
        match name {
            "tiny" => Self { width: 256, layers: 2, heads: 4, kv_heads: 2, hidden: 512 },
            "1b" => Self { width: 2_048, layers: 16, heads: 32, kv_heads: 8, hidden: 8_192 },
            "8b" => Self { width: 4_096, layers: 32, heads: 32, kv_heads: 8, hidden: 14_336 },
            other => panic!("{other} is none of: tiny, 1b, 8b"),
        }
    }
}

/// How weights are kept: the number of the type in a file, and the weights and bytes of a block.
#[derive(Clone, Copy)]
struct Kind {
    code: u32,
    weights: usize,
    bytes: usize,
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "q8_0" => Self { code: 8, weights: 32, bytes: 34 },
            "q4_k" => Self { code: 12, weights: 256, bytes: 144 },
            other => panic!("{other} is none of: q8_0, q4_k"),
        }
    }

    /// A matrix of blocks with random bits and small scales.
    fn blocks(self, random: &mut Random, rows: usize, columns: usize) -> Vec<u8> {
        let mut bytes = vec![0; rows * columns / self.weights * self.bytes];
        for eight in bytes.chunks_mut(8) {
            let bits = random.next().to_le_bytes();
            eight.copy_from_slice(&bits[..eight.len()]);
        }
        for block in bytes.chunks_exact_mut(self.bytes) {
            // 2^-13 as f16; in Q4_K the scale of the minima follows that of the weights.
            block[..2].copy_from_slice(&[0x00, 0x08]);
            if self.code == 12 {
                block[2..4].copy_from_slice(&[0x00, 0x08]);
            }
        }
        bytes
    }
}

/// Marsaglia, 2003 (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn model(shape: &Shape, kind: Kind) -> Vec<u8> {
    let Shape { width, layers, heads, kv_heads, hidden } = *shape;
    let number = |size: usize| size as u32;
    let names: Vec<String> = (0..VOCABULARY).map(|at| format!("w{at}")).collect();
    let mut file = Writer::new()
        .string("general.architecture", "llama")
        .string("general.name", "random")
        .u32("llama.block_count", number(layers))
        .u32("llama.context_length", 8_192)
        .u32("llama.embedding_length", number(width))
        .u32("llama.feed_forward_length", number(hidden))
        .u32("llama.attention.head_count", number(heads))
        .u32("llama.attention.head_count_kv", number(kv_heads))
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &names)
        .f32s("tokenizer.ggml.scores", &vec![0.0; VOCABULARY])
        .i32s("tokenizer.ggml.token_type", &vec![1; VOCABULARY]);
    let mut random = Random(0x5eed);
    let kv_width = width / heads * kv_heads;
    let mut add = |name: String, rows: usize, columns: usize| {
        let blocks = kind.blocks(&mut random, rows, columns);
        let before = std::mem::take(&mut file);
        file = before.tensor(&format!("{name}.weight"), &[rows, columns], kind.code, &blocks);
    };
    add("token_embd".to_owned(), VOCABULARY, width);
    add("output".to_owned(), VOCABULARY, width);
    for layer in 0..layers {
        for (part, rows, columns) in [
            ("attn_q", width, width),
            ("attn_k", kv_width, width),
            ("attn_v", kv_width, width),
            ("attn_output", width, width),
            ("ffn_gate", hidden, width),
            ("ffn_up", hidden, width),
            ("ffn_down", width, hidden),
        ] {
            add(format!("blk.{layer}.{part}"), rows, columns);
        }
    }
    let ones = vec![1.0; width];
    let norms = (0..layers).flat_map(|layer| {
        ["attn_norm", "ffn_norm"].map(|part| format!("blk.{layer}.{part}.weight"))
    });
    for name in norms.chain(["output_norm.weight".to_owned()]) {
        file = file.tensor_f32(&name, &[width], &ones);
    }
    file.finish()
}

fn device(name: &str) -> DeviceChoice {
    match (name, name.strip_prefix("cuda:")) {
        ("cpu", _) => DeviceChoice::Cpu,
        ("metal", _) => DeviceChoice::Metal,
        (_, Some(number)) => DeviceChoice::Cuda(number.parse().expect("the number of a device")),
        (other, None) => panic!("{other} is none of: cpu, metal, cuda:N"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let word = |at: usize, default: &str| words.get(at).map_or(default, String::as_str).to_owned();
    let (place, size, kind) = (word(0, "cpu"), word(1, "tiny"), word(2, "q8_0"));
    let bytes = model(&Shape::named(&size), Kind::named(&kind));
    let gigabytes = bytes.len() as f64 / 1e9;
    let options = EngineOptions {
        device: device(&place),
        streams_max: 64,
        prefill_chunk_tokens: 2_048,
        context_tokens_max: Some(2 * (PROMPT + ANSWER)),
        ..EngineOptions::default()
    };
    let engine = Engine::load(Weights::Embedded(bytes.leak()), options, &LoadProgress::new());
    let engine = engine.expect("the model loads");
    println!(
        "{size} in {kind} on {place}: {gigabytes:.2} GB of weights, prompts of {PROMPT} tokens"
    );
    println!(
        "{:>8} {:>16} {:>16} {:>16}",
        "streams", "read, tokens/s", "write, tokens/s", "steps/s"
    );
    // The first round makes kernels and memory pools, and does not count.
    round(&engine, 1, 0);
    for (number, streams) in STREAMS.into_iter().enumerate() {
        let (read, written) = round(&engine, streams, number + 1);
        let steps = ANSWER as f64 / written.as_secs_f64();
        let reading = (streams * PROMPT) as f64 / read.as_secs_f64();
        println!("{streams:>8} {reading:>16.0} {:>16.0} {steps:>16.1}", streams as f64 * steps);
    }
}

/// How long all prompts took until each had its first token, and the answers from there on.
fn round(engine: &Engine, streams: usize, number: usize) -> (Duration, Duration) {
    let ask = |stream: usize, tokens: usize| {
        // No two have a beginning in common, in this round or another.
        let seed = (number * 1_000 + stream) * 7_919;
        let prompt = (0..PROMPT).map(|at| ((seed + at * 31) % VOCABULARY) as u32).collect();
        let domain = Domain((number * 10_000 + tokens * 100 + stream) as u128);
        engine.generate(GenerationRequest::new(prompt, tokens, domain)).expect("accepted")
    };
    let begun = Instant::now();
    let first: Vec<Generation> = (0..streams).map(|stream| ask(stream, 1)).collect();
    first.into_iter().for_each(finish);
    let read = begun.elapsed();
    let begun = Instant::now();
    let whole: Vec<Generation> = (0..streams).map(|stream| ask(stream, ANSWER + 1)).collect();
    whole.into_iter().for_each(finish);
    (read, begun.elapsed().saturating_sub(read))
}

fn finish(mut generation: Generation) {
    while let Some(event) = generation.next_blocking() {
        if let GenerationEvent::Failed(error) = event {
            panic!("{error}");
        }
    }
}
