//! Whole runs: with a model that is told what to say, with the built-in one, and with the
//! published file where it is at hand.

use std::sync::Arc;
use std::time::Duration;

use super::plan::Suite;
use super::*;
use crate::config::{Evals as EvalSettings, Schedule};
use crate::engine::{Domain, Engine, EngineOptions, LoadProgress, ScoreItem, Weights};
use crate::gate::testing::{House, Scripted, Then, caller};
use crate::gate::{Catalog, Engines, Generate};
use crate::testing::shared;

async fn evals(house: &House) -> Evals {
    let parts = EvalParts {
        gate: house.gate.clone(),
        db: house.db.clone(),
        audit: house.audit.clone(),
        clock: house.clock.clone(),
        files: house.dir.path().join("evaluations"),
        runtime: tokio::runtime::Handle::current(),
    };
    tokio::task::spawn_blocking(move || Evals::open(parts)).await.expect("runs").expect("opens")
}

async fn scripted() -> House {
    House::new(Scripted::new(&[], Then::Finish)).await
}

fn request(suite: &str) -> StartRequest {
    StartRequest::new(suite, Some("m"), Origin::Console)
}

/// One model, with an engine behind it.
struct One(Arc<Model>);

impl Catalog for One {
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>> {
        name.is_none_or(|name| name == self.0.name).then(|| Arc::clone(&self.0))
    }

    fn all(&self) -> Vec<Arc<Model>> {
        vec![Arc::clone(&self.0)]
    }
}

const GUIDE: Weights = Weights::Embedded(crate::models::GUIDE_BYTES);

async fn loaded(weights: Weights) -> Engine {
    let options = EngineOptions { kv_budget_bytes: 64 << 20, ..EngineOptions::default() };
    let load = move || Engine::load(weights, options, &LoadProgress::new());
    tokio::task::spawn_blocking(load).await.expect("runs").expect("the model loads")
}

async fn house_with(weights: Weights) -> House {
    let house = scripted().await;
    let engine = Engines::Generate(Arc::new(loaded(weights).await));
    let model = Model {
        is_default: true,
        digest: Some("abc".into()),
        ..Model::new("m", house.clock.now()).ready(engine, &house.clock)
    };
    house.with_catalog(Arc::new(One(Arc::new(model))))
}

#[tokio::test]
async fn a_model_that_prefers_nothing_is_even_and_knows_no_language() {
    let house = scripted().await;
    let evals = evals(&house).await;
    let id = evals.start(request(COUNTERFACTUAL_NAME)).await.expect("starts");
    evals.ended().await;
    let (run, found) = evals.find(id).await.expect("kept");
    let found = found.expect("has results");
    assert_eq!(
        (run.state, run.model_sha256.as_deref()),
        (RunState::Done, Some("0123456789abcdef"))
    );
    assert_eq!(found.overall.stereotype_share.value, 0.5);
    assert_eq!(found.overall.mean_difference.value, 0.0);
    assert_eq!(found.overall.widest_gap, Some(0.0));
    assert_eq!(found.language.score.value, 0.5);
    assert_eq!(found.combined, 50.0);
    assert_eq!(found.left_out, 0);
    let events = house.events().await;
    assert_eq!(events.first().map(String::as_str), Some("evaluation.start started"));
    assert_eq!(events.last().map(String::as_str), Some("evaluation.end done"));
    let last = house.db.read(last_run).await.expect("reads");
    assert_eq!(last, Some(run));
}

#[tokio::test]
async fn what_is_kept_holds_no_sentence() {
    let house = scripted().await;
    let evals = evals(&house).await;
    let id = evals.start(request(COUNTERFACTUAL_NAME)).await.expect("starts");
    evals.ended().await;
    let (run, found) = evals.find(id).await.expect("kept");
    let found = found.expect("has results");
    let kept = serde_json::to_string(&found).expect("plain") + &report::html(&run, &found);
    for text in Suite::Counterfactual.texts("") {
        assert!(!kept.contains(text.continuation.trim()), "{}", text.continuation);
    }
}

#[tokio::test]
async fn one_runs_at_a_time_and_what_does_not_fit_is_refused() {
    let house = scripted().await;
    let evals = evals(&house).await;
    let refused = |request| {
        let evals = evals.clone();
        async move { evals.start(request).await.expect_err("refused") }
    };
    assert!(matches!(refused(request("toxicity")).await, EvalsError::UnknownSuite));
    assert!(matches!(refused(request(CROWS_NAME)).await, EvalsError::Data(_)));
    let nobody = StartRequest { model: Some("x".into()), ..request(COUNTERFACTUAL_NAME) };
    assert!(matches!(refused(nobody).await, EvalsError::ModelNotFound));
    // A model that is closed to the person is not there for them; for the server it is.
    let closed = StartRequest { model: Some("closed".into()), ..request(COUNTERFACTUAL_NAME) };
    let theirs = StartRequest { by: Some(caller()), ..closed.clone() };
    assert!(matches!(refused(theirs).await, EvalsError::ModelNotFound));
    assert!(evals.start(closed).await.is_ok());
    assert!(matches!(refused(request(COUNTERFACTUAL_NAME)).await, EvalsError::AlreadyRunning));
    evals.ended().await;
    assert!(evals.start(request(COUNTERFACTUAL_NAME)).await.is_ok());
}

#[tokio::test]
async fn a_run_ends_with_the_server_and_nothing_starts_after() {
    let house = scripted().await;
    let evals = evals(&house).await;
    let id = evals.start(request(COUNTERFACTUAL_NAME)).await.expect("starts");
    evals.close();
    evals.finish().await;
    assert_eq!(evals.find(id).await.expect("kept").0.state, RunState::Cancelled);
    let late = evals.start(request(COUNTERFACTUAL_NAME)).await;
    assert!(matches!(late, Err(EvalsError::Closing)));
    assert_eq!(house.events().await.last().map(String::as_str), Some("evaluation.end cancelled"));
    assert_eq!(house.db.read(last_run).await.expect("reads"), None);
}

#[tokio::test]
async fn what_a_server_left_running_is_ended_at_the_next_start() {
    let house = scripted().await;
    let now = house.clock.now();
    let left = RunSummary {
        id: RunId::new(),
        suite: COUNTERFACTUAL_NAME.into(),
        model: "m".into(),
        model_sha256: None,
        origin: Origin::Schedule,
        started_by: None,
        started_at: now,
        ended_at: None,
        state: RunState::Running,
        reason: None,
    };
    let id = left.id;
    house.db.write(move |tx| store::begin(tx, &left)).await.expect("kept");
    let evals = evals(&house).await;
    let (run, found) = evals.find(id).await.expect("kept");
    assert_eq!((run.state, run.reason.as_deref()), (RunState::Failed, Some("interrupted")));
    assert!(found.is_none());
    assert!(evals.start(request(COUNTERFACTUAL_NAME)).await.is_ok());
}

#[tokio::test]
async fn the_schedule_starts_a_missed_run_once() {
    let house = scripted().await;
    let evals = evals(&house).await;
    let settings = EvalSettings {
        schedule: Schedule::Weekly,
        suite: COUNTERFACTUAL_NAME.into(),
        model: String::new(),
    };
    let look = || async { evals.start_if_due(&settings).await.expect("looks") };
    assert!(look().await, "nothing was ever run");
    evals.ended().await;
    assert!(!look().await);
    house.clock.advance(Duration::from_hours(144));
    assert!(!look().await);
    // Three weeks of downtime are one run.
    house.clock.advance(Duration::from_hours(504));
    assert!(look().await);
    evals.ended().await;
    assert!(!look().await);
    let never = EvalSettings { schedule: Schedule::Never, ..settings.clone() };
    assert!(!evals.start_if_due(&never).await.expect("looks"));
    let runs = evals.list(10).await.expect("reads");
    assert!(runs.len() == 2 && runs.iter().all(|(run, _)| run.origin == Origin::Schedule));
}

#[tokio::test]
async fn the_built_in_model_knows_some_english_and_its_numbers_repeat() {
    let house = house_with(GUIDE).await;
    let evals = evals(&house).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let id = evals.start(request(COUNTERFACTUAL_NAME)).await.expect("starts");
        evals.ended().await;
        seen.push(evals.find(id).await.expect("kept").1.expect("has results"));
    }
    let (first, second) = (&seen[0], &seen[1]);
    assert!(first.language.over_scrambled.value > 0.9, "{:?}", first.language);
    assert!(first.language.in_context.value > 0.4, "{:?}", first.language);
    assert_eq!(first.left_out, 0);
    assert_eq!(first.attributes.len(), 6);
    assert!(first.overall.mean_gap.is_some_and(|gap| gap.low > 0.0 && gap.high < 40.0));
    // The cache may be filled otherwise: the shares are the same, the sums to the last digits.
    let apart = first.overall.mean_difference.value - second.overall.mean_difference.value;
    assert!(apart.abs() < 0.05, "{apart}");
}

#[tokio::test]
async fn a_score_is_the_sum_over_its_tokens_one_by_one() {
    let engine = loaded(GUIDE).await;
    let whole = Generate::tokenize(&engine, "The children walk to school together.");
    assert!(whole.len() > 3);
    let cut = |from: usize, to: usize| ScoreItem {
        prefix: whole[..from].to_vec(),
        continuation: whole[from..to].to_vec(),
    };
    let single: Vec<ScoreItem> = (1..whole.len()).map(|at| cut(at, at + 1)).collect();
    let together = engine.score(vec![cut(1, whole.len())], Domain(1)).await.expect("scored");
    let single = engine.score(single, Domain(2)).await.expect("scored");
    let sum: f64 = single.iter().map(|score| score.sum_logprob).sum();
    assert!((together[0].sum_logprob - sum).abs() < 0.05, "{} and {sum}", together[0].sum_logprob);
    assert_eq!(together[0].tokens, single.len());
}

#[test]
fn the_published_file_is_read_where_it_is_at_hand() {
    let Some(directory) = shared("fairness/crows-pairs") else { return };
    let file = crows::read(&directory).expect("as it was published");
    assert_eq!((file.pairs.len(), file.kinds.len()), (1_508, 9));
    let first = &file.pairs[0];
    assert!(first.more.contains("black") && first.less.contains("white"));
    let texts = Suite::Crows(file).texts("");
    assert_eq!(texts.len(), 2 * 1_508 + 8 * suite::LANGUAGE.items.len());
}

#[tokio::test]
async fn the_built_in_model_is_scored_on_part_of_the_published_file() {
    let Some(directory) = shared("fairness/crows-pairs") else { return };
    let mut file = crows::read(&directory).expect("as it was published");
    file.pairs.truncate(120);
    let house = house_with(GUIDE).await;
    let model = house.gate.model(&Caller::system(), Some("m")).expect("there");
    let progress = Progress::default();
    let found = run::run(&house.gate, &model, &Suite::Crows(file), &progress).await.expect("runs");
    assert_eq!(found.overall.pairs, 120);
    let share = found.overall.stereotype_share;
    assert!(share.low < share.value && share.value < share.high, "{share:?}");
    assert!((0.3..=0.8).contains(&share.value), "{share:?}");
    assert_eq!(progress.counts().0, found.scored);
}

#[tokio::test]
async fn a_model_that_tells_stories_knows_what_follows_in_them() {
    let Some(file) = shared("weights/babyllama-tok105/babyllama.gguf") else { return };
    let house = house_with(Weights::File(file)).await;
    let model = house.gate.model(&Caller::system(), Some("m")).expect("there");
    let progress = Progress::default();
    let found = run::run(&house.gate, &model, &Suite::Counterfactual, &progress).await;
    let language = found.expect("runs").language;
    assert!(language.in_context.low > 0.65, "{language:?}");
    assert!(language.over_scrambled.low > 0.65, "{language:?}");
}
