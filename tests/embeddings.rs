//! Embeddings and rankings from outside: the real binary with small models of each kind, which
//! tests/engine/make_embeddings.py made.

mod common;

use std::path::{Path, PathBuf};

use common::{Client, GUIDE, Home, Server, text};
use serde_json::{Value, json};

const EMBEDDING: &str = "bert-mean";
const NESTED: &str = "qwen3-embedding";
const RERANKER: &str = "bert-rank";

fn file(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings");
    folder.join(format!("{name}.gguf"))
}

/// A server with a model of each kind; the guide is the default.
fn serve(home: &Home, more: &[&str]) -> Server {
    let files = [EMBEDDING, NESTED, RERANKER].map(file);
    let mut arguments = vec!["--set", "models.default=guide"];
    for file in &files {
        arguments.extend(["--model", text(file)]);
    }
    arguments.extend(more);
    let server = Server::start_with(home, &arguments);
    // The guide is read last.
    server.wait_until(200);
    server
}

fn numbers(vector: &Value) -> Vec<f64> {
    let numbers = vector.as_array().expect("a list").iter();
    numbers.map(|x| x.as_f64().expect("a number")).collect()
}

fn embed(client: &Client, body: &Value) -> Value {
    client.post("/v1/embeddings", body).expect(200)
}

#[test]
fn texts_become_vectors_alone_and_in_lists() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let list = embed(&client, &json!({"model": EMBEDDING, "input": ["t9 t10", "t11", "t9 t10"]}));
    assert_eq!((&list["object"], &list["model"]), (&json!("list"), &json!(EMBEDDING)));
    let vectors: Vec<Vec<f64>> = list["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| numbers(&one["embedding"]))
        .collect();
    assert_eq!(vectors.len(), 3);
    assert_eq!(vectors[0].len(), 64);
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);
    let length: f64 = vectors[0].iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    // Two around each text.
    assert_eq!(list["usage"], json!({"prompt_tokens": 11, "total_tokens": 11}));
    let alone = embed(&client, &json!({"model": EMBEDDING, "input": "t9 t10"}));
    assert_eq!(alone["data"][0]["embedding"], list["data"][0]["embedding"], "the same bits");
    let tokens = embed(&client, &json!({"model": EMBEDDING, "input": [[9, 10], [11]]}));
    assert_eq!(tokens["data"][0]["embedding"], list["data"][0]["embedding"]);
    // Without a model, the first that makes vectors.
    let unnamed = embed(&client, &json!({"input": "t11"}));
    assert_eq!(unnamed["model"], EMBEDDING);
    // A vector that may be cut is cut, and of length 1 again.
    let whole = embed(&client, &json!({"model": NESTED, "input": "abc"}));
    let cut = embed(&client, &json!({"model": NESTED, "input": "abc", "dimensions": 32}));
    let (whole, cut) =
        (numbers(&whole["data"][0]["embedding"]), numbers(&cut["data"][0]["embedding"]));
    let scale = whole[..32].iter().map(|x| x * x).sum::<f64>().sqrt();
    assert_eq!((whole.len(), cut.len()), (64, 32));
    assert!(cut.iter().zip(&whole).all(|(a, b)| (a - b / scale).abs() < 1e-6));
}

#[test]
fn what_a_model_is_not_for_is_refused_by_name() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let said = json!([{"role": "user", "content": "t9"}]);
    let long = "t9 ".repeat(200);
    for (path, body, code, param) in [
        (
            "chat/completions",
            json!({"model": EMBEDDING, "messages": said}),
            "invalid_value",
            "model",
        ),
        ("completions", json!({"model": RERANKER, "prompt": "t9"}), "invalid_value", "model"),
        ("embeddings", json!({"model": GUIDE, "input": "t9"}), "invalid_value", "model"),
        ("embeddings", json!({"model": RERANKER, "input": "t9"}), "invalid_value", "model"),
        ("embeddings", json!({"model": "none", "input": "t9"}), "model_not_found", "model"),
        ("embeddings", json!({"model": EMBEDDING}), "invalid_request", "input"),
        ("embeddings", json!({"model": EMBEDDING, "input": []}), "invalid_value", "input"),
        ("embeddings", json!({"model": EMBEDDING, "input": [4_000]}), "invalid_value", "input"),
        (
            "embeddings",
            json!({"model": EMBEDDING, "input": "t9", "dimensions": 32}),
            "invalid_value",
            "dimensions",
        ),
        (
            "embeddings",
            json!({"model": EMBEDDING, "input": ["t9", long]}),
            "context_length_exceeded",
            "input",
        ),
        (
            "rerank",
            json!({"model": EMBEDDING, "query": "t9", "documents": ["t9"]}),
            "invalid_value",
            "model",
        ),
        (
            "rerank",
            json!({"model": RERANKER, "query": long, "documents": ["t9"], "truncate": true}),
            "context_length_exceeded",
            "documents",
        ),
        ("rerank", json!({"model": RERANKER, "query": "t9"}), "invalid_request", "documents"),
    ] {
        let answer = client.post(&format!("/v1/{path}"), &body);
        assert_eq!(answer.code(), code, "{path}: {}", answer.text());
        let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(body["error"]["param"], param, "{path}: {body}");
    }
    let cut = json!({"model": EMBEDDING, "input": ["t9", long], "truncate": true});
    assert_eq!(embed(&client, &cut)["usage"]["prompt_tokens"], 3 + 128);
    for (name, kind, can) in [
        (EMBEDDING, "embedding", json!(["embeddings"])),
        (RERANKER, "reranker", json!(["rerank"])),
        (GUIDE, "chat", json!(["chat", "completions", "logprobs", "tools", "json_schema"])),
    ] {
        let model = client.get(&format!("/v1/models/{name}")).expect(200);
        assert_eq!(model["strongroom"]["kind"], kind);
        assert_eq!(model["strongroom"]["capabilities"], can);
    }
}

#[test]
fn documents_are_ranked_the_best_first() {
    let home = Home::prepared();
    let server = serve(&home, &[]);
    let client = server.with_key(&home.key());
    let body = json!({"model": RERANKER, "query": "t9 t10", "return_documents": true,
        "documents": ["t11 t12", {"text": "t200 t13 t77"}, "t31", ""]});
    let ranking = client.post("/v1/rerank", &body).expect(200);
    let results = ranking["results"].as_array().expect("a list");
    let scores: Vec<f64> =
        results.iter().map(|one| one["relevance_score"].as_f64().expect("a number")).collect();
    assert_eq!(scores.len(), 4);
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    let mut places: Vec<u64> =
        results.iter().map(|one| one["index"].as_u64().expect("one")).collect();
    let texts = ["t11 t12", "t200 t13 t77", "t31", ""];
    for one in results {
        let place = usize::try_from(one["index"].as_u64().expect("one")).expect("small");
        assert_eq!(one["document"]["text"], texts[place]);
    }
    places.sort_unstable();
    assert_eq!(places, [0, 1, 2, 3]);
    let mut best = body.clone();
    best["top_n"] = json!(1);
    best["return_documents"] = json!(false);
    let best = client.post("/v1/rerank", &best).expect(200);
    let mut expected = results[0].clone();
    expected.as_object_mut().expect("an object").remove("document");
    assert_eq!(best["results"], json!([expected]));
}

#[test]
fn they_take_the_same_road_as_every_request() {
    let home = Home::prepared();
    let server = serve(&home, &["--set", "limits.person.tokens_per_day=40"]);
    let client = server.with_key(&home.key());
    let secret = "t9 t10 t11";
    embed(&client, &json!({"model": EMBEDDING, "input": secret}));
    let ranking = json!({"model": RERANKER, "query": "t9", "documents": ["t10", "t11"]});
    client.post("/v1/rerank", &ranking).expect(200);
    // 5 and 10 tokens are gone of 40.
    let much = json!({"model": EMBEDDING, "input": ["t9 ".repeat(30)]});
    assert_eq!(client.post("/v1/embeddings", &much).code(), "insufficient_quota");
    let session = server.sign_in();
    let ends = session.client.get("/api/admin/audit?action=generation.end").expect(200);
    let ends = ends.to_string();
    assert!(ends.contains("embeddings") && ends.contains("rerank"), "{ends}");
    let all = session.client.get("/api/admin/audit").expect(200).to_string();
    assert!(!all.contains(secret) && !server.log().contains(secret));
    // Whoever may not use a model is told that it is not there.
    let change = json!({"roles": ["auditor"]});
    session
        .client
        .send("PATCH", &format!("/api/admin/models/{EMBEDDING}"), Some(&change))
        .expect(200);
    let refused = client.post("/v1/embeddings", &json!({"model": EMBEDDING, "input": "t9"}));
    assert_eq!(refused.code(), "model_not_found");
    let scraper = json!({"name": "prometheus", "scopes": ["metrics.read"]});
    let (_, scraper) = session.make_key(&scraper);
    let numbers = server.with_key(&scraper).get("/metrics");
    assert!(numbers.text().contains("purpose=\"embeddings\""), "{}", numbers.text());
}
