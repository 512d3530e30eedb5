//! The door for fuzzers: a model file from somewhere else, all the way to its first words. Nothing in
//! it may panic, whatever the bytes are. Not part of the product's roads.

use super::gguf::File;
use super::template::Template;
use super::tokenizer::{Special, Tokenizer};
use super::{Domain, Engine, EngineOptions, GenerationRequest, LoadProgress, families, load};
use super::{GenerationEvent, Message, PromptOptions, Role};

/// Bytes that stand for the data of tensors behind every header, so that a header alone is a whole
/// model.
const DATA_BYTES: usize = 1 << 19;
/// What the data is filled with: zeros; a number in every type; what is not a number in most.
const FILLS: [u8; 3] = [0x00, 0x3c, 0xff];

/// Reads the header of a model file, and whatever can be made of it.
pub fn model_file(header: &[u8]) {
    let mut bytes = header.to_vec();
    bytes.resize(header.len() + DATA_BYTES, FILLS[header.len() % FILLS.len()]);
    let file = match File::from_bytes(bytes) {
        Ok(file) => file,
        Err(error) => return drop(error.to_string()),
    };
    for tensor in file.tensors() {
        let _ = file.numbers(&tensor.name);
    }
    // Each by itself, so that a fault in one does not hide those in the others.
    if let Ok(tokenizer) = Tokenizer::from_gguf(&file) {
        let tokens = tokenizer.encode("The quick brown fox, 1234 años.\n\t<s>", Special::Plain);
        let _ = tokenizer.decode(&tokens);
        let _ = Template::from_gguf(&file, &tokenizer);
    }
    let _ = families::spec(&file, Some(64));
    let options = EngineOptions {
        kv_budget_bytes: 1 << 20,
        streams_max: 1,
        prefill_chunk_tokens: 16,
        context_tokens_max: Some(64),
        ..EngineOptions::default()
    };
    match load::load_file(&file, &options, &LoadProgress::new()) {
        Ok(engine) => talk(&engine),
        Err(error) => drop(error.to_string()),
    }
}

/// Asks for a few tokens.
fn talk(engine: &Engine) {
    let asked = vec![Message::new(Role::User, "Who are you?")].into();
    let prompt = engine
        .prompt(&asked, &PromptOptions::default())
        .unwrap_or_else(|_| engine.tokenize("Once upon a time"));
    let prompt = prompt.into_iter().take(16).collect();
    let Ok(mut running) = engine.generate(GenerationRequest::new(prompt, 2, Domain(1))) else {
        return;
    };
    while let Some(event) = running.next_blocking() {
        if let GenerationEvent::Text { text, .. } = event {
            drop(text);
        }
    }
    engine.shutdown();
    engine.wait_closed();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was found once stays found: every file of the corpus is read again.
    #[test]
    fn the_corpus_is_read_without_a_panic() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/model_file");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).expect("the corpus is part of the repository") {
            model_file(&std::fs::read(entry.expect("an entry").path()).expect("reads"));
            count += 1;
        }
        assert!(count >= 10, "{count} files");
    }
}
