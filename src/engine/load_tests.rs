//! Loading: in parts, with progress, ended, and disturbed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::compute::Compute;
use super::decoder::Decoder;
use super::gguf::{File, ModelFiles, testing};
use super::*;

const GUIDE: &[u8] = include_bytes!("../../models/guide/guide.gguf");

fn options() -> EngineOptions {
    EngineOptions { kv_budget_bytes: 8 << 20, ..EngineOptions::default() }
}

fn load(weights: Weights) -> Result<Engine, LoadError> {
    Engine::load(weights, options(), &LoadProgress::new())
}

fn written(folder: &Path) -> PathBuf {
    let path = folder.join("guide.gguf");
    fs::write(&path, GUIDE).expect("write");
    path
}

/// A few tokens of a greedy answer.
fn says(engine: &Engine) -> String {
    let request = GenerationRequest::new(engine.tokenize("Strongroom is"), 12, Domain(1));
    let mut generation = engine.generate(request).expect("accepted");
    let mut said = String::new();
    while let Some(event) = generation.next_blocking() {
        if let GenerationEvent::Text { text, .. } = event {
            said.push_str(&text);
        }
    }
    said
}

#[test]
fn a_model_says_the_same_in_the_program_in_a_file_and_in_parts() {
    let folder = tempfile::tempdir().expect("folder");
    let path = written(folder.path());
    let embedded = load(Weights::Embedded(GUIDE)).expect("loads");
    let expected = says(&embedded);
    assert!(!expected.is_empty());
    let file = load(Weights::File(path)).expect("loads");
    assert_eq!(file.info(), embedded.info());
    assert_eq!(says(&file), expected);
    let parts = testing::split(GUIDE, 3).expect("a sound model");
    let path = |number: usize| folder.path().join(format!("guide-{number:05}-of-00003.gguf"));
    for (at, part) in parts.iter().enumerate() {
        fs::write(path(at + 1), part.finish()).expect("write");
    }
    for named in 1..=3 {
        let engine = load(Weights::File(path(named))).expect("loads");
        assert_eq!(engine.info().parameters, embedded.info().parameters);
        assert_eq!(says(&engine), expected);
    }
}

#[test]
fn every_byte_of_every_tensor_is_counted_once() {
    let folder = tempfile::tempdir().expect("folder");
    let progress = LoadProgress::new();
    assert_eq!(progress.bytes(), (0, 0));
    let path = written(folder.path());
    let all: usize =
        File::open(&path).expect("sound").tensors().iter().map(|tensor| tensor.bytes).sum();
    Engine::load(Weights::File(path), options(), &progress).expect("loads");
    assert_eq!(progress.bytes(), (all as u64, all as u64));
}

#[test]
fn a_load_that_nobody_wants_any_more_ends_within_a_piece() {
    let folder = tempfile::tempdir().expect("folder");
    let progress = LoadProgress::new();
    progress.cancel();
    let ended = Engine::load(Weights::File(written(folder.path())), options(), &progress);
    assert!(matches!(ended.err(), Some(LoadError::Cancelled)));
    let (done, total) = progress.bytes();
    // The embedding comes first.
    let first = File::from_static(GUIDE).expect("sound");
    let first = first.required_tensor("token_embd.weight").expect("there").bytes as u64;
    assert!(done <= first && first < total, "{done} of {total}");
}

#[test]
fn a_file_that_is_cut_short_or_written_to_while_it_loads_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let path = written(folder.path());
    let whole = fs::metadata(&path).expect("there").len();
    let writer = || fs::File::options().write(true).open(&path).expect("open");
    let error_after = |change: &dyn Fn()| {
        let file = File::open(&path).expect("sound");
        change();
        let spec = families::spec(&file, None).expect("a known shape");
        let vocabulary = file.required_tensor("token_embd.weight").expect("there").shape[0];
        let error =
            Decoder::load(&file, spec, vocabulary, Compute::Host, &LoadProgress::new()).err();
        fs::write(&path, GUIDE).expect("write");
        error.expect("refused").to_string()
    };
    for cut in [whole - 1, whole / 2, 10, 0] {
        let error = error_after(&|| writer().set_len(cut).expect("cut"));
        assert!(error.contains("changed while it was being read"), "{cut}: {error}");
    }
    let error = error_after(&|| writer().write_all_at(b"other", whole / 2).expect("written"));
    assert!(error.contains("changed while it was being read"), "{error}");
    // Opened before, as the library does to digest it.
    let files = ModelFiles::open(&path).expect("opens");
    writer().write_all_at(b"other", whole / 2).expect("written");
    let error = load(Weights::Opened(files)).err().expect("refused").to_string();
    assert!(error.contains("changed while it was being read"), "{error}");
}

#[test]
fn a_file_that_is_replaced_by_its_name_loads_as_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let path = written(folder.path());
    let files = ModelFiles::open(&path).expect("opens");
    fs::write(folder.path().join("new"), b"GGUF, but not really").expect("write");
    fs::rename(folder.path().join("new"), &path).expect("replaced");
    load(Weights::Opened(files)).expect("loads");
    assert!(load(Weights::File(path)).is_err());
}
