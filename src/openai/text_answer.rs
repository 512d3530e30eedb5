//! The answers of `/v1/embeddings` and `/v1/rerank`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

use super::text_request::{Encoding, Selection};
use crate::gate::{Embedded, Notice};

/// An answer with vectors.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EmbeddingList {
    object: &'static str,
    data: Vec<EmbeddingObject>,
    model: String,
    usage: TextUsage,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strongroom_notices: Vec<Notice>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Embedding")]
struct EmbeddingObject {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "EmbeddingVector")]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct TextUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// An answer with judgements, the best first.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Ranking {
    object: &'static str,
    id: String,
    model: String,
    results: Vec<Ranked>,
    usage: TextUsage,
    /// What the guard did; absent where it did nothing. An extension.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    strongroom_notices: Vec<Notice>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RankedDocument")]
struct Ranked {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DocumentText")]
struct Document {
    text: String,
}

impl EmbeddingList {
    pub(super) fn new(made: Embedded, encoding: Encoding) -> Self {
        let written = |vector: Vec<f32>| match encoding {
            Encoding::Float => Vector::Numbers(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Vector::Base64(STANDARD.encode(bytes))
            }
        };
        let data = made.vectors.into_iter().enumerate().map(|(index, vector)| EmbeddingObject {
            object: "embedding",
            index,
            embedding: written(vector),
        });
        Self {
            object: "list",
            data: data.collect(),
            model: made.model,
            usage: TextUsage { prompt_tokens: made.tokens, total_tokens: made.tokens },
            strongroom_notices: made.notices,
        }
    }
}

impl Ranking {
    /// Of equals, those that came first.
    pub(super) fn new(made: Embedded, selection: Selection) -> Self {
        let logit = |vector: &Vec<f32>| vector.first().copied().unwrap_or(f32::NEG_INFINITY);
        let mut order: Vec<(usize, f32)> = made.vectors.iter().map(logit).enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut documents = selection.documents;
        let results = order.into_iter().take(selection.top).map(|(index, logit)| Ranked {
            index,
            relevance_score: 1.0 / (1.0 + (-logit).exp()),
            document: documents
                .as_mut()
                .and_then(|all| all.get_mut(index))
                .map(|text| Document { text: std::mem::take(text) }),
        });
        Self {
            object: "list",
            id: format!("rerank-{}", hex::encode(made.id.as_bytes())),
            results: results.collect(),
            model: made.model,
            usage: TextUsage { prompt_tokens: made.tokens, total_tokens: made.tokens },
            strongroom_notices: made.notices,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::RequestId;

    fn made(vectors: &[&[f32]]) -> Embedded {
        Embedded {
            id: RequestId::new(),
            model: "m".into(),
            vectors: vectors.iter().map(|vector| vector.to_vec()).collect(),
            tokens: 7,
            notices: Vec::new(),
        }
    }

    #[test]
    fn vectors_have_the_published_form() {
        let usage = json!({"prompt_tokens": 7, "total_tokens": 7});
        let list = EmbeddingList::new(made(&[&[0.5, -1.0], &[0.1, 2.0]]), Encoding::Float);
        let text = serde_json::to_string(&list).expect("plain");
        // Numbers are as short as they can be, and no longer than what was computed.
        assert!(text.contains("[0.5,-1.0]") && text.contains("[0.1,2.0]"), "{text}");
        let list = EmbeddingList::new(made(&[&[1.0, -2.0]]), Encoding::Base64);
        assert_eq!(
            serde_json::to_value(list).expect("plain"),
            json!({"object": "list", "model": "m", "usage": usage, "data": [
                {"object": "embedding", "index": 0, "embedding": "AACAPwAAAMA="}]})
        );
    }

    #[test]
    fn the_best_come_first_and_only_so_many() {
        let documents = Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]);
        let selection = Selection { top: 2, documents };
        let ranking = Ranking::new(made(&[&[-1.0], &[0.0], &[3.0]]), selection);
        let body = serde_json::to_value(ranking).expect("plain");
        assert_eq!(body["results"].as_array().map(Vec::len), Some(2));
        assert_eq!(body["results"][0]["index"], 2);
        assert_eq!(body["results"][0]["document"], json!({"text": "c"}));
        assert_eq!(
            body["results"][1],
            json!({"index": 1, "relevance_score": 0.5,
            "document": {"text": "b"}})
        );
        let all = Selection { top: 9, documents: None };
        let body = serde_json::to_value(Ranking::new(made(&[&[1.0], &[1.0]]), all)).expect("plain");
        assert_eq!(body["results"][0]["index"], 0);
        assert!(body["results"][0].get("document").is_none());
    }
}
