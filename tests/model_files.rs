//! Model files come from somewhere else: cut short, damaged in every field of the header, or real.
//! A bad one is refused with a reason that names what is wrong, and keeps no other from serving.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{GUIDE, Home, Server, Session, guide_file, shared, skip, text, wait_for};
use serde_json::{Value, json};

/// A change to the bytes of a sound file, and what the refusal must say.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    says: &'static str,
}

#[test]
fn files_that_are_cut_short_are_refused_wherever_the_cut_is() {
    let whole = fs::read(guide_file()).expect("the guide is part of the repository");
    let at = |text: &str| find(&whole, text);
    let tensors = at("token_embd.weight");
    let cuts = [
        0,
        1,
        3,
        4,
        7,
        8,
        15,
        16,
        23,
        24,
        31,
        40,
        44,
        52,
        56,
        at("llama.context_length") + 3,
        at("llama.rope.freq_base") + 21,
        at("tokenizer.ggml.tokens") + 30,
        at("tokenizer.ggml.merges") + 40,
        at("tokenizer.chat_template") + 60,
        tensors + 4,
        tensors + 19,
        tensors + 30,
        tensors + 40,
        whole.len() / 2,
        whole.len() - 4096,
        whole.len() - 33,
    ];
    let home = Home::prepared();
    let files: Vec<PathBuf> =
        cuts.iter().map(|&cut| home.write(&format!("cut-{cut}.gguf"), &whole[..cut])).collect();
    let mut server = serve(&home, &files);
    let states = settled(&server.sign_in());
    for cut in cuts {
        let reason = reason_of(&states, &format!("cut-{cut}"));
        assert!(
            ["early", "empty", "does not begin"].iter().any(|word| reason.contains(word)),
            "cut at {cut}: {reason}"
        );
    }
    answers(&server, &home, GUIDE);
    server.assert_alive();
}

#[test]
fn files_that_are_damaged_in_the_header_are_refused_with_the_field_at_fault() {
    let whole = fs::read(guide_file()).expect("the guide is part of the repository");
    let cases = header_cases(&whole).into_iter().chain(value_cases(&whole));
    let cases: Vec<Case> = cases.chain(tensor_cases(&whole)).collect();
    let home = Home::prepared();
    let files: Vec<PathBuf> =
        cases.iter().map(|case| home.write(&format!("{}.gguf", case.name), &case.bytes)).collect();
    let mut server = serve(&home, &files);
    let states = settled(&server.sign_in());
    let mut wrong = Vec::new();
    for case in &cases {
        let (state, reason) = state_of(&states, case.name);
        if state != "failed" || !reason.contains(case.says) {
            wrong.push(format!("{}: {state}, `{reason}` should say `{}`", case.name, case.says));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    answers(&server, &home, GUIDE);
    // Asked for, a model that cannot be served says so, and shows no path.
    let client = server.with_key(&home.key());
    let body = json!({"model": "magic", "messages": [{"role": "user", "content": "hello"}]});
    let answer = client.post("/v1/chat/completions", &body);
    assert!(matches!(answer.status, 404 | 503), "{}", answer.text());
    assert!(!answer.text().contains(text(&home.data())), "{}", answer.text());
    server.assert_alive();
}

#[test]
fn files_that_are_no_models_are_refused() {
    let home = Home::prepared();
    let empty = home.write("empty.gguf", "");
    let prose = home.write("prose.gguf", "It was a dark and stormy night.\n".repeat(1000));
    let zeros = home.write("zeros.gguf", vec![0_u8; 1 << 20]);
    let folder = home.path("folder.gguf");
    fs::create_dir(&folder).expect("the directory can be written");
    let missing = home.path("missing.gguf");
    let mut server = serve(&home, &[empty, prose, zeros, folder, missing]);
    let states = settled(&server.sign_in());
    for name in ["empty", "prose", "zeros", "folder", "missing"] {
        assert!(!reason_of(&states, name).is_empty());
    }
    assert!(reason_of(&states, "prose").contains("not a GGUF file"));
    assert!(reason_of(&states, "missing").contains("No such file"));
    answers(&server, &home, GUIDE);
    server.assert_alive();
}

#[test]
fn a_real_model_that_nobody_here_made_answers() {
    let Some(shared) = shared() else {
        skip(
            "a_real_model_that_nobody_here_made_answers",
            "set STRONGROOM_SHARED to the folder of shared data",
        );
        return;
    };
    let home = Home::prepared();
    for (file, name) in [
        ("stories260K/stories260K.gguf", "stories260K"),
        ("babyllama-tok105/babyllama.gguf", "babyllama"),
    ] {
        let path = shared.join("data/weights").join(file);
        let server = Server::start_with(&home, &["--model", text(&path)]);
        settled(&server.sign_in());
        let said = answers(&server, &home, name);
        assert!(said.split_whitespace().count() > 5, "{name} tells a story: {said}");
        assert!(server.stop().success());
    }
}

/// Changes to the 24 bytes that begin a file, and to the first key.
fn header_cases(whole: &[u8]) -> Vec<Case> {
    let tensors = u64::from_le_bytes(whole[8..16].try_into().expect("eight bytes"));
    let keys = u64::from_le_bytes(whole[16..24].try_into().expect("eight bytes"));
    let put = |name, at, bytes: &[u8], says| patched(name, whole, at, bytes, says);
    vec![
        put("magic", 0, b"GGML", "GGUF"),
        put("version-0", 4, &0_u32.to_le_bytes(), "version 0"),
        put("version-1", 4, &1_u32.to_le_bytes(), "version 1"),
        put("version-4", 4, &4_u32.to_le_bytes(), "version 4"),
        put("version-all", 4, &u32::MAX.to_le_bytes(), "version"),
        put("big-endian", 4, &3_u32.to_be_bytes(), "big-endian"),
        put("tensors-0", 8, &0_u64.to_le_bytes(), ""),
        put("tensors-more", 8, &(tensors + 1).to_le_bytes(), ""),
        put("tensors-fewer", 8, &(tensors - 1).to_le_bytes(), ""),
        put("tensors-all", 8, &u64::MAX.to_le_bytes(), "tensor"),
        put("keys-0", 16, &0_u64.to_le_bytes(), ""),
        put("keys-more", 16, &(keys + 1).to_le_bytes(), ""),
        put("keys-fewer", 16, &(keys - 1).to_le_bytes(), ""),
        put("keys-all", 16, &u64::MAX.to_le_bytes(), "key"),
        put("key-length-0", 24, &0_u64.to_le_bytes(), ""),
        put("key-length-all", 24, &u64::MAX.to_le_bytes(), "key"),
        put("key-not-text", 32, &[0xff, 0xfe], ""),
    ]
}

/// Changes to the values of keys.
fn value_cases(whole: &[u8]) -> Vec<Case> {
    let put = |name, key, bytes: &[u8], says| {
        patched(name, whole, find(whole, key) + key.len() + 4, bytes, says)
    };
    let kind = |name, key: &str, kind: u32, says| {
        patched(name, whole, find(whole, key) + key.len(), &kind.to_le_bytes(), says)
    };
    let number = |value: u32| value.to_le_bytes();
    let all = u64::MAX.to_le_bytes();
    vec![
        kind("kind-99", "llama.context_length", 99, "llama.context_length"),
        kind("kind-text", "llama.block_count", 8, ""),
        put("text-without-end", "general.architecture", &all, "general.architecture"),
        patched("architecture", whole, find(whole, "general.architecture") + 32, b"alien", "alien"),
        put("context-0", "llama.context_length", &number(0), "context_length"),
        put("width-0", "llama.embedding_length", &number(0), "embedding_length"),
        put("width-odd", "llama.embedding_length", &number(255), ""),
        put("width-all", "llama.embedding_length", &number(u32::MAX), "embedding_length"),
        put("blocks-0", "llama.block_count", &number(0), "block_count"),
        put("blocks-more", "llama.block_count", &number(7), "blk.6"),
        put("blocks-all", "llama.block_count", &number(u32::MAX), "block_count"),
        put("inner-0", "llama.feed_forward_length", &number(0), "feed_forward_length"),
        put("inner-other", "llama.feed_forward_length", &number(705), ""),
        put("heads-0", "llama.attention.head_count", &number(0), "head_count"),
        put("heads-7", "llama.attention.head_count", &number(7), ""),
        put("heads-all", "llama.attention.head_count", &number(u32::MAX), "head_count"),
        put("kv-heads-0", "llama.attention.head_count_kv", &number(0), "head_count_kv"),
        put("kv-heads-3", "llama.attention.head_count_kv", &number(3), "head"),
        put("rope-odd", "llama.rope.dimension_count", &number(31), "dimension_count"),
        put("rope-all", "llama.rope.dimension_count", &number(u32::MAX), "dimension_count"),
        put("base-0", "llama.rope.freq_base", &0_f32.to_le_bytes(), "freq_base"),
        put("base-nan", "llama.rope.freq_base", &f32::NAN.to_le_bytes(), "freq_base"),
        put(
            "epsilon-nan",
            "llama.attention.layer_norm_rms_epsilon",
            &f32::NAN.to_le_bytes(),
            "epsilon",
        ),
        put(
            "epsilon-below",
            "llama.attention.layer_norm_rms_epsilon",
            &(-1_f32).to_le_bytes(),
            "epsilon",
        ),
        put("tokenizer", "tokenizer.ggml.model", &[5, 0, 0, 0, 0, 0, 0, 0], ""),
        put("tokens-of-99", "tokenizer.ggml.tokens", &number(99), "tokenizer.ggml.tokens"),
        patched(
            "tokens-all",
            whole,
            find(whole, "tokenizer.ggml.tokens") + 29,
            &all,
            "tokenizer.ggml.tokens",
        ),
        patched(
            "types-fewer",
            whole,
            find(whole, "tokenizer.ggml.token_type") + 33,
            &4095_u64.to_le_bytes(),
            "",
        ),
        put("flag-of-7", "tokenizer.ggml.add_bos_token", &[7], ""),
    ]
}

/// Changes to the directory of tensors.
fn tensor_cases(whole: &[u8]) -> Vec<Case> {
    let name = find(whole, "token_embd.weight");
    let after = name + "token_embd.weight".len();
    let put = |name, at, bytes: &[u8], says| patched(name, whole, at, bytes, says);
    let number = |value: u32| value.to_le_bytes();
    let long = |value: u64| value.to_le_bytes();
    vec![
        put("tensor-name-all", name - 8, &long(u64::MAX), ""),
        put("tensor-name-other", name, b"token_embX", "token_embd.weight"),
        put("tensor-dims-0", after, &number(0), "token_embd.weight"),
        put("tensor-dims-99", after, &number(99), "token_embd.weight"),
        put("tensor-size-0", after + 4, &long(0), "token_embd.weight"),
        put("tensor-size-odd", after + 4, &long(255), "token_embd.weight"),
        put("tensor-size-all", after + 4, &long(u64::MAX), "token_embd.weight"),
        put("tensor-size-wraps", after + 12, &long(1 << 56), "token_embd.weight"),
        put("tensor-size-other", after + 12, &long(4095), ""),
        put("tensor-kind-99", after + 20, &number(99), "token_embd.weight"),
        put("tensor-kind-gone", after + 20, &number(4), "token_embd.weight"),
        put("tensor-place-odd", after + 24, &long(1), "token_embd.weight"),
        put("tensor-place-beyond", after + 24, &long(1 << 40), "token_embd.weight"),
        put("tensor-place-all", after + 24, &long(u64::MAX - 31), "token_embd.weight"),
    ]
}

fn patched(name: &'static str, whole: &[u8], at: usize, bytes: &[u8], says: &'static str) -> Case {
    let mut changed = whole.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    Case { name, bytes: changed, says }
}

fn find(whole: &[u8], text: &str) -> usize {
    let place = whole.windows(text.len()).position(|window| window == text.as_bytes());
    place.unwrap_or_else(|| panic!("{text} is in the file"))
}

fn serve(home: &Home, files: &[PathBuf]) -> Server {
    let mut arguments = vec!["--set".to_owned(), format!("models.default={GUIDE}")];
    for file in files {
        arguments.extend(["--model".to_owned(), text(file).to_owned()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Server::start_with(home, &arguments)
}

/// What became of every model, once nothing is being loaded any more.
fn settled(session: &Session) -> Vec<Value> {
    let mut models = Vec::new();
    wait_for("every model to be loaded or refused", || {
        let listed = session.client.get("/api/admin/models").expect(200);
        listed["models"].as_array().expect("a list").clone_into(&mut models);
        models.iter().all(|model| model["state"] != "loading")
    });
    models
}

fn state_of(models: &[Value], name: &str) -> (String, String) {
    let found = models.iter().find(|model| model["id"] == name);
    let model = found.unwrap_or_else(|| panic!("{name} is listed"));
    let field = |name: &str| model[name].as_str().unwrap_or_default().to_owned();
    (field("state"), field("reason"))
}

fn reason_of(models: &[Value], name: &str) -> String {
    let (state, reason) = state_of(models, name);
    assert_eq!(state, "failed", "{name}");
    assert!(!Path::new(&reason).is_absolute() && !reason.contains("/tmp"), "{name}: {reason}");
    reason
}

/// Lets a model go on with a text, and gives what it said.
fn answers(server: &Server, home: &Home, model: &str) -> String {
    let body = json!({"model": model, "prompt": "Once upon a time", "max_tokens": 40,
        "temperature": 0});
    let answer = server.with_key(&home.key()).post("/v1/completions", &body).expect(200);
    let said = answer["choices"][0]["text"].as_str().expect("text").to_owned();
    assert!(!said.trim().is_empty());
    said
}
