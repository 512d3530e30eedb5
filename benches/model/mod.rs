//! Writes a model file of a usual shape with weights of chance: what it says means nothing, and it takes
//! as long to say it as the real one.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// The measures of a decoder.
#[derive(Clone, Copy)]
pub struct Shape {
    architecture: &'static str,
    pub layers: u32,
    width: u64,
    hidden: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    pub vocabulary: u64,
}

impl Shape {
    /// That of Qwen3-0.6B, but for the vocabulary: a fifth of it.
    pub const SMALL: Self = Self {
        architecture: "qwen3",
        layers: 28,
        width: 1_024,
        hidden: 3_072,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        vocabulary: 32_000,
    };
    /// That of Llama-3.2-1B.
    pub const MIDDLE: Self = Self {
        architecture: "llama",
        layers: 16,
        width: 2_048,
        hidden: 8_192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocabulary: 128_256,
    };
    /// That of Llama-3.1-8B.
    pub const LARGE: Self =
        Self { layers: 32, width: 4_096, hidden: 14_336, head_dim: 128, ..Self::MIDDLE };
}

/// How the matrices are kept.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The number of the type in a file.
    code: u32,
    /// Weights of a block, and its bytes.
    weights: u64,
    bytes: usize,
    /// Bytes at the start of a block that are scales in f16.
    scales: usize,
}

impl Kind {
    pub const Q8_0: Self = Self { code: 8, weights: 32, bytes: 34, scales: 2 };
    /// The second scale is that of the minima.
    pub const Q4_K: Self = Self { code: 12, weights: 256, bytes: 144, scales: 4 };
}

/// Tokens that are no words: unknown, begin, end, and one for each byte.
const NO_WORDS: u32 = 3 + 256;
const CONTEXT: u32 = 8_192;
const F32: u32 = 0;
const ALIGNMENT: u64 = 32;

/// The token that ends an answer; a benchmark forbids it.
pub const END: u32 = 2;

/// A prompt of so many words, another one for each number.
pub fn prompt(number: u64, tokens: usize, vocabulary: usize) -> Vec<u32> {
    let mut chance = Chance(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let words = vocabulary as u64 - u64::from(NO_WORDS);
    (0..tokens).map(|_| NO_WORDS + (chance.next() % words) as u32).collect()
}

/// Writes a model.
pub fn write(path: &Path, shape: &Shape, kind: Kind) -> Result<()> {
    let tensors = tensors(shape);
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    let (count, keys) = metadata(shape);
    head.extend(count.to_le_bytes());
    head.extend(keys);
    let mut offset = 0;
    for (name, sizes) in &tensors {
        text(&mut head, name);
        head.extend((sizes.len() as u32).to_le_bytes());
        head.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        head.extend((if sizes.len() == 1 { F32 } else { kind.code }).to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += bytes(sizes, kind).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&head)?;
    let mut chance = Chance(7);
    for (_, sizes) in &tensors {
        data(&mut file, sizes, kind, &mut chance)?;
    }
    file.flush()
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// Names and sizes (the fastest first, as in a file). What has one size is F32.
fn tensors(shape: &Shape) -> Vec<(String, Vec<u64>)> {
    let Shape { width, hidden, head_dim, .. } = *shape;
    let (queries, keys) = (shape.heads * head_dim, shape.kv_heads * head_dim);
    let mut all = vec![
        ("token_embd.weight".to_owned(), vec![width, shape.vocabulary]),
        ("output_norm.weight".to_owned(), vec![width]),
    ];
    for layer in 0..shape.layers {
        let parts: [(&str, Vec<u64>); 9] = [
            ("attn_norm", vec![width]),
            ("attn_q", vec![width, queries]),
            ("attn_k", vec![width, keys]),
            ("attn_v", vec![width, keys]),
            ("attn_output", vec![queries, width]),
            ("ffn_norm", vec![width]),
            ("ffn_gate", vec![width, hidden]),
            ("ffn_up", vec![width, hidden]),
            ("ffn_down", vec![hidden, width]),
        ];
        let norms = [("attn_q_norm", vec![head_dim]), ("attn_k_norm", vec![head_dim])];
        let of_heads = norms.into_iter().filter(|_| shape.architecture == "qwen3");
        let named = |(part, sizes)| (format!("blk.{layer}.{part}.weight"), sizes);
        all.extend(parts.into_iter().chain(of_heads).map(named));
    }
    all
}

fn bytes(sizes: &[u64], kind: Kind) -> u64 {
    let elements: u64 = sizes.iter().product();
    if sizes.len() == 1 { elements * 4 } else { elements / kind.weights * kind.bytes as u64 }
}

fn data(file: &mut impl Write, sizes: &[u64], kind: Kind, chance: &mut Chance) -> Result<()> {
    let elements: u64 = sizes.iter().product();
    if sizes.len() == 1 {
        for _ in 0..elements {
            file.write_all(&1_f32.to_le_bytes())?;
        }
    } else {
        let mut block = vec![0; kind.bytes];
        for _ in 0..elements / kind.weights {
            for part in block.chunks_mut(8) {
                part.copy_from_slice(&chance.next().to_le_bytes()[..part.len()]);
            }
            // 2^-11 in f16: weights of a usual size.
            for scale in block[..kind.scales].chunks_exact_mut(2) {
                scale.copy_from_slice(&0x1000_u16.to_le_bytes());
            }
            file.write_all(&block)?;
        }
    }
    let written = bytes(sizes, kind);
    let padding = written.next_multiple_of(ALIGNMENT) - written;
    file.write_all(&vec![0; padding as usize])
}

fn metadata(shape: &Shape) -> (u64, Vec<u8>) {
    let (mut count, mut out) = (0, Vec::new());
    let mut add = |key: &str, kind: u32, value: &[u8]| {
        text(&mut out, key);
        out.extend(kind.to_le_bytes());
        out.extend(value);
        count += 1;
    };
    let string = |value: &str| {
        let mut raw = Vec::new();
        text(&mut raw, value);
        raw
    };
    let own = |key: &str| format!("{}.{key}", shape.architecture);
    add("general.architecture", 8, &string(shape.architecture));
    for (key, value) in [
        ("block_count", u64::from(shape.layers)),
        ("context_length", u64::from(CONTEXT)),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.hidden),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_dim),
        ("attention.value_length", shape.head_dim),
    ] {
        add(&own(key), 4, &(value as u32).to_le_bytes());
    }
    for (key, value) in [("bos", 1), ("eos", END), ("unknown", 0)] {
        add(&format!("tokenizer.ggml.{key}_token_id"), 4, &value.to_le_bytes());
    }
    add(&own("attention.layer_norm_rms_epsilon"), 6, &1e-6_f32.to_le_bytes());
    add(&own("rope.freq_base"), 6, &1_000_000_f32.to_le_bytes());
    add("tokenizer.ggml.model", 8, &string("llama"));
    let list = |kind: u32| {
        let mut raw = kind.to_le_bytes().to_vec();
        raw.extend(shape.vocabulary.to_le_bytes());
        raw
    };
    let (mut names, mut kinds, mut scores) = (list(8), list(5), list(6));
    for token in 0..shape.vocabulary as u32 {
        let (name, kind) = match token {
            0 => ("<unk>".to_owned(), 2_i32),
            1 => ("<s>".to_owned(), 3),
            END => ("</s>".to_owned(), 3),
            byte if byte < NO_WORDS => (format!("<0x{:02X}>", byte - 3), 6),
            word => (format!("\u{2581}w{word}"), 1),
        };
        text(&mut names, &name);
        kinds.extend(kind.to_le_bytes());
        scores.extend((-(token as f32)).to_le_bytes());
    }
    add("tokenizer.ggml.tokens", 9, &names);
    add("tokenizer.ggml.token_type", 9, &kinds);
    add("tokenizer.ggml.scores", 9, &scores);
    (count, out)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
