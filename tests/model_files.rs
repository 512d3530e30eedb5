//! Model files come from somewhere else: cut short, damaged in every field of the header, or real.
//! A bad one is refused with a reason that names what is wrong, and keeps no other from serving.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::damaged::{
    Case, alignment_cases, find, harmless_cases, header_cases, template_cases, tensor_cases,
    value_cases, word_cases,
};
use common::{GUIDE, Home, Server, Session, guide_file, shared, skip, text, wait_for};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strongroom::engine::gguf::testing::{self, Writer};

#[test]
fn class_01_files_that_are_cut_short_are_refused_wherever_the_cut_is() {
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
fn class_01_files_that_are_damaged_in_the_header_are_refused_with_the_field_at_fault() {
    let whole = fs::read(guide_file()).expect("the guide is part of the repository");
    let cases = header_cases(&whole).into_iter().chain(value_cases(&whole));
    let cases = cases.chain(word_cases(&whole)).chain(alignment_cases(&whole));
    let cases: Vec<Case> = cases.chain(tensor_cases(&whole)).collect();
    let home = Home::prepared();
    let mut server = serve(&home, &written(&home, &cases));
    let states = settled(&server.sign_in());
    let mut wrong = Vec::new();
    for case in &cases {
        let (state, reason) = state_of(&states, case.name);
        if case.says.is_empty() {
            eprintln!("SAY {}: {state}: {reason}", case.name);
        }
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
fn values_that_contradict_what_is_known_anyway_change_no_answer() {
    let whole = fs::read(guide_file()).expect("the guide is part of the repository");
    let cases = harmless_cases(&whole);
    let home = Home::prepared();
    let mut server = serve(&home, &written(&home, &cases));
    let states = settled(&server.sign_in());
    let client = server.with_key(&home.key());
    let said = |model: &str| {
        let body = json!({"model": model, "max_tokens": 60, "temperature": 0,
            "messages": [{"role": "user", "content": "What is Strongroom?"}]});
        let answer = client.post("/v1/chat/completions", &body).expect(200);
        (answer["choices"][0].clone(), answer["usage"]["prompt_tokens"].clone())
    };
    let expected = said(GUIDE);
    assert_eq!(expected.0["finish_reason"], "stop");
    for case in &cases {
        assert_eq!(state_of(&states, case.name), ("ready".to_owned(), String::new()));
        assert_eq!(said(case.name), expected, "{}", case.name);
    }
    server.assert_alive();
}

#[test]
fn a_model_without_a_sound_chat_template_goes_on_with_texts_and_refuses_chats() {
    let whole = fs::read(guide_file()).expect("the guide is part of the repository");
    let cases = template_cases(&whole);
    let home = Home::prepared();
    let mut server = serve(&home, &written(&home, &cases));
    settled(&server.sign_in());
    let client = server.with_key(&home.key());
    let expected = answers(&server, &home, GUIDE);
    for case in &cases {
        let body = json!({"model": case.name, "messages": [{"role": "user", "content": "hello"}]});
        let refused = client.post("/v1/chat/completions", &body);
        assert!(matches!(refused.status, 400 | 503), "{}: {}", case.name, refused.text());
        assert!(refused.text().contains("template"), "{}: {}", case.name, refused.text());
        assert_eq!(answers(&server, &home, case.name), expected, "{}", case.name);
    }
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
    for (name, says) in [
        ("empty", "cannot read the model file: the file is empty."),
        ("prose", "this is not a GGUF file: it does not begin with \"GGUF\""),
        ("zeros", "this is not a GGUF file: it does not begin with \"GGUF\""),
        ("folder", "The file cannot be read: it is not a regular file."),
        ("missing", "The file cannot be read: No such file or directory (os error 2)."),
    ] {
        let reason = reason_of(&states, name);
        assert!(reason.contains(says), "{name}: {reason}");
    }
    answers(&server, &home, GUIDE);
    server.assert_alive();
}

#[test]
fn a_model_in_parts_is_one_model_by_one_name_and_one_digest() {
    let whole: &'static [u8] = fs::read(guide_file()).expect("part of the repository").leak();
    let parts = testing::split(whole, 3).expect("a sound model");
    let home = Home::prepared();
    let write = |name: &str, number: usize| {
        let name = format!("{name}-{number:05}-of-00003.gguf");
        home.write(&name, parts[number - 1].finish())
    };
    let files: Vec<PathBuf> = (1..=3).map(|number| write("parted", number)).collect();
    let broken = write("broken", 2);
    write("broken", 3);
    let mut server = serve(&home, &[files[1].clone(), broken]);
    let states = settled(&server.sign_in());
    assert_eq!(state_of(&states, "parted"), ("ready".to_owned(), String::new()));
    assert_eq!(answers(&server, &home, "parted"), answers(&server, &home, GUIDE));
    let all: Vec<u8> = files.iter().flat_map(|file| fs::read(file).expect("there")).collect();
    let parted = states.iter().find(|model| model["id"] == "parted").expect("listed");
    assert_eq!(parted["sha256"], hex::encode(Sha256::digest(&all)));
    assert_eq!(parted["file_bytes"], all.len());
    let reason = reason_of(&states, "broken");
    assert!(reason.contains("\"broken-00001-of-00003.gguf\" cannot be opened"), "{reason}");
    server.assert_alive();
}

#[test]
fn a_model_in_memory_takes_what_its_file_does() {
    const MIB: usize = 1 << 20;
    let home = Home::prepared();
    let before = {
        let server = serve(&home, &[]);
        settled(&server.sign_in());
        let resident = server.resident_mib();
        assert!(server.stop().success());
        resident
    };
    let (file, bytes) = large_model();
    assert!(bytes > 128 * MIB);
    let file = home.write("large.gguf", file);
    let server = serve(&home, &[file]);
    let states = settled(&server.sign_in());
    assert_eq!(state_of(&states, "large"), ("ready".to_owned(), String::new()));
    let taken = server.resident_mib().saturating_sub(before) as usize;
    let tensors = bytes / MIB;
    // What the allocator keeps of the pieces that were on their way is a part of it, and no two starts
    // take the very same.
    assert!(taken + 8 >= tensors, "{taken} MiB for {tensors} MiB of weights");
    assert!(taken <= tensors * 105 / 100 + 8, "{taken} MiB for {tensors} MiB of weights");
    assert!(server.stop().success());
}

/// A sound model of F16 with all weights zero, and how many bytes they are.
fn large_model() -> (Vec<u8>, usize) {
    const WIDTH: usize = 1024;
    const HIDDEN: usize = 4096;
    let tokens = 4_096;
    let mut bytes = 0;
    let names: Vec<String> = (0..tokens).map(|number| format!("t{number}")).collect();
    let mut writer = Writer::new()
        .string("general.architecture", "llama")
        .u32("llama.block_count", 6)
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", WIDTH as u32)
        .u32("llama.feed_forward_length", HIDDEN as u32)
        .u32("llama.attention.head_count", 8)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &names)
        .f32s("tokenizer.ggml.scores", &vec![0.0; tokens]);
    let mut add = |name: &str, shape: &[usize], code: u32, width: usize| {
        let size = shape.iter().product::<usize>() * width;
        bytes += size;
        let taken = std::mem::take(&mut writer);
        writer = taken.tensor(name, shape, code, &vec![0; size]);
    };
    add("token_embd.weight", &[tokens, WIDTH], 1, 2);
    add("output_norm.weight", &[WIDTH], 0, 4);
    for layer in 0..6 {
        for norm in ["attn_norm", "ffn_norm"] {
            add(&format!("blk.{layer}.{norm}.weight"), &[WIDTH], 0, 4);
        }
        for part in ["attn_q", "attn_k", "attn_v", "attn_output"] {
            add(&format!("blk.{layer}.{part}.weight"), &[WIDTH, WIDTH], 1, 2);
        }
        for (part, shape) in [
            ("ffn_gate", [HIDDEN, WIDTH]),
            ("ffn_up", [HIDDEN, WIDTH]),
            ("ffn_down", [WIDTH, HIDDEN]),
        ] {
            add(&format!("blk.{layer}.{part}.weight"), &shape, 1, 2);
        }
    }
    (writer.finish(), bytes)
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

fn written(home: &Home, cases: &[Case]) -> Vec<PathBuf> {
    cases.iter().map(|case| home.write(&format!("{}.gguf", case.name), &case.bytes)).collect()
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
