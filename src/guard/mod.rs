//! Detectors, policy, redaction and the watch over streamed output. Knows texts and what is in
//! them; no person, no HTTP, no database. Nothing here writes a text to a log.

mod detectors;
mod finding;
mod policy;
mod redact;
#[cfg(test)]
mod tests;
mod unicode;
mod view;
mod watch;

use std::sync::Arc;

pub use detectors::Detector;
pub use finding::{Category, Direction, Finding, Redaction};
pub use policy::{Action, BUILTIN, Limits, Policy, PolicyError};
pub use redact::Originals;
pub use view::View;
pub use watch::{OutputWatch, WatchEvent};

/// The guard: a policy and the detectors for it. A handle.
#[derive(Clone)]
pub struct Guard {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Policy,
    detectors: Vec<Box<dyn Detector>>,
}

/// What came out of an inspection.
pub struct Verdict {
    /// The strongest action of all findings.
    pub action: Action,
    /// The findings that the policy does something about, with the text and the action of each.
    pub findings: Vec<(usize, Action, Finding)>,
    /// The texts as the policy lets them pass, if it changes any.
    pub texts: Option<Vec<String>>,
    /// What the placeholders in the texts stand for.
    pub originals: Originals,
}

impl Guard {
    /// Makes a guard that keeps to a policy.
    pub fn new(policy: Policy) -> Self {
        let detectors = detectors::all(&policy);
        Self { inner: Arc::new(Inner { policy, detectors }) }
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Every detector: its name and what it can find.
    pub fn detectors(&self) -> impl Iterator<Item = (&'static str, &'static [Category])> {
        let all = self.inner.detectors.iter().map(|one| (one.name(), one.categories()));
        all.chain([("form", FORM)])
    }

    /// Holds the texts of one request against the policy. `parts` is how many messages and other parts
    /// they are of: one tool has many texts.
    pub fn inspect<T: AsRef<str>>(
        &self,
        texts: &[T],
        parts: usize,
        direction: Direction,
    ) -> Verdict {
        let mut findings = Vec::new();
        let is_too_large = direction == Direction::Input && self.form(texts, parts, &mut findings);
        let mut out = Vec::new();
        let mut originals = Originals::default();
        // A text that is refused for its length is not worth the work of reading it.
        let texts = if is_too_large { &[][..] } else { texts };
        for (index, text) in texts.iter().map(AsRef::as_ref).enumerate() {
            let found = self.find(text, direction);
            let redacted: Vec<&Finding> =
                found.iter().filter(|one| one.0 == Action::Redact).map(|one| &one.1).collect();
            if !redacted.is_empty() {
                out.push((index, redact::redact(text, &redacted, Some(&mut originals))));
            }
            findings.extend(found.into_iter().map(|(action, finding)| (index, action, finding)));
        }
        let action = findings.iter().map(|one| one.1).max().unwrap_or(Action::Allow);
        let changed = (!out.is_empty()).then(|| {
            let mut all: Vec<String> = texts.iter().map(|text| text.as_ref().to_owned()).collect();
            for (index, text) in out {
                all[index] = text;
            }
            all
        });
        Verdict { action, findings, texts: changed, originals }
    }

    /// A watch over one answer; placeholders in it become the originals again.
    pub fn watch(&self, originals: Originals) -> OutputWatch {
        OutputWatch::new(self.clone(), originals)
    }

    /// The findings in one text that the policy does something about, in order. Those that change
    /// the text and overlap are one.
    fn find(&self, text: &str, direction: Direction) -> Vec<(Action, Finding)> {
        let view = View::new(text);
        let mut found = Vec::new();
        for detector in &self.inner.detectors {
            let acts = |category: &Category| self.action(direction, *category) != Action::Allow;
            if detector.categories().iter().any(acts) {
                detector.find(&view, &mut found);
            }
        }
        found.retain(|one| {
            self.action(direction, one.category) != Action::Allow
                && text.get(one.span.clone()).is_some_and(|value| !self.policy().is_allowed(value))
        });
        let mut found: Vec<(Action, Finding)> =
            found.into_iter().map(|one| (self.action(direction, one.category), one)).collect();
        found.sort_by_key(|(action, one)| {
            (one.span.start, std::cmp::Reverse(one.span.end), std::cmp::Reverse(*action))
        });
        merged(found)
    }

    fn action(&self, direction: Direction, category: Category) -> Action {
        self.policy().action(direction, category)
    }

    /// Looks at the number of parts and the length of the texts; says whether they are refused for it.
    fn form<T: AsRef<str>>(
        &self,
        texts: &[T],
        parts: usize,
        findings: &mut Vec<(usize, Action, Finding)>,
    ) -> bool {
        let limits = self.policy().limits();
        let mut add = |index, category| {
            let action = self.action(Direction::Input, category);
            if action != Action::Allow {
                let finding = Finding { detector: "form", category, score: 1.0, span: 0..0 };
                findings.push((index, action, finding));
            }
            action == Action::Refuse
        };
        let mut is_refused = parts > limits.texts_max && add(0, Category::FormTooMany);
        let mut total = 0_usize;
        for (index, text) in texts.iter().enumerate() {
            let chars = text.as_ref().chars().count();
            total += chars;
            if chars > limits.text_chars_max {
                is_refused |= add(index, Category::FormTooLong);
            }
        }
        if total > limits.total_chars_max {
            is_refused |= add(0, Category::FormTooLong);
        }
        let is_blank =
            |text: &T| text.as_ref().chars().all(|c| c.is_whitespace() || unicode::is_invisible(c));
        if texts.iter().all(is_blank) {
            is_refused |= add(0, Category::FormBlank);
        }
        is_refused
    }
}

/// Makes one of the findings that change the text and overlap, and leaves out what is flagged
/// inside of them. What is refused is kept by itself.
fn merged(found: Vec<(Action, Finding)>) -> Vec<(Action, Finding)> {
    let mut kept: Vec<(Action, Finding)> = Vec::with_capacity(found.len());
    // The last one that changes the text, and where it ends.
    let (mut last, mut end) = (0, 0);
    for (action, one) in found {
        let is_free = one.span.start >= end || action == Action::Refuse;
        let changes = action >= Action::Redact;
        if changes {
            end = end.max(one.span.end);
        }
        if is_free {
            last = if changes { kept.len() } else { last };
            kept.push((action, one));
        } else if changes && let Some((Action::Redact, before)) = kept.get_mut(last) {
            before.absorb(&one);
        }
    }
    kept
}

const FORM: &[Category] = &[Category::FormBlank, Category::FormTooLong, Category::FormTooMany];
