//! Variants of the built-in model's file, of the same length, for what the guide itself does not show.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Home, guide_file};

/// The context of [`long_guide`].
const LONG: u32 = 32_768;

/// Rules out the tokens that end an answer of the guide: it is as long as it may be.
pub fn no_end() -> Value {
    json!({"0": -100, "1": -100, "2": -100})
}

/// The guide with a longer context than it was made for, by this name: what it says there has no sense.
pub fn long_guide(home: &Home, name: &str) -> PathBuf {
    let mut bytes = guide();
    // After the key comes the number of its type.
    let value = after(&bytes, b"llama.context_length") + 4;
    bytes[value..value + 4].copy_from_slice(&LONG.to_le_bytes());
    home.write(&format!("{name}.gguf"), bytes)
}

/// The guide with a template that lets it think first, and go on thinking.
pub fn thinking_guide(home: &Home, name: &str) -> PathBuf {
    let mut bytes = guide();
    // After the key come the number of its type and the length of the text.
    let begin = after(&bytes, b"tokenizer.chat_template") + 12;
    let length = bytes[begin - 8..begin].try_into().map(u64::from_le_bytes).expect("eight bytes");
    let length = usize::try_from(length).expect("short");
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}{# </think>";
    let filled = format!("{template:<width$}#}}", width = length - 2);
    assert_eq!(filled.len(), length, "it fits");
    bytes[begin..begin + length].copy_from_slice(filled.as_bytes());
    home.write(&format!("{name}.gguf"), bytes)
}

/// The number that a model's file has under this key.
pub fn number(file: &Path, key: &str) -> u32 {
    let bytes = fs::read(file).expect("the file is there");
    // After the key comes the number of its type.
    let at = after(&bytes, key.as_bytes()) + 4;
    bytes[at..at + 4].try_into().map(u32::from_le_bytes).expect("four bytes")
}

fn guide() -> Vec<u8> {
    fs::read(guide_file()).expect("the guide is part of the repository")
}

fn after(bytes: &[u8], key: &[u8]) -> usize {
    let at = bytes.windows(key.len()).position(|window| window == key);
    at.expect("the key is there") + key.len()
}
