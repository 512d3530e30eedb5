//! A real model, made elsewhere, along the whole road.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod several;

use super::error::ModelsError;
use super::{Library, LibraryOptions, LibraryParts};
use crate::access::{Binder, Caller, Registry, Via};
use crate::engine::{EngineOptions, Message, Role};
use crate::gate::testing::{House, Scripted, Then, caller, request};
use crate::gate::{
    Catalog, Ending, ExchangeEvent, ExchangeHandle, ExchangeRequest, Input, ModelState, Purpose,
};
use crate::testing::shared;

/// Opens a library off the runtime, as at the start of the server.
async fn open(house: &House, options: LibraryOptions) -> Result<Library, ModelsError> {
    let parts = LibraryParts {
        db: house.db.clone(),
        audit: house.audit.clone(),
        clock: house.clock.clone(),
        registry: Arc::new(Registry::new(Duration::from_hours(1))),
        binder: Binder::new(&house.vault),
    };
    let open = move || Library::open(parts, options);
    tokio::task::spawn_blocking(open).await.expect("runs")
}

/// The operator at the console.
fn console() -> Caller {
    Caller { via: Via::System, ..caller() }
}

async fn library(house: &House, files: Vec<PathBuf>) -> Library {
    let engine = EngineOptions { kv_budget_bytes: 8 << 20, ..EngineOptions::default() };
    let aliases = [("gpt-4o".to_owned(), "stories260K".to_owned())].into();
    let options = LibraryOptions { files, aliases, engine, ..LibraryOptions::default() };
    open(house, options).await.expect("opens")
}

async fn loaded(library: &Library, name: &str) -> ModelState {
    library.load_in_background().expect("starts");
    for _ in 0..1_000 {
        let state = library.find(Some(name)).expect("there").state.clone();
        if state != ModelState::Loading {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the model is not loaded");
}

async fn read_all(mut handle: ExchangeHandle) -> (String, Option<ExchangeEvent>) {
    let (mut text, mut last) = (String::new(), None);
    while let Some(event) = handle.next().await {
        if let ExchangeEvent::Text { text: piece, .. } = &event {
            text.push_str(piece);
        }
        last = Some(event);
    }
    (text, last)
}

#[tokio::test]
async fn a_real_model_answers_along_the_whole_road() {
    let Some(file) = shared("weights/stories260K/stories260K.gguf") else { return };
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let library = library(&house, vec![file]).await;
    assert_eq!(loaded(&library, "stories260K").await, ModelState::Ready);
    assert_eq!(house.events().await, ["model.load done"]);
    let house = house.with_catalog(Arc::new(library.clone()));
    let asked =
        ExchangeRequest { max_tokens: Some(24), ..request("Once upon a time, there was a") };
    let first = read_all(house.gate.run(&caller(), asked.clone()).await.expect("passes")).await;
    assert!(matches!(first.1, Some(ExchangeEvent::Finished { ending: Ending::Length, usage })
        if usage.completion_tokens == 24));
    assert!(first.0.split_whitespace().count() > 5, "{}", first.0);
    let by_alias = ExchangeRequest { model: Some("gpt-4o".into()), ..asked };
    let again = house.gate.run(&caller(), by_alias).await.expect("passes");
    assert_eq!(again.model, "stories260K");
    assert_eq!(read_all(again).await.0, first.0, "greedy answers repeat");

    let talk = |content: String| ExchangeRequest {
        purpose: Purpose::Chat,
        input: Input::Conversation(vec![Message::new(Role::User, content)].into()),
        ..request("")
    };
    let answer = house.gate.run(&caller(), talk("Hello".into())).await.expect("passes");
    assert!(!read_all(answer).await.0.is_empty());
    assert!(house.gate.run(&caller(), talk("word ".repeat(5_000))).await.is_err());
    let mut left = house.gate.run(&caller(), request("Once")).await.expect("passes");
    left.next().await;
    drop(left);
    house.gate.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_file_that_is_no_model_fails_with_a_reason_and_on_record() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let file = house.dir.path().join("stories260K.gguf");
    std::fs::write(&file, b"GGUF but not really").expect("writes");
    let library = library(&house, vec![file]).await;
    let ModelState::Failed(reason) = loaded(&library, "stories260K").await else {
        panic!("it was loaded")
    };
    assert!(!reason.is_empty() && !reason.contains('/'), "{reason}");
    assert_eq!(house.events().await, ["model.load failed"]);
}

#[tokio::test]
async fn who_may_use_a_model_is_kept_across_restarts() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let files = || vec![PathBuf::from("/nowhere/stories260K.gguf")];
    let first = library(&house, files()).await;
    let console = console();
    let roles = Some(vec!["owner".to_owned()]);
    first.set_access("stories260K", roles.clone(), &console).await.expect("sets");
    assert_eq!(library(&house, files()).await.all()[0].roles, roles);
    assert!(!first.all()[0].is_open_to(&caller()));
    first.set_access("stories260K", None, &console).await.expect("opens");
    assert!(library(&house, files()).await.all()[0].is_open_to(&caller()));
}

#[tokio::test]
async fn the_default_is_the_named_model_else_the_first_file_else_the_guide() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    for (files, default, expected) in [
        (vec![], "", Some("guide")),
        (vec!["/m/a.gguf", "/m/b.gguf"], "", Some("a")),
        (vec!["/m/a.gguf", "/m/b.gguf"], "b", Some("b")),
        (vec!["/m/a.gguf"], "guide", Some("guide")),
        (vec!["/m/a.gguf"], "c", None),
    ] {
        let options = LibraryOptions {
            files: files.iter().map(PathBuf::from).collect(),
            guide: Some(b"x"),
            default: default.into(),
            ..LibraryOptions::default()
        };
        let found = open(&house, options).await;
        let name = found.ok().and_then(|library| Some(library.find(None)?.name.clone()));
        assert_eq!(name.as_deref(), expected);
    }
}

#[test]
fn the_built_in_guide_is_the_one_of_its_manifest() {
    use sha2::{Digest, Sha256};
    let manifest = include_str!("../../models/guide/manifest.toml");
    let manifest: toml::Table = manifest.parse().expect("models/guide/manifest.toml");
    let digest = hex::encode(Sha256::digest(super::GUIDE_BYTES));
    assert_eq!(manifest["sha256"].as_str(), Some(digest.as_str()));
    assert_eq!(manifest["bytes"].as_integer(), i64::try_from(super::GUIDE_BYTES.len()).ok());
}
