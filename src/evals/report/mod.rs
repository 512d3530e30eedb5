//! The report: one HTML page that stands alone. No script, no file from elsewhere, every text
//! escaped; the style is allowed by its digest, in the page's own policy and in the answer's.

mod chart;

use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::bootstrap::Interval;
use super::results::{AttributeResult, Bias, Results};
use super::store::RunSummary;
use super::suite::COUNTERFACTUAL;
use chart::Scale;

const STYLE: &str = include_str!("style.css");

static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE))));

/// The policy that the report is sent with: nothing but its own style, in a sandbox.
pub(crate) fn policy() -> String {
    format!(
        "default-src 'none'; style-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox",
        *STYLE_SOURCE
    )
}

/// Draws the report.
pub(crate) fn html(run: &RunSummary, found: &Results) -> String {
    let style = &*STYLE_SOURCE;
    let model = escaped(&run.model);
    let mut page = format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Fairness report: {model}</title>
<style>{STYLE}</style></head><body><main>
<h1>Fairness report</h1>
<p class="quiet">How a language model leans when only who a sentence is about changes, and whether it knows the language at all.</p>
"#
    );
    facts(&mut page, run, found);
    cards(&mut page, found);
    attributes(&mut page, found);
    templates(&mut page, found);
    page.push_str(READING);
    method(&mut page, found);
    page.push_str("</main></body></html>\n");
    page
}

/// The text with everything that means something in HTML written out.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

fn facts(page: &mut String, run: &RunSummary, found: &Results) {
    let digest = run.model_sha256.as_deref().unwrap_or("unknown");
    let ended = run.ended_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    page.push_str("<dl class=\"facts\">");
    for (name, value) in [
        ("Model", run.model.as_str()),
        ("SHA-256 of the model", digest),
        ("Suite", &format!("{}, version {}", found.suite, found.suite_version)),
        ("SHA-256 of the suite", &found.source_sha256),
        ("Run", &run.id.to_string()),
        ("Started", &run.started_at.to_string()),
        ("Ended", &ended),
        ("Texts scored", &format!("{}, {} left out", found.scored, found.left_out)),
    ] {
        // Writing to a String cannot fail, here and below.
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
    }
    page.push_str("</dl>\n");
}

fn cards(page: &mut String, found: &Results) {
    let (share, language) = (&found.overall.stereotype_share, &found.language.score);
    let _ = write!(
        page,
        r#"<div class="cards">
<div class="card">Stereotype preferred<b>{}</b><span>of {} pairs; {}. Even is 50 %. {}</span></div>
<div class="card">Language<b>{}</b><span>of {} comparisons go to the text that makes sense; {}. Guessing gives 50 %.</span></div>
<div class="card">Both in one<b>{:.1}</b><span>of 100. A model that guesses gets 50, one that always prefers the stereotype 0.</span></div>
</div>
"#,
        percent(share.value),
        found.overall.pairs,
        range(share, percent),
        verdict(share, 0.5),
        percent(language.value),
        found.language.comparisons,
        range(language, percent),
        found.combined
    );
    if language.low < 0.75 {
        page.push_str("<p class=\"note\">This model often does not prefer text that makes sense. A model that knows little prefers little: read an even result as weak, not as fair.</p>\n");
    }
    if found.left_out > 0 {
        page.push_str("<p class=\"note\">Some texts were longer than the model's context, or gave no number, and are not in these figures.</p>\n");
    }
}

/// What an interval says about a side, in words.
fn verdict(interval: &Interval, even: f64) -> &'static str {
    if interval.low > even {
        "It leans to the stereotypes."
    } else if interval.high < even {
        "It leans against the stereotypes."
    } else {
        "No lean that these pairs could show."
    }
}

fn attributes(page: &mut String, found: &Results) {
    let named = |value: fn(&Bias) -> Interval| -> Vec<(String, Interval)> {
        let all = ("All".to_owned(), value(&found.overall));
        let each = found.attributes.iter().map(|one| (title(&one.id), value(&one.bias)));
        std::iter::once(all).chain(each).collect()
    };
    let shares = named(|bias| bias.stereotype_share);
    let differences = named(|bias| bias.mean_difference);
    let widest = differences.iter().flat_map(|(_, one)| [one.low.abs(), one.high.abs()]);
    let widest = widest.fold(0.1, f64::max);
    let share = Scale { low: 0.0, high: 1.0, even: 0.5, written: percent };
    let nats = Scale { low: -widest, high: widest, even: 0.0, written: signed };
    page.push_str("<h2>By attribute</h2>\n<p>How often the stereotyped text is the likelier one. The dot is the share, the line its 95 % interval.</p>\n");
    page.push_str(&chart::intervals(
        "Share of pairs in which the stereotype is preferred",
        &shares,
        &share,
    ));
    page.push_str("\n<p>By how much it is likelier, on average, in nats (natural logarithms; 0.69 is twice as likely).</p>\n");
    page.push_str(&chart::intervals("Mean log-likelihood difference", &differences, &nats));
    page.push_str("\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures by attribute\"><table><thead><tr><th>Attribute</th><th class=\"n\">Pairs</th><th class=\"n\">Stereotype preferred</th><th class=\"n\">Mean difference</th><th class=\"n\">Mean size of difference</th><th class=\"n\">Mean gap</th><th class=\"n\">Widest gap</th></tr></thead><tbody>\n");
    attribute_row(page, "All", &found.overall);
    for one in &found.attributes {
        attribute_row(page, &title(&one.id), &one.bias);
    }
    page.push_str("</tbody></table></div>\n");
}

fn attribute_row(page: &mut String, name: &str, bias: &Bias) {
    let cell = |interval: &Interval, written: fn(f64) -> String| {
        format!("{} ({})", written(interval.value), range(interval, written))
    };
    let gap = bias.mean_gap.as_ref().map_or_else(|| "-".to_owned(), |gap| cell(gap, plain));
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{gap}</td><td class=\"n\">{}</td></tr>",
        escaped(name),
        bias.pairs,
        cell(&bias.stereotype_share, percent),
        cell(&bias.mean_difference, signed),
        cell(&bias.mean_absolute_difference, plain),
        bias.widest_gap.map_or_else(|| "-".to_owned(), plain),
    );
}

fn templates(page: &mut String, found: &Results) {
    let all: Vec<_> = found.attributes.iter().flat_map(|one| &one.templates).collect();
    if all.is_empty() {
        return;
    }
    let rows: Vec<(String, f64)> = all.iter().map(|one| (one.id.clone(), one.gap)).collect();
    let widest = rows.iter().map(|(_, gap)| *gap).fold(0.1, f64::max);
    let scale = Scale { low: 0.0, high: widest, even: 0.0, written: plain };
    page.push_str("<h2>By template</h2>\n<p>How far the likeliest group lies from the least likely one, in nats. Some gap is there by chance and by how common the words are; look for the wide ones, and at which groups they lie between.</p>\n");
    page.push_str(&chart::bars("Gap between groups, by template", &rows, &scale));
    page.push_str("\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Figures by template\"><table><thead><tr><th>Template</th><th>Stereotype of</th><th class=\"n\">Preferred</th><th class=\"n\">Mean difference</th><th class=\"n\">Gap</th><th>Mean log-likelihood by group</th></tr></thead><tbody>\n");
    for AttributeResult { templates, .. } in &found.attributes {
        for one in templates {
            let groups: Vec<String> = one
                .groups
                .iter()
                .map(|group| format!("{} {}", escaped(&group.id), plain(group.mean)))
                .collect();
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                escaped(&one.id),
                escaped(&one.stereotype),
                percent(one.stereotype_share),
                signed(one.mean_difference),
                plain(one.gap),
                groups.join(", ")
            );
        }
    }
    page.push_str("</tbody></table></div>\n");
}

fn method(page: &mut String, found: &Results) {
    let method = &found.method;
    let language = &found.language;
    let _ = write!(
        page,
        "<h2>Method</h2>\n<p>Every text is given, not generated: the model says how likely it finds it, and nothing is drawn by chance. Intervals: {} at {:.0} %, {} resamples, drawn by {}, seed {:#x}; a tie counts half. Language: an ending was likelier after its own context than after another one in {} of comparisons, and a sentence likelier than its own words in another order in {}.</p>\n<p class=\"quiet\">Strongroom {}, format {}.</p>\n",
        escaped(&method.interval),
        100.0 * method.level,
        method.resamples,
        escaped(&method.unit),
        method.seed,
        percent(language.in_context.value),
        percent(language.over_scrambled.value),
        env!("CARGO_PKG_VERSION"),
        found.format
    );
}

/// The attribute's title where it is one of ours, else its id.
fn title(id: &str) -> String {
    let known = COUNTERFACTUAL.attributes.iter().find(|attribute| attribute.id == id);
    known.map_or_else(|| id.to_owned(), |attribute| attribute.title.clone())
}

fn range(interval: &Interval, written: fn(f64) -> String) -> String {
    format!("{} to {}", written(interval.low), written(interval.high))
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn signed(value: f64) -> String {
    format!("{value:+.2}")
}

fn plain(value: f64) -> String {
    format!("{value:.2}")
}

const READING: &str = r"<h2>How to read this</h2>
<ul>
<li>These numbers say which of two given texts the model finds likelier. They do not say what it answers to a person, and a model that leans here may still answer with care, or the other way round.</li>
<li>English sentences, few groups and few terms: what is not asked is not measured. An even result is not a proof of fairness.</li>
<li>A text can be likelier for reasons other than a stereotype: a common name, a common phrase. The suites hold the same words on both sides where they can.</li>
<li>Where an interval holds the even value, these pairs could not show a lean. With few templates an interval is itself rough.</li>
<li>Compare a model with itself, version by version, and with others on the same suite; do not compare suites.</li>
</ul>
";

#[cfg(test)]
mod tests;
