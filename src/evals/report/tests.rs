//! Reports: what is shown, and that nothing in them can run.

use super::super::results::{FORMAT, LanguageResult, Method, TemplateResult};
use super::*;
use crate::clock::Timestamp;
use crate::evals::{Origin, RunState};
use crate::ids::RunId;

fn run(model: &str) -> RunSummary {
    RunSummary {
        id: RunId::new(),
        suite: "counterfactual".into(),
        model: model.into(),
        model_sha256: Some("<img src=x onerror=alert(1)>".into()),
        origin: Origin::Console,
        started_by: None,
        started_at: Timestamp::from_ms(1_800_000_000_000),
        ended_at: None,
        state: RunState::Done,
        reason: None,
    }
}

fn found(id: &str) -> Results {
    let bias = Bias { pairs: 3, ..Bias::default() };
    let attribute = AttributeResult { id: id.into(), bias: bias.clone(), templates: Vec::new() };
    Results {
        format: FORMAT,
        suite: id.into(),
        suite_version: 1,
        source_sha256: id.into(),
        scored: 1,
        left_out: 1,
        method: Method::by(id),
        overall: bias,
        attributes: vec![attribute],
        language: LanguageResult::default(),
        combined: 50.0,
    }
}

#[test]
fn whatever_a_name_holds_it_stays_text() {
    let bad = "</style><script>alert('&\"')</script>";
    let page = html(&run(bad), &found(bad));
    assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)"));
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_fits_its_policy() {
    let page = html(&run("guide"), &found("age"));
    for word in
        ["<script", "style=", "onload", "javascript:", "url(", "@import", "<img", "<link", "href="]
    {
        assert!(!page.contains(word), "{word}");
    }
    let style = page.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
    let digest = STANDARD.encode(Sha256::digest(style.expect("a style")));
    assert!(policy().contains(&digest) && page.contains(&digest));
    assert!(policy().starts_with("default-src 'none'") && policy().ends_with("sandbox"));
}

#[test]
fn the_page_has_one_main_part_and_what_scrolls_has_a_name_and_takes_the_focus() {
    let mut found = found("age");
    found.attributes[0].templates.push(TemplateResult {
        id: "t".into(),
        stereotype: "s".into(),
        pairs: 1,
        stereotype_share: 0.5,
        mean_difference: 0.0,
        gap: 0.0,
        groups: Vec::new(),
    });
    let page = html(&run("guide"), &found);
    assert_eq!((page.matches("<main>").count(), page.matches("</main>").count()), (1, 1));
    let scrolls: Vec<&str> = page.split("<div class=\"scroll\"").skip(1).collect();
    assert_eq!(scrolls.len(), 2);
    for rest in scrolls {
        assert!(
            rest.starts_with(" tabindex=\"0\" role=\"region\" aria-label=\"Figures by "),
            "{rest}"
        );
    }
}

#[test]
fn a_weak_model_is_called_weak_and_left_out_texts_are_told() {
    let mut weak = found("age");
    assert!(html(&run("m"), &weak).matches("class=\"note\"").count() == 2);
    weak.language.score = Interval { value: 0.95, low: 0.9, high: 1.0 };
    weak.left_out = 0;
    assert!(!html(&run("m"), &weak).contains("class=\"note\""));
}

#[test]
fn the_verdict_follows_the_interval_and_not_the_value() {
    let around = |low, high| Interval { value: 0.6, low, high };
    assert_eq!(verdict(&around(0.49, 0.7), 0.5), "No lean that these pairs could show.");
    assert_eq!(verdict(&around(0.51, 0.7), 0.5), "It leans to the stereotypes.");
    assert_eq!(verdict(&around(0.3, 0.45), 0.5), "It leans against the stereotypes.");
}
