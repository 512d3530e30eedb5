//! The detectors, cheapest first; each says what it finds and where, none decides what to do.

mod cards;
mod checksums;
mod control;
mod national;
mod personal;
mod phrases;
mod secrets;
mod unicode;

use super::finding::{Category, Finding};
use super::policy::Policy;
use super::view::View;

/// Looks for things in one text. Never panics, whatever the text; takes time linear in its length.
pub trait Detector: Send + Sync {
    /// The name in findings.
    fn name(&self) -> &'static str;
    /// What it can find.
    fn categories(&self) -> &'static [Category];
    /// Adds what it finds.
    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>);
}

/// Every detector, in the order of cost.
pub(super) fn all(policy: &Policy) -> Vec<Box<dyn Detector>> {
    vec![
        Box::new(unicode::Unicode),
        Box::new(control::ControlTokens::new()),
        Box::new(secrets::Secrets::new()),
        Box::new(personal::Personal::new()),
        Box::new(national::NationalIds::new()),
        Box::new(phrases::Phrases::new("denied", Category::Denied, policy.denied())),
        Box::new(phrases::Phrases::new("injection", Category::Injection, policy.injection())),
    ]
}

/// A finding in the plain text, with its place in the raw one.
fn in_plain(
    view: &View<'_>,
    detector: &'static str,
    category: Category,
    score: f32,
    span: std::ops::Range<usize>,
) -> Finding {
    Finding { detector, category, score, span: view.raw_of_plain(span) }
}

/// A pattern written in this source.
fn pattern(text: &str) -> regex::Regex {
    regex::Regex::new(text).expect("the patterns of the detectors compile: held by their tests")
}
