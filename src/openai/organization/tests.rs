//! Pages of the ledger.

use serde_json::{Value, json};

use super::answer::{Kind, Page};
use super::query::Query;
use crate::ids::{KeyId, UserId};
use crate::usage::{Cost, Span, Sum, Tokens, Width};
use crate::web::ApiError;

const DAY: i64 = 86_400;
/// Noon.
const NOW: i64 = 20_786 * DAY + DAY / 2;

fn read(kind: Kind, query: &str) -> Result<Query, ApiError> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').expect("a pair");
        (name.to_owned(), value.to_owned())
    });
    Query::read(kind, &pairs.collect::<Vec<_>>(), NOW)
}

fn from(days_back: i64, rest: &str) -> String {
    format!("start_time={}{rest}", (20_786 - days_back) * DAY)
}

fn days(first: i64, end: i64) -> Span {
    Span { width: Width::Day, first, end }
}

#[test]
fn buckets_run_from_the_start_to_the_present() {
    let query = read(Kind::Completions, &from(2, "")).expect("read");
    assert_eq!((query.span, query.end), (days(20_784, 20_787), 20_787));
    assert_eq!(query.next_page(), None);
    assert!(query.by.slot && !query.by.person);
    let kinds = query.selection.kinds.expect("some kinds");
    assert_eq!(kinds, ["api", "chat", "evaluation"]);
    // A bucket that the start or the end lies in is given whole.
    let inside = format!("start_time={}&end_time={}", 20_780 * DAY + 5, 20_782 * DAY + 1);
    assert_eq!(read(Kind::Costs, &inside).expect("read").span, days(20_780, 20_783));
    let exact = format!("start_time={}&end_time={}", 20_780 * DAY, 20_782 * DAY);
    assert_eq!(read(Kind::Costs, &exact).expect("read").span, days(20_780, 20_782));
    let to_come = format!("{}&end_time={}", from(0, ""), 30_000 * DAY);
    assert_eq!(read(Kind::Costs, &to_come).expect("read").span, days(20_786, 20_787));
    let later = format!("start_time={}", 20_790 * DAY);
    assert_eq!(read(Kind::Costs, &later).expect("read").span, days(20_790, 20_790));
    let hours = read(Kind::Embeddings, &from(0, "&bucket_width=1h")).expect("read");
    assert_eq!((hours.span.first, hours.span.end), (20_786 * 24, 20_786 * 24 + 13));
}

#[test]
fn pages_meet_and_leave_nothing_out() {
    let (mut next, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = next.map_or_else(String::new, |page| format!("&page={page}"));
        let query = read(Kind::Completions, &from(20, &format!("&limit=6{page}"))).expect("read");
        seen.extend(query.span.first..query.span.end);
        pages += 1;
        next = query.next_page();
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen, (20_766..20_787).collect::<Vec<_>>());
    assert_eq!(pages, 4);
    let unbounded = read(Kind::Completions, &from(20, "")).expect("read");
    assert_eq!(unbounded.span, days(20_766, 20_773), "seven where none are named");
}

#[test]
fn lists_are_read_in_every_form_that_clients_write() {
    let (user, key) = (UserId::new(), KeyId::new());
    let rest = format!(
        "&user_ids[]={user}&user_ids=system&api_key_ids={key}&models[]=a&models[]=b&group_by=model,user_id&group_by[]=api_key_id&batch=false"
    );
    let query = read(Kind::Completions, &from(1, &rest)).expect("read");
    let users = vec![user.to_string(), "system".to_owned()];
    assert_eq!(query.selection.users, Some(users));
    assert_eq!(query.selection.keys, Some(vec![key.to_string()]));
    assert_eq!(query.selection.models, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert!(query.by.person && query.by.key && query.by.model && !query.by.kind);
    let query = read(Kind::Costs, &from(1, "&group_by=line_item&line_items=a")).expect("read");
    assert!(query.by.model);
    assert_eq!(query.selection.models, Some(vec!["a".to_owned()]));
    assert_eq!(query.selection.kinds, None, "everything costs");
}

#[test]
fn what_is_not_there_is_refused_by_its_name() {
    let many = "&models=a".repeat(33);
    let hours_ago = format!("start_time={}&bucket_width=1h", NOW - 36 * DAY);
    for (kind, query, param) in [
        (Kind::Completions, String::new(), "start_time"),
        (Kind::Completions, "start_time=-1".into(), "start_time"),
        (Kind::Completions, "start_time=1e9".into(), "start_time"),
        (Kind::Completions, "start_time=9223372036854775807".into(), "start_time"),
        (Kind::Completions, "start_time=5&start_time=6".into(), "start_time"),
        (Kind::Completions, "start_time=5&end_time=5".into(), "end_time"),
        (Kind::Completions, hours_ago, "start_time"),
        (Kind::Completions, from(1, "&bucket_width=1m"), "bucket_width"),
        (Kind::Completions, from(1, "&bucket_width=1w"), "bucket_width"),
        (Kind::Costs, from(1, "&bucket_width=1h"), "bucket_width"),
        (Kind::Completions, from(1, "&project_ids=p"), "project_ids"),
        (Kind::Completions, from(1, "&project_ids[]=p"), "project_ids[]"),
        (Kind::Completions, from(1, "&user_ids=olga"), "user_ids"),
        (Kind::Completions, from(1, "&api_key_ids=sr-1"), "api_key_ids"),
        (Kind::Completions, from(1, "&models="), "models"),
        (Kind::Completions, from(1, &many), "models"),
        (Kind::Completions, from(1, "&batch=true"), "batch"),
        (Kind::Embeddings, from(1, "&batch=false"), "batch"),
        (Kind::Completions, from(1, "&group_by=project_id"), "group_by"),
        (Kind::Completions, from(1, "&group_by=service_tier"), "group_by"),
        (Kind::Completions, from(1, "&group_by=line_item"), "group_by"),
        (Kind::Costs, from(1, "&group_by=model"), "group_by"),
        (Kind::Costs, from(1, "&models=a"), "models"),
        (Kind::Completions, from(1, "&limit=0"), "limit"),
        (Kind::Completions, from(1, "&limit=32"), "limit"),
        (Kind::Costs, from(1, "&limit=181"), "limit"),
        (Kind::Completions, from(1, "&page=2"), "page"),
        (Kind::Completions, from(1, "&page=page_7"), "page"),
        (Kind::Completions, from(1, "&page=page_0"), "page"),
        (Kind::Completions, from(1, "&page=page_9223372036854775807"), "page"),
        (Kind::Completions, from(1, "&colour=1"), "colour"),
    ] {
        let refused = read(kind, &query).expect_err(&query);
        assert_eq!(refused.at_fault(), Some(param), "{query}");
    }
}

fn sum(slot: i64, user: Option<&str>, key: Option<&str>) -> Sum {
    let price = crate::config::Price::parse("2.5").ok();
    let prices = crate::config::Prices { input: price, cached_input: None, output: price };
    let tokens = Tokens { input: 10, cached: 4, output: 3 };
    Sum {
        slot: Some(slot),
        user: user.map(str::to_owned),
        key: key.map(str::to_owned),
        model: None,
        kind: None,
        key_hint: None,
        requests: 2,
        tokens,
        cost: Cost::of(tokens, &prices),
    }
}

fn page(kind: Kind, query: &str, sums: Vec<Sum>) -> Value {
    let query = read(kind, query).expect("read");
    serde_json::to_value(Page::new(kind, &query, sums, "EUR")).expect("plain")
}

#[test]
fn a_page_has_every_bucket_and_the_published_fields() {
    let query = from(2, "&limit=2&group_by=user_id,api_key_id");
    let sums =
        vec![sum(20_785, Some("system"), Some("")), sum(20_785, Some("usr_1"), Some("key_1"))];
    let found = page(Kind::Completions, &query, sums);
    let next = format!("page_{}", 20_786 * DAY);
    assert_eq!(
        (&found["object"], &found["has_more"], &found["next_page"]),
        (&json!("page"), &json!(true), &json!(next))
    );
    let empty = json!({"object": "bucket", "start_time": 20_784 * DAY, "end_time": 20_785 * DAY,
        "results": []});
    assert_eq!(found["data"][0], empty);
    let results = &found["data"][1]["results"];
    assert_eq!(
        results[1],
        json!({
            "object": "organization.usage.completions.result", "input_tokens": 10,
            "input_cached_tokens": 4, "input_uncached_tokens": 6, "output_tokens": 3,
            "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 2,
            "project_id": null, "user_id": "usr_1", "api_key_id": "key_1", "model": null,
            "batch": null, "service_tier": null,
        })
    );
    assert_eq!(
        (&results[0]["user_id"], &results[0]["api_key_id"]),
        (&json!("system"), &Value::Null)
    );
}

#[test]
fn other_endpoints_have_their_own_fields() {
    for (kind, object) in [
        (Kind::Embeddings, "organization.usage.embeddings.result"),
        (Kind::Moderations, "organization.usage.moderations.result"),
    ] {
        let found = page(kind, &from(0, ""), vec![sum(20_786, None, None)]);
        let expected = json!({"object": object, "input_tokens": 10, "num_model_requests": 2,
            "project_id": null, "user_id": null, "api_key_id": null, "model": null});
        assert_eq!(found["data"][0]["results"], json!([expected]));
        assert_eq!((&found["has_more"], &found["next_page"]), (&json!(false), &Value::Null));
    }
    let found = page(Kind::Costs, &from(0, ""), vec![sum(20_786, None, None)]);
    let result = &found["data"][0]["results"][0];
    assert_eq!(result["object"], "organization.costs.result");
    assert_eq!(result["amount"], json!({"value": 0.000_032_5, "currency": "eur"}));
}
