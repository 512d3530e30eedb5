//! Writes a model file of a usual small shape with weights of chance: what it says means nothing, and
//! it takes as long to say it as the real one.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// The measures of Qwen3-0.6B, but for the vocabulary: a fifth of it.
const WIDTH: u64 = 1_024;
const HIDDEN: u64 = 3_072;
const HEADS: u64 = 16;
const KV_HEADS: u64 = 8;
const HEAD_DIM: u64 = 128;
const VOCABULARY: u64 = 32_000;
const CONTEXT: u32 = 8_192;
/// Tokens that are no words: unknown, begin, end, and one for each byte.
const NO_WORDS: u32 = 3 + 256;

const F32: u32 = 0;
const Q8_0: u32 = 8;
/// A block of Q8_0: a scale in f16 and 32 signed bytes.
const BLOCK: u64 = 32;
const BLOCK_BYTES: usize = 34;
const ALIGNMENT: u64 = 32;

/// The token that ends an answer; a benchmark forbids it.
pub const END: u32 = 2;

/// A prompt of so many words, another one for each number.
pub fn prompt(number: u64, tokens: usize) -> Vec<u32> {
    let mut chance = Chance(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let words = VOCABULARY as u32 - NO_WORDS;
    (0..tokens).map(|_| NO_WORDS + chance.next() as u32 % words).collect()
}

/// Writes a model with so many layers; 28 are those of the real one.
pub fn write(path: &Path, layers: u32) -> Result<()> {
    let tensors = tensors(layers);
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    let (count, keys) = metadata(layers);
    head.extend(count.to_le_bytes());
    head.extend(keys);
    let mut offset = 0;
    for (name, shape, kind) in &tensors {
        text(&mut head, name);
        head.extend((shape.len() as u32).to_le_bytes());
        head.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
        head.extend(kind.to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += bytes(shape, *kind).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    file.write_all(&head)?;
    let mut chance = Chance(7);
    for (_, shape, kind) in &tensors {
        data(&mut file, shape, *kind, &mut chance)?;
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

/// Names, sizes (the fastest first, as in a file) and types.
fn tensors(layers: u32) -> Vec<(String, Vec<u64>, u32)> {
    let (queries, keys) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
    let mut all = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH, VOCABULARY], Q8_0),
        ("output_norm.weight".to_owned(), vec![WIDTH], F32),
    ];
    for layer in 0..layers {
        let parts: [(&str, Vec<u64>, u32); 11] = [
            ("attn_norm", vec![WIDTH], F32),
            ("attn_q", vec![WIDTH, queries], Q8_0),
            ("attn_k", vec![WIDTH, keys], Q8_0),
            ("attn_v", vec![WIDTH, keys], Q8_0),
            ("attn_q_norm", vec![HEAD_DIM], F32),
            ("attn_k_norm", vec![HEAD_DIM], F32),
            ("attn_output", vec![queries, WIDTH], Q8_0),
            ("ffn_norm", vec![WIDTH], F32),
            ("ffn_gate", vec![WIDTH, HIDDEN], Q8_0),
            ("ffn_up", vec![WIDTH, HIDDEN], Q8_0),
            ("ffn_down", vec![HIDDEN, WIDTH], Q8_0),
        ];
        let named = |(part, shape, kind)| (format!("blk.{layer}.{part}.weight"), shape, kind);
        all.extend(parts.into_iter().map(named));
    }
    all
}

fn bytes(shape: &[u64], kind: u32) -> u64 {
    let elements: u64 = shape.iter().product();
    if kind == F32 { elements * 4 } else { elements / BLOCK * BLOCK_BYTES as u64 }
}

fn data(file: &mut impl Write, shape: &[u64], kind: u32, chance: &mut Chance) -> Result<()> {
    let elements: u64 = shape.iter().product();
    if kind == F32 {
        for _ in 0..elements {
            file.write_all(&1_f32.to_le_bytes())?;
        }
    } else {
        for _ in 0..elements / BLOCK {
            let mut block = [0; BLOCK_BYTES];
            // 2^-11 in f16: weights up to a sixteenth.
            block[..2].copy_from_slice(&0x1000_u16.to_le_bytes());
            for part in block[2..].chunks_exact_mut(8) {
                part.copy_from_slice(&chance.next().to_le_bytes());
            }
            file.write_all(&block)?;
        }
    }
    let written = bytes(shape, kind);
    let padding = written.next_multiple_of(ALIGNMENT) - written;
    file.write_all(&vec![0; padding as usize])
}

fn metadata(layers: u32) -> (u64, Vec<u8>) {
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
    add("general.architecture", 8, &string("qwen3"));
    for (key, value) in [
        ("qwen3.block_count", layers),
        ("qwen3.context_length", CONTEXT),
        ("qwen3.embedding_length", WIDTH as u32),
        ("qwen3.feed_forward_length", HIDDEN as u32),
        ("qwen3.attention.head_count", HEADS as u32),
        ("qwen3.attention.head_count_kv", KV_HEADS as u32),
        ("qwen3.attention.key_length", HEAD_DIM as u32),
        ("qwen3.attention.value_length", HEAD_DIM as u32),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", END),
        ("tokenizer.ggml.unknown_token_id", 0),
    ] {
        add(key, 4, &value.to_le_bytes());
    }
    add("qwen3.attention.layer_norm_rms_epsilon", 6, &1e-6_f32.to_le_bytes());
    add("qwen3.rope.freq_base", 6, &1_000_000_f32.to_le_bytes());
    add("tokenizer.ggml.model", 8, &string("llama"));
    let list = |kind: u32| {
        let mut raw = kind.to_le_bytes().to_vec();
        raw.extend(VOCABULARY.to_le_bytes());
        raw
    };
    let (mut names, mut kinds, mut scores) = (list(8), list(5), list(6));
    for token in 0..VOCABULARY as u32 {
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
