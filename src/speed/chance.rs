//! Writes a model file of a usual shape with weights of chance: what it says means nothing, and it takes
//! as long to say it as the real one.

use std::fs::File;
use std::io::{BufWriter, Result, Write};

/// The measures of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    architecture: &'static str,
    /// How many layers it has.
    pub layers: u32,
    width: u64,
    hidden: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    vocabulary: u64,
}

impl Shape {
    /// That of Qwen3-0.6B.
    pub const SMALL: Self = Self {
        architecture: "qwen3",
        layers: 28,
        width: 1_024,
        hidden: 3_072,
        heads: 16,
        kv_heads: 8,
        head_dim: 128,
        vocabulary: 151_936,
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
    /// That of Llama-3.1-8B, but for the head: it is the embedding.
    pub const LARGE: Self =
        Self { layers: 32, width: 4_096, hidden: 14_336, head_dim: 128, ..Self::MIDDLE };
    /// All, with their names.
    pub const ALL: [(&str, Self); 3] =
        [("0.6b", Self::SMALL), ("1b", Self::MIDDLE), ("8b", Self::LARGE)];

    /// The shape of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, shape)| shape)
    }
}

/// Which types the matrices have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 16 bits for each weight; other programs can make the rest of it.
    F16,
    /// 8 bits and a half.
    Q8_0,
    /// 4 bits and a half.
    Q4_0,
    /// The same, in super-blocks.
    Q4K,
    /// Q4_K, with Q6_K where llama.cpp takes it: for the head, and for half of the values and of the
    /// ways down.
    Q4KM,
}

impl Kind {
    /// All, with their names.
    pub const ALL: [(&str, Self); 5] = [
        ("f16", Self::F16),
        ("q8_0", Self::Q8_0),
        ("q4_0", Self::Q4_0),
        ("q4_k", Self::Q4K),
        ("q4_k_m", Self::Q4KM),
    ];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, kind)| kind)
    }

    /// The blocks of a matrix, which is in this layer if it is in one.
    fn blocks(self, part: &str, layer: Option<u32>, layers: u32) -> Blocks {
        match self {
            Self::F16 => F16,
            Self::Q8_0 => Q8_0,
            Self::Q4_0 => Q4_0,
            Self::Q4K => Q4_K,
            Self::Q4KM => match (part, layer) {
                ("token_embd", _) => Q6_K,
                ("attn_v" | "ffn_down", Some(layer)) if has_more_bits(layer, layers) => Q6_K,
                _ => Q4_K,
            },
        }
    }
}

/// Where llama.cpp gives a layer more bits (`use_more_bits` in its quantizer).
fn has_more_bits(layer: u32, layers: u32) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// How weights are kept in a file.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Blocks {
    /// The number of the type in a file.
    code: u32,
    /// Weights of a block, and its bytes.
    weights: u64,
    bytes: usize,
    /// Where numbers in f16 stand, and which: scales that give weights of a usual size, about 0.02.
    scales: &'static [(usize, u16)],
}

const F32: Blocks = Blocks { code: 0, weights: 1, bytes: 4, scales: &[] };
/// Its weights are made usual one by one.
const F16: Blocks = Blocks { code: 1, weights: 32, bytes: 64, scales: &[] };
/// 2^-8.
const Q4_0: Blocks = Blocks { code: 2, weights: 32, bytes: 18, scales: &[(0, 0x1c00)] };
/// 2^-12.
const Q8_0: Blocks = Blocks { code: 8, weights: 32, bytes: 34, scales: &[(0, 0x0c00)] };
/// 2^-13, and 2^-10 for the minima: as much below zero as above.
const Q4_K: Blocks =
    Blocks { code: 12, weights: 256, bytes: 144, scales: &[(0, 0x0800), (2, 0x1400)] };
/// 2^-16.
const Q6_K: Blocks = Blocks { code: 14, weights: 256, bytes: 210, scales: &[(208, 0x0100)] };

/// Tokens that are no words: unknown, begin, end, and one for each byte.
const NO_WORDS: u32 = 3 + 256;
const CONTEXT: u32 = 8_192;
const ALIGNMENT: u64 = 32;

/// The token that ends an answer; a benchmark forbids it.
pub const END: u32 = 2;

/// A prompt of so many words, another one for each number. The words are those of these models; of
/// others, some tokens.
pub fn prompt(number: u64, tokens: usize, vocabulary: usize) -> Vec<u32> {
    let mut chance = Chance(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let first = NO_WORDS.min(vocabulary as u32 / 2);
    let words = (vocabulary as u64 - u64::from(first)).max(1);
    (0..tokens).map(|_| first + (chance.next() % words) as u32).collect()
}

/// How large the file of a model is.
pub fn size(shape: &Shape, kind: Kind) -> u64 {
    let tensors = tensors(shape, kind);
    let data = tensors.iter().map(|tensor| padded(&tensor.sizes, tensor.blocks)).sum::<u64>();
    head(shape, &tensors).len() as u64 + data
}

/// Writes a model.
pub fn write(file: &File, shape: &Shape, kind: Kind) -> Result<()> {
    let tensors = tensors(shape, kind);
    let mut file = BufWriter::with_capacity(1 << 20, file);
    file.write_all(&head(shape, &tensors))?;
    let mut chance = Chance(7);
    for tensor in &tensors {
        data(&mut file, tensor, &mut chance)?;
    }
    file.flush()
}

/// What stands before the weights.
fn head(shape: &Shape, tensors: &[Tensor]) -> Vec<u8> {
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    let (count, keys) = metadata(shape);
    head.extend(count.to_le_bytes());
    head.extend(keys);
    let mut offset = 0;
    for Tensor { name, sizes, blocks } in tensors {
        text(&mut head, name);
        head.extend((sizes.len() as u32).to_le_bytes());
        head.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        head.extend(blocks.code.to_le_bytes());
        head.extend(u64::to_le_bytes(offset));
        offset += padded(sizes, *blocks);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    head
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

/// One tensor of the file; its sizes the fastest first, as they stand there.
struct Tensor {
    name: String,
    sizes: Vec<u64>,
    blocks: Blocks,
}

fn tensors(shape: &Shape, kind: Kind) -> Vec<Tensor> {
    let Shape { width, hidden, head_dim, layers, .. } = *shape;
    let (queries, keys) = (shape.heads * head_dim, shape.kv_heads * head_dim);
    let named = |part: &str, layer: Option<u32>, sizes: &[u64]| Tensor {
        name: match layer {
            Some(layer) => format!("blk.{layer}.{part}.weight"),
            None => format!("{part}.weight"),
        },
        sizes: sizes.to_vec(),
        blocks: if sizes.len() == 1 { F32 } else { kind.blocks(part, layer, layers) },
    };
    let mut all = vec![
        named("token_embd", None, &[width, shape.vocabulary]),
        named("output_norm", None, &[width]),
    ];
    for layer in 0..layers {
        let parts: [(&str, &[u64]); 9] = [
            ("attn_norm", &[width]),
            ("attn_q", &[width, queries]),
            ("attn_k", &[width, keys]),
            ("attn_v", &[width, keys]),
            ("attn_output", &[queries, width]),
            ("ffn_norm", &[width]),
            ("ffn_gate", &[width, hidden]),
            ("ffn_up", &[width, hidden]),
            ("ffn_down", &[hidden, width]),
        ];
        let norms: [(&str, &[u64]); 2] =
            [("attn_q_norm", &[head_dim]), ("attn_k_norm", &[head_dim])];
        let of_heads = norms.into_iter().filter(|_| shape.architecture == "qwen3");
        all.extend(
            parts.into_iter().chain(of_heads).map(|(part, sizes)| named(part, Some(layer), sizes)),
        );
    }
    all
}

fn bytes(sizes: &[u64], blocks: Blocks) -> u64 {
    sizes.iter().product::<u64>() / blocks.weights * blocks.bytes as u64
}

fn padded(sizes: &[u64], blocks: Blocks) -> u64 {
    bytes(sizes, blocks).next_multiple_of(ALIGNMENT)
}

fn data(file: &mut impl Write, tensor: &Tensor, chance: &mut Chance) -> Result<()> {
    let Tensor { sizes, blocks, .. } = tensor;
    let mut block = vec![0; blocks.bytes];
    for _ in 0..sizes.iter().product::<u64>() / blocks.weights {
        fill(&mut block, *blocks, chance);
        file.write_all(&block)?;
    }
    let padding = padded(sizes, *blocks) - bytes(sizes, *blocks);
    file.write_all(&vec![0; padding as usize])
}

fn fill(block: &mut [u8], blocks: Blocks, chance: &mut Chance) {
    if blocks == F32 {
        // What is not a matrix is a norm.
        return block.copy_from_slice(&1_f32.to_le_bytes());
    }
    for part in block.chunks_mut(8) {
        part.copy_from_slice(&chance.next().to_le_bytes()[..part.len()]);
    }
    if blocks == F16 {
        // The sign and the digits are of chance, the exponent is -6.
        block.iter_mut().skip(1).step_by(2).for_each(|high| *high = *high & 0x83 | 0x24);
    }
    for &(at, scale) in blocks.scales {
        block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions, LoadProgress, Weights, gguf};

    const TINY: Shape = Shape {
        layers: 8,
        width: 256,
        hidden: 512,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocabulary: 512,
        ..Shape::SMALL
    };

    #[test]
    fn every_kind_is_a_sound_file_that_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, kind) in Kind::ALL {
            for shape in [TINY, Shape { architecture: "llama", ..TINY }] {
                let path = folder.path().join("chance.gguf");
                let file = File::create(&path).expect("a file");
                write(&file, &shape, kind).expect("writes");
                assert_eq!(file.metadata().expect("its size").len(), size(&shape, kind), "{name}");
                let options =
                    EngineOptions { kv_budget_bytes: 1 << 22, ..EngineOptions::default() };
                let engine = Engine::load(Weights::File(path), options, &LoadProgress::new());
                let engine = engine.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(engine.info().vocabulary, 512);
                assert_eq!(engine.end_tokens(), [END]);
            }
        }
    }

    #[test]
    fn the_mixed_kind_has_more_bits_where_llama_cpp_has_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chance.gguf");
        write(&File::create(&path).expect("a file"), &TINY, Kind::Q4KM).expect("writes");
        let file = gguf::File::open(&path).expect("a sound file");
        let with_more = |part: &str| {
            let name = |layer| format!("blk.{layer}.{part}.weight");
            let kind = |layer| file.tensor(&name(layer)).expect("it is there").kind.name();
            (0..8_u32).filter(|layer| kind(*layer) == "Q6_K").collect::<Vec<_>>()
        };
        assert_eq!(with_more("attn_v"), [0, 3, 6, 7]);
        assert_eq!(with_more("ffn_down"), [0, 3, 6, 7]);
        assert_eq!(with_more("attn_k"), [0_u32; 0]);
        assert_eq!(file.tensor("token_embd.weight").expect("it is there").kind.name(), "Q6_K");
    }

    #[test]
    fn prompts_differ_and_stay_inside_of_the_vocabulary() {
        for vocabulary in [1, 2, 100, 512, 32_000] {
            let made = |number| prompt(number, 50, vocabulary);
            assert!(made(1).iter().all(|token| (*token as usize) < vocabulary));
            assert_eq!(made(1) == made(2), vocabulary <= 2, "{vocabulary}");
        }
    }
}
