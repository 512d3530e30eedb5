//! Vectors of texts.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Place;
use crate::common::Home;
use crate::common::refusal::check;

const MAKING: &str = "bert-mean";
const PATH: &str = "/v1/embeddings";

fn place() -> Place {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings");
    let model: PathBuf = folder.join(format!("{MAKING}.gguf"));
    Place::serving(Home::prepared(), &[model], &[])
}

/// OpenAI's own client does it in `test_case_01_…` in tests/clients/python/test_embeddings.py.
#[test]
fn case_01_vectors_come_in_base64_where_that_is_asked_for() {
    let place = place();
    let client = place.client();
    // As openai-python writes it, where nobody has said how vectors are to come.
    let body = json!({"input": ["t9 t10", "t11"], "model": MAKING, "encoding_format": "base64"});
    let packed = client.post(PATH, &body).expect(200);
    let plain =
        client.post(PATH, &json!({"input": ["t9 t10", "t11"], "model": MAKING})).expect(200);
    for place in 0..2 {
        let text = packed["data"][place]["embedding"].as_str().expect("a text");
        let bytes = STANDARD.decode(text).expect("base64");
        let numbers: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().expect("four")))
            .collect();
        let expected: Vec<f32> =
            serde_json::from_value(plain["data"][place]["embedding"].clone()).expect("numbers");
        assert_eq!((numbers.len(), bytes.len() % 4), (64, 0));
        assert_eq!(numbers, expected);
        assert_eq!(packed["data"][place]["index"], place);
        assert_eq!(packed["data"][place]["object"], "embedding");
    }
    assert_eq!(packed["usage"], plain["usage"]);
}

/// LangChain's own class does it in tests/clients/langchain.
#[test]
fn case_02_token_arrays_are_served_or_refused_and_never_answered_with_nothing() {
    let place = place();
    let client = place.client();
    let vectors = |input: Value| {
        let body = json!({"input": input, "model": MAKING, "encoding_format": "float"});
        let answer = client.post(PATH, &body).expect(200);
        let data = answer["data"].as_array().expect("a list").iter();
        data.map(|one| one["embedding"].clone()).collect::<Vec<_>>()
    };
    let texts = vectors(json!(["t9 t10", "t11"]));
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().all(|vector| vector.as_array().is_some_and(|it| it.len() == 64)));
    assert_eq!(vectors(json!([[9, 10], [11]])), texts);
    assert_eq!(vectors(json!([9, 10])), texts[..1]);
    for input in [
        json!([]),
        json!([[]]),
        json!([[9], []]),
        json!([""]),
        json!([[9.5]]),
        json!([-1]),
        json!([[4_000_000]]),
    ] {
        let body = json!({"input": input, "model": MAKING});
        let answer = client.post(PATH, &body);
        check(&input.to_string(), &answer, 400, "invalid_value");
        assert_eq!(answer.expect(400)["error"]["param"], "input", "{input}");
    }
}
