//! Long texts that are made to cost time: the work grows with their length, and with nothing else. Where
//! the code is our own its steps are counted; the words and merges of BPE are cut by crates, and are
//! only asked to come to an end: with work squared, so much text would not.

use std::path::Path;

use super::words::{WAYS, Words};
use super::work::counted;
use super::*;
use crate::engine::gguf::testing::Writer;

/// What is repeated.
const HOSTILE: [&str; 14] = [
    "a",
    "A",
    " ",
    "\t",
    "\n",
    " \n",
    "a b ",
    "1",
    "!",
    "👩‍🚀",
    "e\u{301}",
    "\u{301}",
    "我",
    "\u{2581}",
];
/// What comes behind it, so that what looked like one long run is none.
const ENDS: [&str; 3] = ["", "x", "1"];
const WHOLE: usize = 1 << 18;

fn texts(bytes: usize) -> impl Iterator<Item = String> {
    HOSTILE
        .iter()
        .flat_map(move |piece| ENDS.iter().map(move |end| piece.repeat(bytes / piece.len()) + end))
}

/// Holds the steps for a text of four times the length against those for the shorter one: four times
/// as many, and a little for what sorts.
fn check_steps(name: &str, tokenizer: &Tokenizer) {
    let steps = |text: &str| counted(|| drop(tokenizer.encode(text, Special::Plain)));
    for (short, long) in texts(WHOLE / 4).zip(texts(WHOLE)) {
        let (few, many) = (steps(&short), steps(&long));
        let shown: String = short.chars().take(8).collect();
        assert!(many <= few * 5 + 1_000, "{name}: {few} and then {many} steps for {shown:?}…");
        let each = many / long.len() as u64;
        assert!(each <= STEPS_A_BYTE_MAX, "{name}: {each} steps a byte for {shown:?}…");
    }
}

/// As many as the longest pieces of the models below have bytes, at most.
const STEPS_A_BYTE_MAX: u64 = 64;

/// Pieces of one letter and of many, so that every merge and every split can be tried.
fn runs(mark: &str) -> Vec<String> {
    let mut names = vec!["[UNK]".to_owned(), mark.to_owned()];
    for piece in ["a", "b", "A", "\t", "\n", "1", "!", "我", "e"] {
        names.extend((0..6).map(|power| piece.repeat(1 << power)));
        names.extend((0..5).map(|power| format!("{mark}{}", piece.repeat(1 << power))));
    }
    names
}

fn made(kind: &str, names: &[String]) -> Tokenizer {
    let scores: Vec<f32> = names.iter().map(|name| name.len() as f32).collect();
    let file = Writer::new()
        .string("tokenizer.ggml.model", kind)
        .strings("tokenizer.ggml.tokens", names)
        .f32s("tokenizer.ggml.scores", &scores)
        .i32s("tokenizer.ggml.token_type", &vec![1; names.len()])
        .u32("tokenizer.ggml.unknown_token_id", 0);
    Tokenizer::from_gguf(&file.open().expect("a file")).expect("a tokenizer")
}

#[test]
fn the_steps_of_merges_by_score_grow_with_the_text() {
    check_steps("spm", &made("llama", &runs("\u{2581}")));
}

#[test]
fn the_steps_of_the_most_likely_pieces_grow_with_the_text() {
    check_steps("unigram", &made("t5", &runs("\u{2581}")));
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/unigram.gguf");
    let file = File::open(&trained).expect("a file");
    check_steps("trained unigram", &Tokenizer::from_gguf(&file).expect("a tokenizer"));
}

#[test]
fn the_steps_of_the_longest_pieces_grow_with_the_text() {
    let wordpiece = made("bert", &runs("\u{2581}"));
    check_steps("wordpiece", &wordpiece);
    // Words as long as they may be, of which only single letters are known: a look-up for each piece
    // that might have been.
    for word in ["c".repeat(100) + " ", "ab".repeat(50) + " ", "a".repeat(99) + "c "] {
        let text = word.repeat(WHOLE / word.len());
        let steps = counted(|| drop(wordpiece.encode(&text, Special::Plain)));
        assert!(steps <= text.len() as u64 * STEPS_A_BYTE_MAX, "{steps} steps");
    }
}

#[test]
fn every_way_of_cutting_words_comes_to_the_end_of_a_long_text() {
    for (names, ..) in WAYS {
        let words = Words::named(Some(names[0])).expect("a way");
        for text in texts(WHOLE) {
            let cut: usize = words.cut(&text).iter().map(|word| word.len()).sum();
            assert_eq!(cut, text.len(), "{}", names[0]);
        }
    }
}

#[test]
fn blanks_are_cut_by_one_way_as_without_its_shortcut() {
    use tokenizers::utils::SysRegex;
    let words = Words::named(Some("jais-2")).expect("a way");
    let (_, patterns, _) =
        WAYS.iter().find(|(names, ..)| names.contains(&"jais-2")).expect("a row");
    let plain = patterns[0].replace(r"(?<![^\S\r\n])\s*[\r\n]+", r"\s*[\r\n]+");
    assert_ne!(plain, patterns[0]);
    let plain = SysRegex::new(&plain).expect("a pattern");
    let pieces = [" ", "\t", "\n", "\r\n", "x", "!", "1", "\u{a0}", " ".repeat(600).leak()];
    let mut state = 7_u64;
    for _ in 0..4_000 {
        let text: String = (0..12)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                pieces[(state >> 33) as usize % pieces.len()]
            })
            .collect();
        let expected: Vec<&str> =
            plain.find_iter(&text).map(|(from, to)| &text[from..to]).collect();
        assert_eq!(words.cut(&text), expected, "{text:?}");
    }
}

#[test]
fn merges_of_bytes_come_to_the_end_of_a_long_text() {
    let letters: Vec<String> = (0..=255).map(|byte| bpe::char_of(byte).to_string()).collect();
    let mut names = letters.clone();
    let mut merges = Vec::new();
    for letter in &letters {
        for power in 0..5 {
            let half = letter.repeat(1 << power);
            names.push(half.repeat(2));
            merges.push(format!("{half} {half}"));
        }
    }
    let file = Writer::new()
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", &names)
        .i32s("tokenizer.ggml.token_type", &vec![1; names.len()])
        .strings("tokenizer.ggml.merges", &merges);
    let tokenizer = Tokenizer::from_gguf(&file.open().expect("a file")).expect("a tokenizer");
    for text in texts(WHOLE) {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text, Special::Plain)), text);
    }
}
