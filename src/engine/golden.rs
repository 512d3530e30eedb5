//! Every family against `transformers`: logits at each position and greedy text, from the files
//! of tests/engine/golden (made by tests/engine/make_golden.py).

use std::path::{Path, PathBuf};

use super::compute::Compute;
use super::decoder::{Decoder, Step};
use super::families::{self, DecoderSpec};
use super::gguf::testing::Writer;
use super::gguf::{File, testing};
use super::kv::Pool;
use super::*;

const VOCABULARY: usize = 256;
const GREEDY: usize = 64;
/// Tokens of a greedy text that go before an answer whose beginning is known: more than a block with the
/// prompt.
const KNOWN: usize = 48;
/// How far logits of weights in F32 may be from those of the reference, as a share of the largest.
const OFF_EXACT: f32 = 1e-4;
/// How far logits of quantized weights may be from those of the same weights in F32, as a share of the
/// largest, where the model is a calm one.
const OFF_QUANTIZED: f32 = 2e-2;
/// How far they may be from those of the reference with rows rounded to the same eight bits, of models
/// as wild as these. They are the same, but for numbers that fall between two codes, which other sums
/// in the last bit put on the other side: one of these moves logits by up to 2.5 % of the largest, and
/// rounding itself by 2 to 24 %.
const OFF_ROUNDED: f32 = 5e-2;

fn folder() -> PathBuf {
    crate::testing::root().join("tests/engine/golden")
}

/// The device that the tests of devices use.
fn device() -> DeviceChoice {
    match crate::testing::device().as_deref().map(|name| name.strip_prefix("cuda:")) {
        None => DeviceChoice::StandIn,
        Some(Some(number)) => DeviceChoice::Cuda(number.parse().expect("a number")),
        Some(None) => DeviceChoice::Metal,
    }
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the golden files are there").flatten();
    let names =
        files.filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".gguf")?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert!(names.len() >= 24, "{names:?}");
    names
}

/// The prompt and what follows it.
fn tokens(name: &str) -> (Vec<u32>, Vec<u32>) {
    let bytes = std::fs::read(folder().join(format!("{name}.tokens"))).expect("tokens");
    let mut tokens: Vec<u32> =
        bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let greedy = tokens.split_off(tokens.len() - GREEDY);
    (tokens, greedy)
}

/// The `logits` of the reference, or those with rows `rounded`.
fn expected(name: &str, kind: &str) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(folder().join(format!("{name}.{kind}"))).expect("logits");
    let all: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    all.chunks_exact(VOCABULARY).map(<[f32]>::to_vec).collect()
}

/// The same model with every weight in F32.
fn widened(name: &str) -> &'static [u8] {
    widened_file(&folder().join(format!("{name}.gguf")))
}

/// The model of a file with every weight in F32.
pub(super) fn widened_file(path: &Path) -> &'static [u8] {
    let bytes = std::fs::read(path).expect("a model");
    let file = File::open(path).expect("a sound model");
    let mut writer: Writer = testing::like(&bytes);
    for tensor in file.tensors() {
        let numbers = file.numbers(&tensor.name).expect("reads");
        writer = writer.tensor_f32(&tensor.name, &tensor.shape, &numbers);
    }
    writer.finish().leak()
}

/// The logits of every position, read in slices of so many tokens.
fn logits(compute: &Compute, file: &File, tokens: &[u32], slice: usize) -> Vec<Vec<f32>> {
    logits_as(&families::spec(file, None).expect("a known shape"), compute, file, tokens, slice)
}

/// The same of a model of this shape.
fn logits_as(
    spec: &DecoderSpec,
    compute: &Compute,
    file: &File,
    tokens: &[u32],
    slice: usize,
) -> Vec<Vec<f32>> {
    let spec = spec.clone();
    let shape = spec.cache_shape(KvPrecision::F32);
    let progress = LoadProgress::new();
    let decoder = Decoder::load(file, spec, VOCABULARY, compute.clone(), &progress).expect("loads");
    let mut pool = Pool::on(compute, shape, shape.block_bytes() * 8).expect("fits");
    let mut table = kv::BlockTable::default();
    assert!(pool.grow(&mut table, 0, tokens.len()));
    let mut rows = Vec::new();
    for (number, part) in tokens.chunks(slice).enumerate() {
        let start = number * slice;
        let blocks = table.blocks();
        let mut step = Step::default();
        step.push(start, part.iter().copied(), blocks, |_| true);
        rows.extend(decoder.forward(&step, &mut pool).expect("computes"));
    }
    rows
}

/// A shape in which each layer changes a row a little and looks around softly, as layers of trained models
/// do. These models have neither, and make much of the least change to a row.
fn calm(file: &File) -> DecoderSpec {
    let spec = families::spec(file, None).expect("a known shape");
    DecoderSpec {
        attention_scale: spec.attention_scale / 2.0,
        residual_scale: spec.residual_scale / 128.0,
        ..spec
    }
}

/// The largest difference, as a share of the largest logit.
fn off(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = || found.iter().flatten().zip(expected.iter().flatten());
    let largest = pairs().map(|(_, b)| b.abs()).fold(0.0, f32::max);
    let difference = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, |a, b| {
        // A NaN is the largest of differences.
        if b.is_nan() { f32::INFINITY } else { f32::max(a, b) }
    });
    difference / largest
}

fn check(failures: &mut Vec<String>, what: &str, off: f32, allowed: f32) {
    if off.is_nan() || off > allowed {
        failures.push(format!("{what}: off by {off:.2e}, allowed {allowed:.1e}"));
    }
}

#[test]
fn every_family_has_the_logits_of_the_reference() {
    hold_all_families(&Compute::Host);
}

#[test]
fn every_family_has_them_on_a_device_too() {
    hold_all_families(&device().open().expect("the device answers"));
}

fn hold_all_families(compute: &Compute) {
    let mut failures = Vec::new();
    for name in names() {
        hold_family(&mut failures, compute, &name);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

fn hold_family(failures: &mut Vec<String>, compute: &Compute, name: &str) {
    let (prompt, greedy) = tokens(name);
    let full = File::from_static(widened(name)).expect("a sound model");
    let whole = logits(compute, &full, &prompt, prompt.len());
    check(failures, name, off(&whole, &expected(name, "logits")), OFF_EXACT);
    for slice in [1, 5, 7] {
        let cut = logits(compute, &full, &prompt, slice);
        match compute {
            // However the prompt is cut, the bits are the same.
            Compute::Host if cut != whole => failures.push(format!("{name}: {slice}: other bits")),
            Compute::Host => {}
            Compute::Device(_) => {
                check(failures, &format!("{name}, cut"), off(&cut, &whole), OFF_EXACT);
            }
        }
    }
    // Beyond a block, windows and far positions.
    let all = [prompt.as_slice(), &greedy].concat();
    let rows = logits(compute, &full, &all, 16);
    let best = |row: &Vec<f32>| {
        (0..VOCABULARY).max_by(|a, b| row[*a].total_cmp(&row[*b])).expect("some") as u32
    };
    let found: Vec<u32> = rows[prompt.len() - 1..all.len() - 1].iter().map(best).collect();
    if found != greedy {
        failures.push(format!("{name}: another greedy text"));
    }
    let quantized = File::open(&folder().join(format!("{name}.gguf"))).expect("sound");
    let [rows, exact] = [&quantized, &full]
        .map(|file| logits_as(&calm(file), compute, file, &prompt, prompt.len()));
    check(failures, &format!("{name}, Q8_0"), off(&rows, &exact), OFF_QUANTIZED);
    // Devices round in ways of their own.
    if let Compute::Host = compute {
        let rows = logits(compute, &quantized, &prompt, prompt.len());
        let off = off(&rows, &expected(name, "rounded"));
        check(failures, &format!("{name}, rounded"), off, OFF_ROUNDED);
    }
}

/// Mixtral as its first files have it.
#[test]
fn experts_in_tensors_of_their_own_are_those_of_one() {
    let path = folder().join("mixtral.gguf");
    let file = File::open(&path).expect("a sound model");
    let mut writer = testing::like(&std::fs::read(&path).expect("a model"));
    let mut apart = 0;
    for tensor in file.tensors() {
        let (bytes, code) = (file.tensor_bytes(&tensor.name).expect("reads"), tensor.kind.code());
        let Some(name) = tensor.name.strip_suffix("_exps.weight") else {
            writer = writer.tensor(&tensor.name, &tensor.shape, code, &bytes);
            continue;
        };
        let (count, matrix) = (tensor.shape[0], &tensor.shape[1..]);
        for (number, bytes) in bytes.chunks_exact(bytes.len() / count).enumerate() {
            writer = writer.tensor(&format!("{name}.{number}.weight"), matrix, code, bytes);
            apart += 1;
        }
    }
    assert_eq!(apart, 4 * 3 * 4);
    let (prompt, _) = tokens("mixtral");
    let of = |file: &File| logits(&Compute::Host, file, &prompt, prompt.len());
    assert!(of(&writer.open().expect("a sound model")) == of(&file));
}

#[test]
fn every_family_answers_the_same_alone_crowded_and_pushed_out() {
    hold_crowded(DeviceChoice::Cpu);
}

#[test]
fn every_family_answers_so_on_a_device_too() {
    hold_crowded(device());
}

fn hold_crowded(device: DeviceChoice) {
    let mut pushed_out = 0;
    for name in names() {
        let (prompt, greedy) = tokens(&name);
        let spec = families::spec(&File::from_static(widened(&name)).expect("sound"), None);
        let block = spec.expect("known").cache_shape(KvPrecision::F32).block_bytes();
        // Room for one whole answer and a half of four.
        let options = EngineOptions {
            device,
            kv_budget_bytes: block * 5,
            device_kv_budget_bytes: Some(block * 5),
            kv_precision: KvPrecision::F32,
            prefill_chunk_tokens: 5,
            ..EngineOptions::default()
        };
        let crowded =
            Engine::load(Weights::Embedded(widened(&name)), options, &LoadProgress::new())
                .expect("loads");
        let ask = |prompt: &[u32], most: usize, domain: u128| {
            let mut request = GenerationRequest::new(prompt.to_vec(), most, Domain(domain));
            request.logprobs = Some(0);
            crowded.generate(request).expect("accepted")
        };
        let running: Vec<Generation> = (0..4).map(|domain| ask(&prompt, GREEDY, domain)).collect();
        for generation in running {
            assert_eq!(said(generation), until_the_end(&greedy), "{name}");
        }
        // The second time the cache has what the prompt begins with.
        let (known, rest) = greedy.split_at(KNOWN);
        let longer = [prompt.as_slice(), known].concat();
        for cached in [false, true] {
            let before = crowded.stats().cached_tokens_total;
            assert_eq!(said(ask(&longer, rest.len(), 9)), until_the_end(rest), "{name}");
            assert_eq!(crowded.stats().cached_tokens_total > before, cached, "{name}");
        }
        pushed_out += crowded.stats().preemptions_total;
    }
    assert!(pushed_out > 0, "nobody was pushed out");
}

/// The tokens of an answer.
fn said(mut generation: Generation) -> Vec<u32> {
    let mut said = Vec::new();
    while let Some(event) = generation.next_blocking() {
        if let GenerationEvent::Text { logprobs, .. } = event {
            said.extend(logprobs.iter().map(|one| one.chosen.token));
        }
    }
    said
}

/// Token 2 ends an answer, and is not told.
fn until_the_end(tokens: &[u32]) -> &[u32] {
    &tokens[..tokens.iter().position(|token| *token == 2).unwrap_or(tokens.len())]
}
