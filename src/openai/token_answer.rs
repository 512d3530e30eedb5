//! The answers of `/v1/tokenize` and `/v1/detokenize`.

use schemars::JsonSchema;
use serde::Serialize;

use super::token_request::Shown;
use crate::engine::Piece;
use crate::gate::Read;

/// A text in tokens.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TokenList {
    count: usize,
    max_model_len: usize,
    tokens: Vec<Token>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_strs: Option<Vec<String>>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum Token {
    Number(u32),
    WithPiece { id: u32, piece: Text },
}

/// A text, or bytes that are none.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "TextOrBytes")]
enum Text {
    Text(String),
    Bytes(Vec<u8>),
}

/// Tokens as text, by both names that clients look for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SpelledTokens")]
pub(super) struct Spelled {
    prompt: String,
    content: String,
}

impl TokenList {
    pub(super) fn new(read: Read, shown: Shown) -> Self {
        let pieces = read.pieces.unwrap_or_default();
        let name = |piece: &Piece| piece.name.clone();
        let token_strs = shown.names.then(|| pieces.iter().map(name).collect());
        let count = read.tokens.len();
        let tokens = if shown.pieces {
            let both = read.tokens.into_iter().zip(pieces);
            both.map(|(id, piece)| Token::WithPiece { id, piece: piece.bytes.into() }).collect()
        } else {
            read.tokens.into_iter().map(Token::Number).collect()
        };
        Self { count, max_model_len: read.context, tokens, token_strs }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        String::from_utf8(bytes).map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }
}

impl From<String> for Spelled {
    fn from(text: String) -> Self {
        Self { prompt: text.clone(), content: text }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn body(shown: Shown) -> Value {
        let piece = |name: &str, bytes: &[u8]| Piece { name: name.into(), bytes: bytes.to_vec() };
        let pieces = Some(vec![piece("a", b"a"), piece("<0xE2>", b"\xe2")]);
        let read = Read { tokens: vec![5, 9], pieces, context: 64 };
        serde_json::to_value(TokenList::new(read, shown)).expect("plain")
    }

    #[test]
    fn the_forms_are_those_of_vllm_and_llama_cpp() {
        let plain = json!({"count": 2, "max_model_len": 64, "tokens": [5, 9]});
        assert_eq!(body(Shown::default()), plain);
        let names = body(Shown { names: true, pieces: false });
        assert_eq!(
            (&names["tokens"], &names["token_strs"]),
            (&json!([5, 9]), &json!(["a", "<0xE2>"]))
        );
        let pieces = body(Shown { names: false, pieces: true });
        let expected = json!([{"id": 5, "piece": "a"}, {"id": 9, "piece": [0xe2]}]);
        assert_eq!(pieces["tokens"], expected);
        let text = serde_json::to_value(Spelled::from("x".to_owned())).expect("plain");
        assert_eq!(text, json!({"prompt": "x", "content": "x"}));
    }
}
