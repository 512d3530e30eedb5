//! More than one model: on demand, idle, out of room, cancelled, read anew, found in a directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{console, open, read_all};
use crate::config::{LoadWhen, ModelLimits};
use crate::engine::EngineOptions;
use crate::gate::testing::{House, Scripted, Then, caller, request};
use crate::gate::{Catalog, ExchangeRequest, GateError, Model, ModelState, Setback, Way};
use crate::models::error::ModelsError;
use crate::models::{GUIDE_BYTES, Library, LibraryOptions, Rules};

/// A house with a models directory in it.
struct Place {
    house: House,
    library: Library,
    models: PathBuf,
}

const DEMAND: Rules = Rules { load: LoadWhen::Demand, idle: None, answer_tokens_max: None };

fn write(models: &Path, name: &str) {
    std::fs::write(models.join(format!("{name}.gguf")), GUIDE_BYTES).expect("writes");
}

async fn place(names: &[&str], change: impl FnOnce(&mut LibraryOptions)) -> Place {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    let models = house.dir.path().join("models");
    std::fs::create_dir(&models).expect("makes");
    for name in names {
        write(&models, name);
    }
    let engine = EngineOptions { kv_budget_bytes: 4 << 20, ..EngineOptions::default() };
    let mut options = LibraryOptions {
        directory: Some(models.clone()),
        engine,
        all: DEMAND,
        grace: Duration::from_mins(1),
        ..LibraryOptions::default()
    };
    change(&mut options);
    let library = open(&house, options).await.expect("opens");
    let house = house.with_catalog(Arc::new(library.clone()));
    Place { house, library, models }
}

impl Place {
    fn model(&self, name: &str) -> Arc<Model> {
        self.library.find(Some(name)).expect("is there")
    }

    async fn until(&self, name: &str, is_so: impl Fn(&Model) -> bool) {
        let mut changes = self.library.changes();
        let wait = async {
            loop {
                changes.mark_unchanged();
                if is_so(&self.model(name)) {
                    return;
                }
                changes.changed().await.expect("the library lives");
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(2), wait).await;
        assert!(waited.is_ok(), "{name} is {:?}", self.model(name).state);
    }

    async fn until_state(&self, name: &str, state: ModelState) {
        self.until(name, |model| model.state == state && model.progress.is_none()).await;
    }

    /// Waits until nobody uses a loaded model.
    async fn idle(&self, name: &str) {
        let model = self.model(name);
        let in_use = model.in_use.as_ref().expect("it is loaded");
        while in_use.count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ask(&self, name: &str) -> Result<String, GateError> {
        let asked = ExchangeRequest { model: Some(name.into()), ..request("Hello") };
        Ok(read_all(self.house.gate.run(&caller(), asked).await?).await.0)
    }
}

#[tokio::test]
async fn many_who_ask_at_once_load_a_model_once() {
    let place = place(&["a", "b"], |_| {}).await;
    assert_eq!(place.model("a").state, ModelState::NotLoaded);
    assert!(place.house.gate.is_ready(), "it answers once it is asked");
    let asked: Vec<_> = (0..2).map(|_| place.ask("a")).collect();
    for answer in futures_util::future::join_all(asked).await {
        answer.expect("answers");
    }
    let model = place.model("a");
    assert_eq!((model.state.clone(), model.loads.done), (ModelState::Ready, 1));
    assert!(model.digest.is_some() && model.memory_bytes.is_some());
    assert_eq!(place.model("b").state, ModelState::NotLoaded);
    let events = place.house.events().await;
    assert_eq!(events.iter().filter(|event| *event == "model.load done").count(), 1);
}

#[tokio::test]
async fn who_waits_for_a_model_hears_of_it_before_the_model_is_there() {
    let place = place(&["a"], |_| {}).await;
    let gate = &place.house.gate;
    let asked = |name: &str| ExchangeRequest { model: Some(name.into()), ..request("Hello") };
    let way = gate.start(&caller(), asked("a")).await.expect("is let in");
    let Way::Waits(rest) = way else { panic!("it is not in memory") };
    read_all(rest.await.expect("it is loaded").0).await;
    let way = gate.start(&caller(), asked("a")).await.expect("is let in");
    assert!(matches!(way, Way::Open(..)), "it is in memory");
    let error = gate.start(&caller(), asked("none")).await.map(drop).expect_err("not there");
    assert!(matches!(error, GateError::ModelNotFound), "what is known is told at once");
}

#[tokio::test]
async fn what_the_guard_refuses_is_told_at_once_and_has_nothing_loaded() {
    let place = place(&["a"], |_| {}).await;
    let asked = ExchangeRequest { model: Some("a".into()), ..request("some forbidden words") };
    let refused = place.house.gate.start(&caller(), asked).await.map(drop);
    assert!(matches!(refused, Err(GateError::Refused { .. })), "{refused:?}");
    assert_eq!(place.model("a").state, ModelState::NotLoaded);
    let events = place.house.events().await;
    assert_eq!(events.iter().filter(|event| event.starts_with("generation.refuse")).count(), 1);
}

#[tokio::test]
async fn what_nobody_asks_leaves_and_comes_back() {
    let idle = Some(Duration::from_mins(5));
    let place = place(&["a"], |options| options.all.idle = idle).await;
    place.ask("a").await.expect("answers");
    place.idle("a").await;
    let in_use = place.model("a").in_use.clone().expect("loaded");
    place.house.clock.advance(Duration::from_mins(4));
    place.library.unload_idle();
    assert_eq!(place.model("a").state, ModelState::Ready);
    let lease = in_use.lease();
    place.house.clock.advance(Duration::from_hours(1));
    place.library.unload_idle();
    assert_eq!(place.model("a").state, ModelState::Ready, "somebody uses it");
    drop((lease, in_use));
    place.house.clock.advance(Duration::from_mins(5));
    place.library.unload_idle();
    place.until_state("a", ModelState::NotLoaded).await;
    assert_eq!(place.model("a").memory_bytes, None);
    assert!(place.model("a").info().is_some(), "what it is stays known");
    place.ask("a").await.expect("is loaded again");
}

#[tokio::test]
async fn the_one_that_was_idle_longest_makes_room_and_else_the_numbers_are_told() {
    let first = place(&["a"], |_| {}).await;
    first.ask("a").await.expect("answers");
    let one = first.model("a").memory_bytes.expect("is known");
    let place = place(&["a", "b", "c", "pinned"], |options| {
        options.memory_bytes = Some(3 * one);
        let start = ModelLimits { load: Some(LoadWhen::Start), ..ModelLimits::default() };
        options.limits = [("pinned".to_owned(), start)].into();
    })
    .await;
    place.library.load_in_background().expect("starts");
    place.until_state("pinned", ModelState::Ready).await;
    for name in ["a", "b"] {
        place.ask(name).await.expect("answers");
        place.idle(name).await;
        place.house.clock.advance(Duration::from_mins(1));
    }
    place.ask("c").await.expect("makes itself room");
    assert_eq!(place.model("a").state, ModelState::NotLoaded);
    assert_eq!(place.model("b").state, ModelState::Ready);
    assert_eq!(place.model("pinned").state, ModelState::Ready);
    // Now both that could leave are in use.
    let leases: Vec<_> =
        ["b", "c"].map(|name| place.model(name).in_use.as_ref().expect("loaded").lease()).into();
    let Err(GateError::NoMemory(reason)) = place.ask("a").await else { panic!("it was loaded") };
    assert!(reason.contains("MiB are left"), "{reason}");
    assert!(matches!(place.model("a").setback, None | Some(Setback::Memory(_))));
    drop(leases);
    place.ask("a").await.expect("there is room again");
}

#[tokio::test]
async fn without_leave_to_evict_nobody_leaves() {
    let first = place(&["a"], |_| {}).await;
    first.ask("a").await.expect("answers");
    let one = first.model("a").memory_bytes.expect("is known");
    let place = place(&["a", "b"], |options| {
        options.memory_bytes = Some(one * 3 / 2);
        options.evict = false;
    })
    .await;
    place.ask("a").await.expect("answers");
    place.idle("a").await;
    assert!(matches!(place.ask("b").await, Err(GateError::NoMemory(_))));
    assert!(matches!(place.model("b").setback, Some(Setback::Memory(_))));
    assert_eq!(place.model("b").state, ModelState::NotLoaded);
    assert_eq!(place.model("b").loads.failed, 1);
    place.ask("a").await.expect("still answers");
}

#[tokio::test]
async fn a_load_that_is_cancelled_leaves_things_as_they_were() {
    let place = place(&["a", "b"], |_| {}).await;
    // Asked for in one breath, the second has not had its turn, or has hardly begun.
    place.library.load("a", &console()).await.expect("begins");
    place.library.load("b", &console()).await.expect("begins");
    let cancelled = place.library.cancel("b", &console()).await;
    place.until_state("a", ModelState::Ready).await;
    place.until("b", |model| model.progress.is_none()).await;
    if cancelled.is_ok() && place.model("b").state == ModelState::NotLoaded {
        assert_eq!(place.model("b").setback, Some(Setback::Cancelled));
        assert!(place.house.events().await.contains(&"model.load cancelled".to_owned()));
    }
    let again = place.library.cancel("a", &console()).await;
    assert!(matches!(again, Err(ModelsError::Conflict(_))));
    place.ask("b").await.expect("can be loaded all the same");
}

#[tokio::test]
async fn a_model_in_use_is_unloaded_when_its_last_answer_has_ended() {
    let place = place(&["a"], |_| {}).await;
    let (model, lease) = place.house.gate.hold(&caller(), Some("a")).await.expect("loads");
    place.library.unload("a", &console()).await.expect("begins");
    assert_eq!(place.model("a").state, ModelState::Unloading);
    assert!(matches!(place.library.unload("a", &console()).await, Err(ModelsError::Conflict(_))));
    assert!(matches!(place.library.load("a", &console()).await, Err(ModelsError::Conflict(_))));
    assert!(model.engine.as_ref().is_some_and(|engine| engine.stats().healthy));
    // Who asks meanwhile waits until it is back.
    let asks = place.ask("a");
    let ends = async {
        tokio::task::yield_now().await;
        drop(lease);
    };
    let (answer, ()) = tokio::join!(asks, ends);
    answer.expect("answers");
    assert!(model.engine.as_ref().is_some_and(|engine| !engine.stats().healthy));
    assert_eq!(place.model("a").loads.done, 2);
}

#[tokio::test]
async fn one_that_is_loaded_at_the_start_and_sent_away_stays_away() {
    let place = place(&["a"], |options| {
        let start = ModelLimits { load: Some(LoadWhen::Start), ..ModelLimits::default() };
        options.limits = [("a".to_owned(), start)].into();
    })
    .await;
    assert!(!place.house.gate.is_ready(), "nothing was begun");
    assert!(matches!(place.ask("a").await, Err(GateError::NotServed(_))));
    place.library.load_in_background().expect("starts");
    place.ask("a").await.expect("waits for it");
    place.library.unload("a", &console()).await.expect("begins");
    place.until_state("a", ModelState::NotLoaded).await;
    assert!(matches!(place.ask("a").await, Err(GateError::NotServed(_))));
    assert!(!place.house.gate.is_ready());
    place.library.load("a", &console()).await.expect("begins");
    place.ask("a").await.expect("answers");
}

#[tokio::test]
async fn a_file_that_changed_is_read_anew_and_a_bad_one_changes_nothing() {
    let place = place(&["a"], |_| {}).await;
    place.ask("a").await.expect("answers");
    let first = place.model("a").digest.clone();
    place.library.load("a", &console()).await.expect("begins");
    place.until("a", |model| model.progress.is_none()).await;
    assert_eq!(place.model("a").loads.done, 1, "the same file is not read again");
    let other = place.models.join("a.new");
    std::fs::write(&other, [GUIDE_BYTES, b"more"].concat()).expect("writes");
    std::fs::rename(&other, place.models.join("a.gguf")).expect("renames");
    place.library.rescan(&console()).await.expect("scans");
    assert!(matches!(place.model("a").setback, Some(Setback::KeptOld(_))));
    place.library.load("a", &console()).await.expect("begins");
    place.until("a", |model| model.loads.done == 2 && model.progress.is_none()).await;
    assert_ne!(place.model("a").digest, first);
    assert_eq!(place.model("a").setback, None);
    std::fs::write(&other, b"GGUF, but not really").expect("writes");
    std::fs::rename(&other, place.models.join("a.gguf")).expect("renames");
    place.library.load("a", &console()).await.expect("begins");
    place.until("a", |model| model.loads.failed == 1 && model.progress.is_none()).await;
    assert!(matches!(place.model("a").setback, Some(Setback::KeptOld(_))));
    place.ask("a").await.expect("the old one answers");
    let bodies: String = place
        .house
        .records()
        .await
        .iter()
        .map(|record| String::from_utf8_lossy(&record.body).into_owned())
        .collect();
    assert!(bodies.contains(&format!("\"replaces\":\"{}\"", first.expect("known"))), "{bodies}");
}

#[tokio::test]
async fn files_appear_vanish_and_are_not_taken_for_others() {
    let place = place(&["a"], |options| {
        options.guide = Some(GUIDE_BYTES);
        options.aliases = [("nick".to_owned(), "a".to_owned())].into();
    })
    .await;
    place.library.set_access("a", Some(vec!["owner".into()]), &console()).await.expect("sets");
    for name in ["b", "guide", "nick"] {
        write(&place.models, name);
    }
    std::fs::remove_file(place.models.join("a.gguf")).expect("removed");
    let scan = place.library.rescan(&console()).await.expect("scans");
    assert_eq!((scan.appeared, scan.vanished), (vec!["b".to_owned()], vec!["a".to_owned()]));
    let refused: Vec<&str> = scan.refused.iter().map(|(name, _)| &**name).collect();
    assert_eq!(refused, ["guide", "nick"]);
    assert!(
        matches!(&place.model("a").state, ModelState::Failed(why) if why.contains("not there"))
    );
    place.ask("b").await.expect("answers");
    write(&place.models, "a");
    let scan = place.library.rescan(&console()).await.expect("scans");
    assert!(scan.appeared.is_empty() && scan.vanished.is_empty());
    assert_eq!(place.model("a").state, ModelState::NotLoaded);
    assert!(matches!(place.ask("a").await, Err(GateError::ModelNotFound)), "still the owner's");
}

#[tokio::test]
async fn an_alias_shadows_nothing_and_is_kept_across_restarts() {
    let place = place(&["a", "b"], |options| {
        options.aliases = [("fixed".to_owned(), "a".to_owned())].into();
    })
    .await;
    let add = |alias: &'static str, model: &'static str| {
        let library = place.library.clone();
        async move { library.add_alias(alias, model, &console()).await }
    };
    for taken in ["a", "b", "fixed"] {
        assert!(matches!(add(taken, "b").await, Err(ModelsError::Conflict(_))), "{taken}");
    }
    for wrong in ["", "a b", "x\ny"] {
        assert!(matches!(add(wrong, "b").await, Err(ModelsError::BadName(_))), "{wrong}");
    }
    assert!(matches!(add("new", "none").await, Err(ModelsError::NotFound)));
    add("gpt-4o", "b").await.expect("adds");
    assert!(matches!(add("gpt-4o", "a").await, Err(ModelsError::Conflict(_))));
    assert_eq!(place.model("gpt-4o").name, "b");
    add("other", "gpt-4o").await.expect("an alias of an alias is one of its model");
    assert_eq!(place.model("b").aliases, ["gpt-4o", "other"]);
    let options = LibraryOptions {
        directory: Some(place.models.clone()),
        all: DEMAND,
        ..LibraryOptions::default()
    };
    let again = open(&place.house, options).await.expect("opens");
    assert_eq!(again.find(Some("other")).expect("kept").name, "b");
    let remove = |alias: &'static str| {
        let library = place.library.clone();
        async move { library.remove_alias(alias, &console()).await }
    };
    remove("gpt-4o").await.expect("removes");
    assert!(place.library.find(Some("gpt-4o")).is_none());
    assert!(matches!(remove("gpt-4o").await, Err(ModelsError::NotFound)));
    assert!(matches!(remove("fixed").await, Err(ModelsError::Conflict(_))));
    let events = place.house.events().await;
    assert_eq!(events.iter().filter(|event| *event == "model.alias done").count(), 3);
}

#[tokio::test]
async fn what_the_configuration_says_wrongly_of_aliases_stops_the_start() {
    let house = House::new(Scripted::new(&[], Then::Finish)).await;
    for (alias, model) in [("guide", "guide"), ("x", "none"), ("x", "y")] {
        let aliases = [(alias.to_owned(), model.to_owned())].into();
        let options =
            LibraryOptions { guide: Some(GUIDE_BYTES), aliases, ..LibraryOptions::default() };
        assert!(open(&house, options).await.is_err(), "{alias} {model}");
    }
}

#[tokio::test]
async fn limits_of_a_model_hold_for_it_alone() {
    let place = place(&["a", "b"], |options| {
        let own = ModelLimits {
            answer_tokens_max: Some(2),
            context_tokens_max: Some(128),
            ..ModelLimits::default()
        };
        options.limits = [("a".to_owned(), own)].into();
    })
    .await;
    for (name, tokens, context) in [("a", 2, 128), ("b", 8, 512)] {
        let asked = ExchangeRequest { model: Some(name.into()), ..request("The sun is") };
        let handle = place.house.gate.run(&caller(), asked).await.expect("passes");
        let last = read_all(handle).await.1;
        let Some(crate::gate::ExchangeEvent::Finished { usage, .. }) = last else {
            panic!("{last:?}")
        };
        assert!(usage.completion_tokens <= tokens, "{name}: {}", usage.completion_tokens);
        assert_eq!(place.model(name).info().map(|info| info.context_tokens), Some(context));
    }
}

#[tokio::test]
async fn a_draft_model_can_be_set_for_one_model_and_taken_from_another() {
    let own =
        |path: &Path| ModelLimits { draft_file: Some(path.to_owned()), ..ModelLimits::default() };
    let weights = async |place: &Place, name: &str| {
        place.ask(name).await.expect("answers");
        place.model(name).engine.as_ref().map_or(0, |engine| engine.stats().model_bytes)
    };
    // Without one for all, and with one for all.
    let alone = place(&["a", "b"], |options| {
        let small = options.directory.as_ref().expect("a directory").join("b.gguf");
        options.limits = [("a".to_owned(), own(&small))].into();
    })
    .await;
    let plain = weights(&alone, "b").await;
    assert!(plain > 0);
    assert_eq!(weights(&alone, "a").await, 2 * plain);
    let all = place(&["a", "b", "c"], |options| {
        let small = options.directory.as_ref().expect("a directory").join("a.gguf");
        let limits =
            [("b".to_owned(), own(Path::new(""))), ("c".to_owned(), own(&small.join("d")))];
        (options.engine.draft, options.limits) = (Some(small), limits.into());
    })
    .await;
    assert_eq!(weights(&all, "a").await, 2 * plain);
    assert_eq!(weights(&all, "b").await, plain);
    assert!(all.ask("c").await.is_err());
    all.until("c", |model| matches!(model.state, ModelState::Failed(_))).await;
    let model = all.model("c");
    let ModelState::Failed(reason) = &model.state else { panic!("it failed") };
    assert!(reason.contains("draft model \"d\""), "{reason}");
}

#[tokio::test]
async fn a_server_that_ends_loads_nothing_more() {
    let place = place(&["a"], |_| {}).await;
    place.library.close();
    assert!(matches!(place.ask("a").await, Err(GateError::ShuttingDown)));
    assert!(matches!(place.library.load_in_background(), Ok(()) | Err(ModelsError::Closing)));
    assert_eq!(place.model("a").state, ModelState::NotLoaded);
}
