//! Placeholders in the place of findings, and the way back for whoever sent the original.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::finding::{Category, Finding, Redaction};

/// What placeholders of one exchange stand for. Lives as long as the exchange, in memory only;
/// the originals are wiped when it is dropped.
#[derive(Clone, Default)]
pub struct Originals {
    values: Vec<(String, Zeroizing<String>)>,
    counts: HashMap<&'static str, u32>,
}

impl Originals {
    /// Whether nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The placeholder for a value: the same one each time within the exchange.
    fn placeholder(&mut self, label: &'static str, value: &str, taken: &str) -> String {
        let known = |(name, old): &&(String, Zeroizing<String>)| {
            old.as_str() == value && is_labelled(name, label)
        };
        if let Some((name, _)) = self.values.iter().find(known) {
            return name.clone();
        }
        let count = self.counts.entry(label).or_insert(0);
        let name = loop {
            *count += 1;
            let name = format!("[{label}-{count}]");
            // What a person typed as `[card-1]` must not come back as somebody's card.
            if !taken.contains(&name) {
                break name;
            }
        };
        self.values.push((name.clone(), Zeroizing::new(value.to_owned())));
        name
    }

    /// Puts the originals back where their placeholders stand.
    pub fn restore(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('[') {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some((name, value)) =
                self.values.iter().find(|(name, _)| rest.starts_with(name.as_str()))
            {
                out.push_str(value);
                rest = &rest[name.len()..];
            } else {
                out.push('[');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out
    }
}

fn is_labelled(name: &str, label: &str) -> bool {
    let number = name.strip_prefix('[').and_then(|name| name.strip_prefix(label));
    let number = number.and_then(|rest| rest.strip_prefix('-')?.strip_suffix(']'));
    number.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// Rewrites a text without the findings, which do not overlap and are in order. With `originals`
/// placeholders are numbered and can be put back; without, they are not.
pub(super) fn redact(
    text: &str,
    findings: &[&Finding],
    mut originals: Option<&mut Originals>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for finding in findings {
        let Some(value) = text.get(finding.span.clone()).filter(|_| finding.span.start >= at)
        else {
            continue;
        };
        out.push_str(&text[at..finding.span.start]);
        at = finding.span.end;
        match (finding.category.redaction(), originals.as_deref_mut()) {
            (Redaction::Placeholder(label), Some(originals)) => {
                out.push_str(&originals.placeholder(label, value, text));
            }
            (Redaction::Placeholder(label), None) => out.extend(["[", label, "]"]),
            // A removed marker must not let its neighbours join into a new one.
            (Redaction::Remove, _) if finding.category == Category::ControlToken => out.push(' '),
            (Redaction::Remove | Redaction::Impossible, _) => {}
        }
    }
    out.push_str(&text[at..]);
    out
}
