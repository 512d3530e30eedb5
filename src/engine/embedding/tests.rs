//! Vectors and judgements against `transformers`, from the files of tests/engine/embeddings (made by
//! tests/engine/make_embeddings.py), and the handling of many requests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::engine::golden::widened_file;
use crate::engine::{Domain, KvPrecision, Loaded, Weights};

const KINDS: [&str; 5] = ["bert-mean", "bert-cls", "bert-rank", "nomic-bert", "qwen3-embedding"];
const ANNA: Domain = Domain(1);
const BERT: Domain = Domain(2);

fn path(name: &str, ending: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings");
    folder.join(format!("{name}.{ending}"))
}

fn options() -> EngineOptions {
    EngineOptions {
        kv_precision: KvPrecision::F32,
        prefill_chunk_tokens: 48,
        shutdown_limit: Duration::from_mins(10),
        ..EngineOptions::default()
    }
}

fn load(weights: Weights, options: EngineOptions) -> Embedder {
    match Loaded::load(weights, options, &LoadProgress::new()).expect("loads") {
        Loaded::Embed(embedder) => embedder,
        Loaded::Generate(_) => panic!("it answers in words"),
    }
}

/// The model with every weight in F32.
fn embedder(name: &str) -> Embedder {
    load(Weights::Embedded(widened_file(&path(name, "gguf"))), options())
}

fn texts(name: &str) -> Vec<EmbedInput> {
    let bytes = std::fs::read(path(name, "texts")).expect("texts");
    let mut numbers = bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let mut texts = Vec::new();
    while let (Some(length), Some(second)) = (numbers.next(), numbers.next()) {
        let tokens = numbers.by_ref().take(length as usize).collect();
        texts.push(EmbedInput { tokens, second: second as usize });
    }
    assert!(texts.len() > 5, "{name}");
    texts
}

fn expected(name: &str, count: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path(name, "vectors")).expect("vectors");
    let all: Vec<f32> =
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    all.chunks_exact(all.len() / count).map(<[f32]>::to_vec).collect()
}

fn request(inputs: Vec<EmbedInput>, domain: Domain) -> EmbedRequest {
    EmbedRequest { inputs, domain, weight: Weight::default(), time_limit: None }
}

fn made(embedder: &Embedder, inputs: Vec<EmbedInput>) -> Vec<Vec<f32>> {
    embedder.embed(request(inputs, ANNA)).expect("accepted").wait_blocking().expect("made")
}

fn bits(vectors: &[Vec<f32>]) -> Vec<Vec<u32>> {
    vectors.iter().map(|vector| vector.iter().map(|x| x.to_bits()).collect()).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn every_kind_gives_what_the_reference_gives() {
    let mut wrong = Vec::new();
    for name in KINDS {
        let texts = texts(name);
        let expected = expected(name, texts.len());
        let found = made(&embedder(name), texts.clone());
        let quantized = load(Weights::File(path(name, "gguf")), options());
        let rounded = made(&quantized, texts);
        for (at, expected) in expected.iter().enumerate() {
            let pairs = || found[at].iter().zip(expected);
            let largest = expected.iter().map(|x| x.abs()).fold(0.0, f32::max);
            let off = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
            if found[at].len() != expected.len() || off.is_nan() || off > 1e-4 {
                wrong.push(format!("{name}, text {at}: off by {off:e}"));
            }
            let is_close = match expected.len() {
                1 => (rounded[at][0] - expected[0]).abs() < 0.3,
                _ => cosine(&rounded[at], expected) > 0.99,
            };
            if !is_close {
                wrong.push(format!("{name}, text {at}, Q8_0: {:?}", rounded[at].first()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_text_alone_gives_the_same_bits_as_among_others() {
    for name in KINDS {
        for weights in [
            Weights::File(path(name, "gguf")),
            Weights::Embedded(widened_file(&path(name, "gguf"))),
        ] {
            let embedder = load(weights, options());
            let texts = texts(name);
            let together = bits(&made(&embedder, texts.clone()));
            for (at, text) in texts.into_iter().enumerate() {
                let alone = bits(&made(&embedder, vec![text]));
                assert!(alone[0] == together[at], "{name}, text {at}");
            }
        }
    }
}

#[test]
fn the_other_crate_agrees_about_bert() {
    // Candle's own BERT pads texts to one length and keeps every weight in F32: no encoder for a
    // server, but one that nobody here wrote.
    use candle_core::{DType, Device, Tensor};
    use candle_transformers::models::bert::{BertModel, Config, HiddenAct};
    let file = File::from_static(widened_file(&path("bert-cls", "gguf"))).expect("sound");
    let mut tensors = std::collections::HashMap::new();
    for info in file.tensors() {
        let numbers = file.numbers(&info.name).expect("numbers");
        let tensor = Tensor::from_vec(numbers, info.shape.as_slice(), &Device::Cpu);
        tensors.insert(theirs(&info.name), tensor.expect("a tensor"));
    }
    let build = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let config = Config {
        vocab_size: 256,
        hidden_size: 64,
        num_hidden_layers: 3,
        num_attention_heads: 4,
        intermediate_size: 96,
        hidden_act: HiddenAct::Gelu,
        max_position_embeddings: 128,
        ..Config::default()
    };
    let model = BertModel::load(build, &config).expect("loads");
    let texts = texts("bert-cls");
    let ours = made(&embedder("bert-cls"), texts.clone());
    for (text, ours) in texts.iter().zip(&ours) {
        let ids = Tensor::new(&text.tokens[..], &Device::Cpu).and_then(|ids| ids.unsqueeze(0));
        let ids = ids.expect("ids");
        let rows = model.forward(&ids, &ids.zeros_like().expect("kinds"), None).expect("computes");
        let first = rows.to_vec3::<f32>().expect("rows").remove(0).remove(0);
        assert!(cosine(&first, ours) > 0.999_99);
    }
}

/// The name of a tensor of BERT outside of GGUF.
fn theirs(name: &str) -> String {
    let (stem, kind) = name.rsplit_once('.').expect("a kind");
    let (outer, part) = match stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
        Some((number, part)) => (format!("encoder.layer.{number}."), part),
        None => ("embeddings.".to_owned(), stem),
    };
    let part = match part {
        "token_embd" => "word_embeddings",
        "position_embd" => "position_embeddings",
        "token_types" => "token_type_embeddings",
        "token_embd_norm" => "LayerNorm",
        "attn_q" => "attention.self.query",
        "attn_k" => "attention.self.key",
        "attn_v" => "attention.self.value",
        "attn_output" => "attention.output.dense",
        "attn_output_norm" => "attention.output.LayerNorm",
        "ffn_up" => "intermediate.dense",
        "ffn_down" => "output.dense",
        "layer_output_norm" => "output.LayerNorm",
        other => panic!("{other}"),
    };
    format!("{outer}{part}.{kind}")
}

#[test]
fn texts_are_framed_and_pairs_are_told_apart() {
    let encoder = embedder("bert-mean");
    let text = encoder.text("t9 T10  t11", Cut::Never).expect("fits");
    assert_eq!((text.tokens(), text.second), (&[2, 9, 10, 11, 3][..], 5));
    // The name of a control token is text like any other.
    let named = encoder.text("[SEP]", Cut::Never).expect("fits");
    assert_eq!(named.tokens(), [2, 1, 1, 1, 3]);
    let rank = embedder("bert-rank");
    let pair = rank.pair(&rank.encode("t9 t10"), "t11", Cut::Never).expect("fits");
    assert_eq!((pair.tokens(), pair.second), (&[2, 9, 10, 3, 11, 3][..], 4));
    assert_eq!(encoder.text("", Cut::Never).expect("an empty text is one").tokens(), [2, 3]);
}

#[test]
fn a_text_that_is_too_long_is_cut_only_where_that_is_asked_for() {
    let encoder = embedder("bert-mean");
    let long = "t9 ".repeat(200);
    let refused = Err(EngineError::PromptTooLong { tokens: 202, tokens_max: 128 });
    assert_eq!(encoder.text(&long, Cut::Never), refused);
    let cut = encoder.text(&long, Cut::End).expect("cut");
    assert_eq!((cut.tokens.len(), cut.tokens[0], cut.tokens[127]), (128, 2, 3));
    assert!(made(&encoder, vec![cut])[0].iter().all(|x| x.is_finite()));
    let rank = embedder("bert-rank");
    assert!(rank.pair(&rank.encode("t9"), &long, Cut::Never).is_err());
    assert_eq!(rank.pair(&rank.encode("t9"), &long, Cut::End).expect("cut").tokens.len(), 128);
    assert!(rank.pair(&rank.encode(&long), "t9", Cut::End).is_err());
}

#[test]
fn vectors_are_cut_only_where_the_model_was_made_for_it() {
    let (fixed, nested) = (Dimensions::Fixed(384), Dimensions::Nested(1024));
    assert!(fixed.allow(384) && !fixed.allow(383) && !fixed.allow(0));
    assert!(nested.allow(32) && nested.allow(1024) && !nested.allow(31) && !nested.allow(1025));
    assert!(!Dimensions::Rank.allow(1));
    let cut = Dimensions::Nested(4).cut(vec![0.6, 0.8, 0.0, 0.0], 1);
    assert_eq!(cut, [1.0]);
}

#[test]
fn many_people_are_served_and_a_full_queue_says_so() {
    let options = EngineOptions { queue_max: 4, ..options() };
    let embedder = load(Weights::Embedded(widened_file(&path("bert-mean", "gguf"))), options);
    let one = || texts("bert-mean");
    let alone = bits(&made(&embedder, one()));
    let mut running = Vec::new();
    let mut refused = 0;
    for number in 0..64 {
        match embedder.embed(request(one(), if number % 2 == 0 { ANNA } else { BERT })) {
            Ok(one) => running.push(one),
            Err(error) => {
                assert_eq!(error, EngineError::Busy);
                refused += 1;
            }
        }
    }
    // The two take three of four places before one is free again: none has more than are left.
    assert!(running.len() >= 3 && refused > 0, "{} ran", running.len());
    for one in running {
        assert!(bits(&one.wait_blocking().expect("made")) == alone);
    }
}

#[test]
fn requests_end_by_time_by_leaving_and_with_the_engine() {
    let embedder = embedder("bert-mean");
    let many = || texts("bert-mean").into_iter().cycle().take(120).collect::<Vec<_>>();
    let late = EmbedRequest { time_limit: Some(Duration::ZERO), ..request(many(), ANNA) };
    let late = embedder.embed(late).expect("accepted");
    assert_eq!(late.wait_blocking(), Err(EngineError::TimeLimit));
    drop(embedder.embed(request(many(), ANNA)).expect("accepted"));
    assert_eq!(made(&embedder, texts("bert-mean")).len(), 6, "nobody waits for who left");
    assert_eq!(embedder.stats().requests_cancelled_total, 1);
    assert!(matches!(embedder.embed(request(Vec::new(), ANNA)), Err(EngineError::Empty)));
    let running = embedder.embed(request(many(), ANNA)).expect("accepted");
    embedder.shutdown();
    embedder.wait_closed();
    assert_eq!(running.wait_blocking().expect("there was time").len(), 120);
    assert!(matches!(embedder.embed(request(many(), ANNA)), Err(EngineError::Closed)));
}

#[test]
fn nobody_waits_or_is_worked_for_longer_than_the_settings_say() {
    let ended = |options: EngineOptions, time_limit: Option<Duration>| {
        let embedder = load(Weights::Embedded(widened_file(&path("bert-mean", "gguf"))), options);
        let request = EmbedRequest { time_limit, ..request(texts("bert-mean"), ANNA) };
        embedder.embed(request).expect("accepted").wait_blocking().map(|made| made.len())
    };
    let (at_once, never) = (Some(Duration::ZERO), Some(Duration::from_hours(1)));
    let queue = |queue_limit| EngineOptions { queue_limit, ..options() };
    assert_eq!(ended(queue(at_once), None), Err(EngineError::QueueTimeLimit));
    assert_eq!(ended(queue(never), None), Ok(texts("bert-mean").len()));
    let whole = |request_limit| EngineOptions { request_limit, ..options() };
    assert_eq!(ended(whole(at_once), None), Err(EngineError::TimeLimit));
    assert_eq!(ended(whole(at_once), never), Err(EngineError::TimeLimit), "the shorter one holds");
    assert_eq!(ended(whole(never), at_once), Err(EngineError::TimeLimit));
    assert_eq!(ended(whole(never), None), Ok(texts("bert-mean").len()));
}

#[test]
fn a_request_of_which_something_is_done_does_not_wait_any_more() {
    let (reply, _result) = oneshot::channel();
    let now = Instant::now();
    let party = Party { domain: ANNA, weight: Weight::default() };
    let mut job = Job::new(texts("bert-mean"), party, None, now, reply);
    let (limit, later) = (Some(Duration::from_secs(5)), now + Duration::from_secs(5));
    assert!(!job.has_waited(now, limit) && !job.has_waited(later, None));
    assert!(job.has_waited(later, limit));
    job.left -= 1;
    assert!(!job.has_waited(later, limit));
}

#[test]
fn files_that_do_not_say_enough_are_refused_by_name() {
    let bytes = std::fs::read(path("bert-mean", "gguf")).expect("a model");
    let at = |key: &str| bytes.windows(key.len()).position(|part| part == key.as_bytes());
    let load = |bytes: Vec<u8>| {
        Loaded::load(Weights::Embedded(bytes.leak()), options(), &LoadProgress::new())
            .map(drop)
            .expect_err("refused")
            .to_string()
    };
    let mut nameless = bytes.clone();
    nameless[at("bert.pooling_type").expect("there")] = b'c';
    assert!(load(nameless).contains("bert.pooling_type"));
    let mut misnamed = bytes.clone();
    misnamed[at("blk.1.ffn_up.weight").expect("there")] = b'c';
    assert!(load(misnamed).contains("blk.1.ffn_up.weight"));
    let mut other = bytes.clone();
    let family = at("general.architecture").expect("there") + "general.architecture".len() + 12;
    other[family..family + 4].copy_from_slice(b"berd");
    assert!(load(other).contains("`berd` is not supported"));
    let mut causal = bytes.clone();
    let value = at("bert.attention.causal").expect("there") + "bert.attention.causal".len() + 4;
    causal[value] = 1;
    assert!(load(causal).contains("looks back"));
}
