//! Numbers about the road, for operators: counts and durations by model and outcome, never by
//! person. Names follow the OpenTelemetry conventions for generative AI where these have one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use parking_lot::Mutex;

use super::catalog::Model;
use crate::engine::EngineStats;

/// Upper bounds in seconds, as the conventions recommend them for durations of a request.
const DURATION_BOUNDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
];
/// For the time to the first token.
const FIRST_TOKEN_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// For the time of each further token.
const EACH_TOKEN_BOUNDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
];
/// For tokens.
const TOKEN_BOUNDS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0];

/// What one exchange adds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observation<'a> {
    pub(super) model: &'a str,
    pub(super) purpose: &'static str,
    pub(super) outcome: &'static str,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) whole: Duration,
    pub(super) first_token: Option<Duration>,
    pub(super) decode: Duration,
}

/// The counters of the gate.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    state: Mutex<State>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Default)]
struct State {
    exchanges: BTreeMap<Labels, u64>,
    refusals: BTreeMap<Labels, u64>,
    notices: BTreeMap<Labels, u64>,
    records_lost: u64,
    duration: BTreeMap<Labels, Buckets>,
    first_token: BTreeMap<Labels, Buckets>,
    each_token: BTreeMap<Labels, Buckets>,
    tokens: BTreeMap<Labels, Buckets>,
}

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    fn add(&mut self, value: f64) {
        self.counts[self.bounds.partition_point(|bound| *bound < value)] += 1;
        self.sum += value;
    }
}

fn add(family: &mut BTreeMap<Labels, Buckets>, labels: Labels, bounds: &'static [f64], value: f64) {
    family.entry(labels).or_insert_with(|| Buckets::new(bounds)).add(value);
}

impl Metrics {
    /// Counts an exchange that has ended.
    pub(super) fn observe(&self, seen: &Observation<'_>) {
        let model = || ("gen_ai_request_model", seen.model.to_owned());
        let mut state = self.state.lock();
        let outcome = ("outcome", seen.outcome.to_owned());
        let purpose = ("purpose", seen.purpose.to_owned());
        *state.exchanges.entry(vec![model(), outcome, purpose]).or_default() += 1;
        add(&mut state.duration, vec![model()], DURATION_BOUNDS, seen.whole.as_secs_f64());
        if let Some(first) = seen.first_token {
            add(&mut state.first_token, vec![model()], FIRST_TOKEN_BOUNDS, first.as_secs_f64());
        }
        if seen.completion_tokens > 1 {
            let each = seen.decode.as_secs_f64() / (seen.completion_tokens - 1) as f64;
            add(&mut state.each_token, vec![model()], EACH_TOKEN_BOUNDS, each);
        }
        for (kind, count) in [("input", seen.prompt_tokens), ("output", seen.completion_tokens)] {
            let labels = vec![model(), ("gen_ai_token_type", kind.to_owned())];
            add(&mut state.tokens, labels, TOKEN_BOUNDS, count as f64);
        }
    }

    /// Counts a request that was not let through.
    pub(super) fn refused(&self, reason: &'static str) {
        let labels = vec![("reason", reason.to_owned())];
        *self.state.lock().refusals.entry(labels).or_default() += 1;
    }

    /// Counts what the guard did.
    pub(super) fn noticed(
        &self,
        direction: &'static str,
        category: &str,
        action: &str,
        count: u32,
    ) {
        let labels = vec![
            ("action", action.to_owned()),
            ("category", category.to_owned()),
            ("direction", direction.to_owned()),
        ];
        *self.state.lock().notices.entry(labels).or_default() += u64::from(count);
    }

    /// Counts an exchange whose end could not be put on record.
    pub(super) fn record_lost(&self) {
        self.state.lock().records_lost += 1;
    }

    /// All numbers in the Prometheus text format, version 0.0.4.
    pub(super) fn text(&self, running: usize, models: &[std::sync::Arc<Model>]) -> String {
        let state = self.state.lock();
        let mut out = String::with_capacity(8 * 1024);
        counters(
            &mut out,
            "strongroom_exchanges_total",
            "Generations that ended.",
            &state.exchanges,
        );
        counters(
            &mut out,
            "strongroom_refusals_total",
            "Generations that were not let through.",
            &state.refusals,
        );
        counters(
            &mut out,
            "strongroom_guard_actions_total",
            "What the guard did to prompts and answers.",
            &state.notices,
        );
        let lost = BTreeMap::from([(Vec::new(), state.records_lost)]);
        counters(
            &mut out,
            "strongroom_records_lost_total",
            "Generations whose end could not be put on record.",
            &lost,
        );
        for (name, help, family) in [
            (
                "gen_ai_server_request_duration_seconds",
                "From the request to its end.",
                &state.duration,
            ),
            (
                "gen_ai_server_time_to_first_token_seconds",
                "From the request to its first token.",
                &state.first_token,
            ),
            (
                "gen_ai_server_time_per_output_token_seconds",
                "From one token to the next.",
                &state.each_token,
            ),
            ("gen_ai_client_token_usage", "Tokens of prompts and answers.", &state.tokens),
        ] {
            histograms(&mut out, name, help, family);
        }
        drop(state);
        gauge(
            &mut out,
            "strongroom_exchanges_running",
            "Generations under way.",
            &[(Vec::new(), running as f64)],
        );
        engines(&mut out, models);
        out
    }
}

fn engines(out: &mut String, models: &[std::sync::Arc<Model>]) {
    let stats: Vec<(String, EngineStats)> = models
        .iter()
        .filter_map(|model| Some((model.name.clone(), model.engine.as_ref()?.stats())))
        .collect();
    let each = |value: fn(&EngineStats) -> f64| -> Vec<(Labels, f64)> {
        let row = |(name, stats): &(String, _)| {
            (vec![("gen_ai_request_model", name.clone())], value(stats))
        };
        stats.iter().map(row).collect()
    };
    let ready: Vec<(Labels, f64)> = models
        .iter()
        .map(|model| {
            let labels = vec![("gen_ai_request_model", model.name.clone())];
            (labels, f64::from(u8::from(model.engine.is_some())))
        })
        .collect();
    gauge(out, "strongroom_model_ready", "Whether the model answers.", &ready);
    loads(out, models);
    gauge(out, "strongroom_engine_queued", "Requests that wait.", &each(|s| s.queued as f64));
    gauge(out, "strongroom_engine_running", "Requests worked on.", &each(|s| s.running as f64));
    gauge(
        out,
        "strongroom_engine_cache_used_bytes",
        "Cache held by running requests.",
        &each(|s| s.kv_used_bytes as f64),
    );
    gauge(
        out,
        "strongroom_engine_cache_total_bytes",
        "The whole cache.",
        &each(|s| s.kv_total_bytes as f64),
    );
    prompts(out, &stats);
    gauge(
        out,
        "strongroom_engine_model_bytes",
        "Weights in memory.",
        &each(|s| s.model_bytes as f64),
    );
    engine_counters(out, &stats);
}

/// What the engines have done since they were loaded.
fn engine_counters(out: &mut String, stats: &[(String, EngineStats)]) {
    type Read = fn(&EngineStats) -> u64;
    let mut family = |name: &str, help: &str, label: &'static str, reads: &[(&str, Read)]| {
        let rows = stats.iter().flat_map(|(model, stats)| {
            reads.iter().map(move |(kind, read)| {
                let mut labels = vec![("gen_ai_request_model", model.clone())];
                if !label.is_empty() {
                    labels.push((label, (*kind).to_owned()));
                }
                (labels, read(stats))
            })
        });
        counters(out, name, help, &rows.collect());
    };
    family(
        "strongroom_engine_steps_total",
        "Steps of the decoder.",
        "",
        &[("", |s| s.steps_total)],
    );
    family(
        "strongroom_engine_preemptions_total",
        "Requests that gave their place to others and were started again.",
        "",
        &[("", |s| s.preemptions_total)],
    );
    family(
        "strongroom_engine_prefix_lookups_total",
        "Prompts whose beginning was looked for in the cache.",
        "outcome",
        &[
            ("hit", |s| s.prefix_hits_total),
            ("miss", |s| s.prefix_lookups_total - s.prefix_hits_total),
        ],
    );
    family(
        "strongroom_engine_guessed_tokens_total",
        "Tokens guessed ahead; each right one saved its answer a step.",
        "outcome",
        &[
            ("right", |s| s.guessed_right_total),
            ("wrong", |s| s.guessed_tokens_total - s.guessed_right_total),
        ],
    );
}

/// Where the tokens of prompts came from: read, or found in a cache of one kind or the other.
fn prompts(out: &mut String, stats: &[(String, EngineStats)]) {
    let of = |name: &str, from: &str, count| {
        let model = ("gen_ai_request_model", name.to_owned());
        (vec![model, ("from", from.to_owned())], count)
    };
    let counts: BTreeMap<Labels, u64> = stats
        .iter()
        .flat_map(|(name, stats)| {
            let shared = stats.cached_shared_tokens_total;
            let own = stats.cached_tokens_total.saturating_sub(shared);
            [
                of(name, "person", own),
                of(name, "read", stats.prompt_tokens_total),
                of(name, "shared", shared),
            ]
        })
        .collect();
    counters(
        out,
        "strongroom_engine_prompt_tokens_total",
        "Tokens of prompts: read, found in a person's own cache, or in that of a shared prompt.",
        &counts,
    );
}

/// Where every model stands, what it takes, and how it came there.
fn loads(out: &mut String, models: &[std::sync::Arc<Model>]) {
    let name = |model: &Model| ("gen_ai_request_model", model.name.clone());
    let states: Vec<(Labels, f64)> = models
        .iter()
        .map(|model| (vec![name(model), ("state", model.state.name().to_owned())], 1.0))
        .collect();
    gauge(out, "strongroom_model_state", "Where the model stands.", &states);
    let memory: Vec<(Labels, f64)> = models
        .iter()
        .map(|model| (vec![name(model)], model.memory_bytes.unwrap_or(0) as f64))
        .collect();
    gauge(out, "strongroom_model_memory_bytes", "Memory set aside for the model.", &memory);
    let ended = |model: &Model, outcome: &str, count| {
        (vec![name(model), ("outcome", outcome.to_owned())], count)
    };
    let counts: BTreeMap<Labels, u64> = models
        .iter()
        .flat_map(|model| {
            [ended(model, "done", model.loads.done), ended(model, "failed", model.loads.failed)]
        })
        .collect();
    counters(out, "strongroom_model_loads_total", "Loads that ended.", &counts);
    let title = "strongroom_model_load_seconds_total";
    head(out, title, "Time that loads took which ended well.", "counter");
    for model in models {
        let labels = written(&[name(model)], None);
        let _ = writeln!(out, "{title}{labels} {}", model.loads.took.as_secs_f64());
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn counters(out: &mut String, name: &str, help: &str, family: &BTreeMap<Labels, u64>) {
    head(out, name, help, "counter");
    for (labels, value) in family {
        let _ = writeln!(out, "{name}{} {value}", written(labels, None));
    }
}

fn gauge(out: &mut String, name: &str, help: &str, rows: &[(Labels, f64)]) {
    head(out, name, help, "gauge");
    for (labels, value) in rows {
        let _ = writeln!(out, "{name}{} {value}", written(labels, None));
    }
}

fn histograms(out: &mut String, name: &str, help: &str, family: &BTreeMap<Labels, Buckets>) {
    head(out, name, help, "histogram");
    for (labels, buckets) in family {
        let mut so_far = 0;
        for (place, count) in buckets.counts.iter().enumerate() {
            so_far += count;
            let bound = buckets.bounds.get(place).map_or("+Inf".to_owned(), f64::to_string);
            let _ = writeln!(out, "{name}_bucket{} {so_far}", written(labels, Some(&bound)));
        }
        let plain = written(labels, None);
        let _ = writeln!(out, "{name}_sum{plain} {}\n{name}_count{plain} {so_far}", buckets.sum);
    }
}

/// Labels as the format wants them; values are escaped.
fn written(labels: &[(&'static str, String)], bound: Option<&str>) -> String {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let all: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .chain(bound.map(|bound| format!("le=\"{bound}\"")))
        .collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        metrics.observe(&Observation {
            model: "a\"b",
            purpose: "api",
            outcome: "done",
            prompt_tokens: 3,
            completion_tokens: 5,
            whole: Duration::from_millis(50),
            first_token: Some(Duration::from_millis(20)),
            decode: Duration::from_millis(40),
        });
        metrics.refused("busy");
        metrics.noticed("input", "email", "redact", 2);
        let text = metrics.text(1, &[]);
        for line in [
            "strongroom_exchanges_total{gen_ai_request_model=\"a\\\"b\",outcome=\"done\",purpose=\"api\"} 1",
            "strongroom_refusals_total{reason=\"busy\"} 1",
            "strongroom_guard_actions_total{action=\"redact\",category=\"email\",direction=\"input\"} 2",
            "strongroom_exchanges_running 1",
            "gen_ai_server_request_duration_seconds_bucket{gen_ai_request_model=\"a\\\"b\",le=\"0.04\"} 0",
            "gen_ai_server_request_duration_seconds_bucket{gen_ai_request_model=\"a\\\"b\",le=\"0.08\"} 1",
            "gen_ai_server_request_duration_seconds_bucket{gen_ai_request_model=\"a\\\"b\",le=\"+Inf\"} 1",
            "gen_ai_server_time_to_first_token_seconds_count{gen_ai_request_model=\"a\\\"b\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
        }
    }
}
