//! Tokenizers against published vectors.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;

/// The folder of real data, or a line that says what is left out without it.
fn shared(left_out: &str) -> Option<PathBuf> {
    let root = std::env::var_os("STRONGROOM_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let data = root.join("data");
    if data.is_dir() {
        return Some(data);
    }
    let mut line = String::new();
    let _ = writeln!(line, "left out without {}: {left_out}", data.display());
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("stderr");
    None
}

fn open(path: &std::path::Path) -> (File, Tokenizer) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let tokenizer =
        Tokenizer::from_gguf(&file).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (file, tokenizer)
}

fn vectors(folder: &std::path::Path, name: &str) -> Vec<(String, Vec<u32>)> {
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

#[test]
fn published_vectors_are_met_exactly() {
    let Some(data) = shared("the published tokenizer vectors") else { return };
    let folder = data.join("vocabs");
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
