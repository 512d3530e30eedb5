//! Tokenizers against published vectors.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::words::Words;
use super::*;
use crate::engine::gguf::testing::Writer;
use crate::testing::shared;

fn open(path: &Path) -> (File, Tokenizer) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tokenizer =
        Tokenizer::from_gguf(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (file, tokenizer)
}

fn vectors(folder: &Path, name: &str) -> Vec<(String, Vec<u32>)> {
    let read = |kind: &str| {
        let path = folder.join(format!("ggml-vocab-{name}.gguf.{kind}"));
        std::fs::read_to_string(path).expect("vectors")
    };
    let texts = read("inp");
    let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
    let tokens = read("out");
    let tokens: Vec<Vec<u32>> = tokens
        .lines()
        .map(|line| line.split_whitespace().map(|id| id.parse().expect("number")).collect())
        .collect();
    let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
    assert!(texts.len() >= tokens.len() && tokens.len() > 40, "{name}");
    texts.into_iter().zip(tokens).collect()
}

fn check_vectors(name: &str, tokenizer: &Tokenizer, vectors: &[(String, Vec<u32>)], exact: bool) {
    let mut wrong = String::new();
    for (text, expected) in vectors {
        let found = tokenizer.encode(text, Special::Plain);
        if &found != expected {
            let _ = writeln!(wrong, "{name}: {text:?}\n  want {expected:?}\n  have {found:?}");
        } else if exact && &tokenizer.decode(&found) != text {
            let _ = writeln!(wrong, "{name}: back {text:?}: {:?}", tokenizer.decode(&found));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A byte-level BPE model as a file of the family describes it: names by id, merges, and the
/// tokens that were added after training.
fn byte_level(words: &str, vocabulary: &Value, merges: &str, added: &Value) -> Tokenizer {
    let listed = |list: &Value| -> Vec<(String, u64)> {
        let list = list.as_object().expect("names and ids");
        list.iter().map(|(name, id)| (name.clone(), id.as_u64().expect("an id"))).collect()
    };
    let (normal, added) = (listed(vocabulary), listed(added));
    let mut tokens = vec![(String::new(), 1_i32); normal.len() + added.len()];
    for (list, kind) in [(normal, 1), (added, 3)] {
        for (name, id) in list {
            tokens[usize::try_from(id).expect("small")] = (name, kind);
        }
    }
    let merges: Vec<&str> = merges.lines().filter(|line| !line.starts_with("#version")).collect();
    let (names, kinds): (Vec<String>, Vec<i32>) = tokens.into_iter().unzip();
    let file = Writer::new()
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", words)
        .strings("tokenizer.ggml.tokens", &names)
        .i32s("tokenizer.ggml.token_type", &kinds)
        .strings("tokenizer.ggml.merges", &merges);
    Tokenizer::from_gguf(&file.open().expect("a file")).expect("a tokenizer")
}

fn json(path: &Path) -> Value {
    let text =
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn llama_3(tokenizers: &Path) -> Tokenizer {
    let folder = tokenizers.join("llama3.2-bpe");
    let merges = std::fs::read_to_string(folder.join("vocab.bpe")).expect("merges");
    // The file stops before the 256 control tokens; this is the first of them.
    let added = serde_json::json!({ "<|begin_of_text|>": 128_000 });
    byte_level("llama-bpe", &json(&folder.join("encoder.json")), &merges, &added)
}

fn qwen_2(tokenizers: &Path) -> Tokenizer {
    let folder = tokenizers.join("qwen2");
    let merges = std::fs::read_to_string(folder.join("merges.txt")).expect("merges");
    let added = json(&folder.join("added_tokens.json"));
    byte_level("qwen2", &json(&folder.join("vocab.json")), &merges, &added)
}

#[test]
fn published_vectors_are_met_exactly() {
    let Some(folder) = shared("vocabs") else { return };
    for name in [
        "llama-spm",
        "phi-3",
        "gpt-2",
        "mpt",
        "falcon",
        "starcoder",
        "refact",
        "deepseek-llm",
        "deepseek-coder",
        "bert-bge",
    ] {
        let (_, tokenizer) = open(&folder.join(format!("ggml-vocab-{name}.gguf")));
        check_vectors(name, &tokenizer, &vectors(&folder, name), name != "bert-bge");
    }
}

#[test]
fn published_vectors_are_met_by_vocabularies_that_come_without_a_model_file() {
    let Some(folder) = shared("vocabs") else { return };
    let Some(tokenizers) = shared("tokenizers") else { return };
    check_vectors("llama-bpe", &llama_3(&tokenizers), &vectors(&folder, "llama-bpe"), true);
    check_vectors("qwen2", &qwen_2(&tokenizers), &vectors(&folder, "qwen2"), true);
}

/// The vocabulary of command-r does not lie beside its vectors. What they say of a word in one text is held
/// against what they say of it in others: with another way to cut they contradict themselves, or agree
/// in fewer texts.
#[test]
fn the_vectors_of_command_r_agree_on_the_words_that_are_cut_for_it() {
    let Some(folder) = shared("vocabs") else { return };
    let vectors = vectors(&folder, "command-r");
    assert!(agreeing("command-r", &vectors).expect("no contradiction") >= 20);
    assert!(agreeing("gpt-2", &vectors).is_ok_and(|count| count < 20));
    for other in ["llama-bpe", "qwen2"] {
        agreeing(other, &vectors).expect_err(other);
    }
}

/// In how many texts all words have tokens that other texts give them too; an error where two texts give a
/// word different ones.
fn agreeing(way: &str, vectors: &[(String, Vec<u32>)]) -> Result<usize, String> {
    let words = Words::named(Some(way)).expect("a known way");
    let cut = |(text, tokens): &(String, Vec<u32>)| {
        let words = words.cut(text).into_iter().map(str::to_owned);
        (words.collect::<Vec<String>>(), tokens.clone())
    };
    let mut left: Vec<(Vec<String>, Vec<u32>)> = vectors.iter().map(cut).collect();
    let mut known: HashMap<String, Vec<u32>> = HashMap::new();
    let mut agreeing = 0;
    loop {
        let before = left.len();
        for (words, tokens) in std::mem::take(&mut left) {
            let mut unknown: Vec<&String> =
                words.iter().filter(|word| !known.contains_key(*word)).collect();
            let count = unknown.len();
            unknown.sort();
            unknown.dedup();
            match unknown[..] {
                [] => agreeing += usize::from(!words.is_empty()),
                [word] => {
                    // What is left of the tokens is this word's, as often as it stands there.
                    let length = |word: &String| known.get(word).map_or(0, Vec::len);
                    let others: usize = words.iter().map(length).sum();
                    let own = tokens.len().saturating_sub(others) / count;
                    let from: usize = words.iter().take_while(|one| *one != word).map(length).sum();
                    let own = tokens.get(from..from + own).filter(|own| !own.is_empty());
                    let own = own.ok_or_else(|| format!("{words:?}: {tokens:?}"))?.to_vec();
                    known.insert(word.clone(), own);
                    agreeing += usize::from(words.len() > 1);
                }
                _ => {
                    left.push((words, tokens));
                    continue;
                }
            }
            if words.iter().flat_map(|word| &known[word]).ne(&tokens) {
                return Err(format!("{words:?}: {tokens:?}"));
            }
        }
        if left.len() == before {
            return Ok(agreeing);
        }
    }
}

/// What another library for Swift publishes: texts, and their tokens by Hugging Face's own.
#[test]
fn vectors_of_another_library_are_met_exactly() {
    let Some(folder) = shared("vocabs") else { return };
    let Some(tokenizers) = shared("tokenizers") else { return };
    let published = json(&tokenizers.join("swift-vocabs/tokenizer_tests.json"));
    let file = |name: &str| open(&folder.join(format!("ggml-vocab-{name}.gguf"))).1;
    for (name, tokenizer, around) in [
        ("distilgpt2", file("gpt-2"), &[][..]),
        ("tiiuae/falcon-7b", file("falcon"), &[]),
        ("coreml-projects/Llama-2-7b-chat-coreml", file("llama-spm"), &[1]),
        ("pcuenq/Llama-3.2-1B-Instruct-tokenizer", llama_3(&tokenizers), &[128_000]),
        ("bert-base-uncased", file("bert-bge"), &[101, 102]),
    ] {
        let cases = published[name].as_array().expect("cases");
        assert!(cases.len() >= 18, "{name}");
        let vectors: Vec<(String, Vec<u32>)> = cases
            .iter()
            .map(|case| {
                let ids = case["encoded"]["input_ids"].as_array().expect("ids");
                let ids = ids.iter().map(|id| id.as_u64().expect("an id") as u32);
                let text = case["input"].as_str().expect("a text").to_owned();
                // The tokens that it puts around a text are the template's business here.
                (text, ids.filter(|id| !around.contains(id)).collect())
            })
            .collect();
        check_vectors(name, &tokenizer, &vectors, false);
    }
}

/// A Unigram model that `sentencepiece` trained, and what it makes of texts.
#[test]
fn unigram_is_as_sentencepiece_has_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine");
    let (_, tokenizer) = open(&folder.join("unigram.gguf"));
    let cases = json(&folder.join("unigram.json"));
    let cases = cases.as_array().expect("cases");
    assert!(cases.len() >= 40);
    let vectors: Vec<(String, Vec<u32>)> = cases
        .iter()
        .map(|case| {
            let tokens = case["tokens"].as_array().expect("tokens").iter();
            let tokens = tokens.map(|id| id.as_u64().expect("an id") as u32).collect();
            (case["text"].as_str().expect("a text").to_owned(), tokens)
        })
        .collect();
    check_vectors("unigram", &tokenizer, &vectors, false);
}

#[test]
fn a_vocabulary_with_capital_letters_is_met_with_them() {
    let encode = |names: &[&str], text: &str| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let file = Writer::new()
            .string("tokenizer.ggml.model", "bert")
            .strings("tokenizer.ggml.tokens", &names)
            .i32s("tokenizer.ggml.token_type", &vec![1; names.len()])
            .u32("tokenizer.ggml.unknown_token_id", 0);
        let tokenizer = Tokenizer::from_gguf(&file.open().expect("a file")).expect("a tokenizer");
        tokenizer.encode(text, Special::Plain)
    };
    let cased = ["[UNK]", "\u{2581}A", "\u{2581}a", "\u{2581}Été", "\u{2581}ete"];
    assert_eq!(encode(&cased, "A a Été ete"), [1, 2, 3, 4]);
    let uncased = ["[UNK]", "\u{2581}a", "\u{2581}ete", "\u{2581}\u{928}\u{93e}"];
    assert_eq!(encode(&uncased, "A a Été ete"), [1, 1, 2, 2]);
    // A vowel sign that takes room of its own is no accent.
    assert_eq!(encode(&uncased, "\u{928}\u{93e}"), [3]);
}

/// Pieces of text that tokenizers are known to differ on.
const UGLY: [&str; 40] = [
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n\n",
    " \n ",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\0",
    "\u{1}",
    "a",
    "I'm",
    "WE'LL",
    "don't",
    "'s",
    "''",
    "12345",
    "1,000.50",
    "٣٤٥",
    "Ⅷ",
    "²",
    "ﬁ",
    "é",
    "e\u{301}",
    "\u{301}",
    "İ",
    "ß",
    "我想在",
    "こんにちは",
    "안녕",
    "हिन्दी",
    "ภาษาไทย",
    "العربية",
    "👩‍🚀",
    "🏳️‍🌈",
    "<|x|>",
    "!!!...",
];

/// Texts put together of those pieces, always the same ones.
fn ugly_texts() -> Vec<String> {
    let mut state = 7_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let mut texts: Vec<String> = UGLY.iter().map(|piece| (*piece).to_owned()).collect();
    for _ in 0..600 {
        texts.push((0..=next(9)).map(|_| UGLY[next(UGLY.len())]).collect());
    }
    texts.push("word".repeat(3_000));
    texts.push(" ".repeat(3_000) + "x");
    texts.push("7".repeat(2_000));
    texts
}

/// The library that reads the tokenizer.json of a family, which is that of the Python package.
#[test]
fn ugly_texts_are_cut_as_by_the_published_tokenizers() {
    use unicode_normalization::UnicodeNormalization as _;

    let Some(folder) = shared("vocabs") else { return };
    let Some(tokenizers) = shared("tokenizers") else { return };
    let file = |name: &str| open(&folder.join(format!("ggml-vocab-{name}.gguf"))).1;
    let smollm = tokenizers.join("smollm2-135m-instruct/SmolLM2-135M-Instruct-Tokenizer.json");
    let from_json = |path: &Path, words: &str| {
        let all = json(path);
        let merge = |merge: &Value| match merge.as_array() {
            Some(halves) => halves.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            None => merge.as_str().expect("a merge").to_owned(),
        };
        let merges = all["model"]["merges"].as_array().expect("merges");
        let merges: Vec<String> = merges.iter().map(merge).collect();
        byte_level(words, &all["model"]["vocab"], &merges.join("\n"), &serde_json::json!({}))
    };
    let mut wrong = String::new();
    for (path, ours) in [
        (tokenizers.join("swift-vocabs/gpt2_tokenizer.json"), file("gpt-2")),
        (tokenizers.join("swift-vocabs/falcon_tokenizer.json"), file("falcon")),
        (tokenizers.join("swift-vocabs/llama_tokenizer.json"), file("llama-spm")),
        (smollm.clone(), from_json(&smollm, "smollm")),
    ] {
        let theirs = tokenizers::Tokenizer::from_file(&path).expect("a tokenizer");
        for text in ugly_texts() {
            // A model file does not say that a tokenizer composes characters first.
            let text: String = text.nfc().collect();
            let expected = theirs.encode(text.as_str(), false).expect("encodes");
            let found = ours.encode(&text, Special::Plain);
            if found != expected.get_ids() {
                let ids = expected.get_ids();
                let shown: String = text.chars().take(60).collect();
                let at = found.iter().zip(ids).take_while(|(a, b)| a == b).count();
                let (have, want) =
                    (&found[at..found.len().min(at + 8)], &ids[at..ids.len().min(at + 8)]);
                let _ = writeln!(
                    wrong,
                    "{}: {shown:?} at {at}: want {want:?} have {have:?}",
                    path.display()
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
