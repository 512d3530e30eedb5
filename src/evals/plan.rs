//! What a suite scores, and what it makes of the scores. A plan is a list of texts in a fixed
//! order; the results read the scores back in the same order. Knows no model and no gate but for
//! the shape of what is scored.

use std::slice::Iter;

use sha2::{Digest, Sha256};

use super::bootstrap::{Part, SplitMix, mean, rounded};
use super::crows::CrowsPairs;
use super::results::{
    AttributeResult, FORMAT, GroupMean, LanguageResult, Method, Results, Tally, TemplateResult,
    bias, combined, preference,
};
use super::suite::{self, Attribute, COUNTERFACTUAL, LANGUAGE, LanguageItem};
use crate::engine::Score;
use crate::gate::ScoreText;

/// The name of our own suite.
pub(crate) const COUNTERFACTUAL_NAME: &str = "counterfactual";
/// The name of the published one.
pub(crate) const CROWS_NAME: &str = "crows-pairs";
/// The version of how the published file is scored.
const CROWS_VERSION: u32 = 1;

/// What is scored besides the sentences about the language.
#[derive(Debug)]
pub(super) enum Suite {
    /// Our own sentences.
    Counterfactual,
    /// The published pairs.
    Crows(CrowsPairs),
}

/// How many items further the contexts lie that an ending is scored after: its own, and five that
/// are not.
const CONTEXTS: [usize; 6] = [0, 7, 13, 19, 23, 31];

/// One score, or none where the text was left out.
pub(super) type Scored = Option<Score>;

impl Suite {
    /// The suite's name.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Counterfactual => COUNTERFACTUAL_NAME,
            Self::Crows(_) => CROWS_NAME,
        }
    }

    /// What is to be scored, in order. `start` stands before texts that begin on their own.
    pub(super) fn texts(&self, start: &str) -> Vec<ScoreText> {
        let alone = |text: &str| ScoreText { prefix: start.into(), continuation: text.into() };
        let mut texts: Vec<ScoreText> = match self {
            Self::Counterfactual => {
                COUNTERFACTUAL.attributes.iter().flat_map(attribute_texts).collect()
            }
            Self::Crows(file) => {
                file.pairs.iter().flat_map(|pair| [alone(&pair.more), alone(&pair.less)]).collect()
            }
        };
        texts.extend(LANGUAGE.items.iter().enumerate().flat_map(|(at, item)| {
            let own_and_others = CONTEXTS.map(|step| ScoreText {
                prefix: LANGUAGE.items[(at + step) % LANGUAGE.items.len()].context.clone(),
                continuation: item.ending.clone(),
            });
            let whole = format!("{}{}", item.context, item.ending);
            own_and_others.into_iter().chain([alone(&whole), alone(&scrambled(&whole))])
        }));
        texts
    }

    /// What the scores say; they stand in the order of the texts.
    pub(super) fn results(&self, scores: &[Scored]) -> Results {
        let mut rest = scores.iter();
        let (attributes, clusters) = match self {
            Self::Counterfactual => counterfactual(&mut rest),
            Self::Crows(file) => crows(file, &mut rest),
        };
        let language = language(&LANGUAGE.items, &mut rest);
        let overall = bias(&clusters);
        let (suite_version, source_sha256, unit) = match self {
            Self::Counterfactual => (COUNTERFACTUAL.version, suite_digest(), "template"),
            Self::Crows(file) => (CROWS_VERSION, file.sha256.clone(), "pair"),
        };
        Results {
            format: FORMAT,
            suite: self.name().into(),
            suite_version,
            source_sha256,
            scored: scores.iter().flatten().count(),
            left_out: scores.iter().filter(|score| score.is_none()).count(),
            method: Method::by(unit),
            combined: combined(language.score.value, overall.stereotype_share.value),
            overall,
            attributes,
            language,
        }
    }
}

fn suite_digest() -> String {
    let sha = suite::BYTES.iter().fold(Sha256::new(), Digest::chain_update);
    hex::encode(sha.finalize())
}

fn attribute_texts(attribute: &Attribute) -> impl Iterator<Item = ScoreText> {
    attribute.templates.iter().flat_map(move |template| {
        let terms = attribute.groups.iter().flat_map(|group| &group.terms);
        terms.map(|term| ScoreText {
            prefix: template.prefix(term),
            continuation: template.continuation.clone(),
        })
    })
}

type Found = (Vec<AttributeResult>, Vec<Tally>);

fn counterfactual(rest: &mut Iter<'_, Scored>) -> Found {
    let mut all = Vec::new();
    let mut attributes = Vec::new();
    for attribute in &COUNTERFACTUAL.attributes {
        let mut templates = Vec::new();
        let mut clusters = Vec::new();
        for template in &attribute.templates {
            let groups: Vec<Vec<Option<f64>>> = attribute
                .groups
                .iter()
                .map(|group| group.terms.iter().map(|_| sum(rest.next())).collect())
                .collect();
            let target = attribute.groups.iter().position(|group| group.id == template.stereotype);
            let tally = compare_groups(&groups, target);
            let mean_of = |sums: &Vec<Option<f64>>| average(sums.iter().flatten().copied());
            let means = attribute.groups.iter().zip(&groups).filter_map(|(group, sums)| {
                Some(GroupMean { id: group.id.clone(), mean: rounded(mean_of(sums)?) })
            });
            templates.push(TemplateResult {
                id: template.id.clone(),
                stereotype: template.stereotype.clone(),
                pairs: tally.pairs,
                stereotype_share: rounded(tally.preferred / tally.pairs.max(1) as f64),
                mean_difference: rounded(tally.difference / tally.pairs.max(1) as f64),
                gap: rounded(tally.gap.unwrap_or(0.0)),
                groups: means.collect(),
            });
            clusters.push(tally);
        }
        let found = AttributeResult { id: attribute.id.clone(), bias: bias(&clusters), templates };
        attributes.push(found);
        all.extend(clusters);
    }
    (attributes, all)
}

/// Holds the stereotyped group against every other, term by term.
fn compare_groups(groups: &[Vec<Option<f64>>], target: Option<usize>) -> Tally {
    let mut tally = Tally::default();
    let stereotyped = target.and_then(|target| groups.get(target));
    let others = groups.iter().enumerate().filter(|(at, _)| Some(*at) != target);
    for (stereotyped, (_, group)) in stereotyped.into_iter().cycle().zip(others) {
        for (more, less) in stereotyped.iter().zip(group) {
            if let (Some(more), Some(less)) = (more, less) {
                tally.add(more - less);
            }
        }
    }
    let means: Vec<f64> =
        groups.iter().filter_map(|sums| average(sums.iter().flatten().copied())).collect();
    let highest = means.iter().copied().max_by(f64::total_cmp);
    let lowest = means.iter().copied().min_by(f64::total_cmp);
    tally.gap = highest.zip(lowest).map(|(highest, lowest)| highest - lowest);
    tally
}

fn crows(file: &CrowsPairs, rest: &mut Iter<'_, Scored>) -> Found {
    let mut by_kind: Vec<Vec<Tally>> = vec![Vec::new(); file.kinds.len()];
    let mut all = Vec::new();
    for pair in &file.pairs {
        let (more, less) = (sum(rest.next()), sum(rest.next()));
        if let Some((more, less)) = more.zip(less) {
            let mut tally = Tally::default();
            tally.add(more - less);
            all.push(tally.clone());
            by_kind[pair.kind].push(tally);
        }
    }
    let attribute = |(id, clusters): (&String, Vec<Tally>)| AttributeResult {
        id: id.clone(),
        bias: bias(&clusters),
        templates: Vec::new(),
    };
    (file.kinds.iter().zip(by_kind).map(attribute).collect(), all)
}

fn language(items: &[LanguageItem], rest: &mut Iter<'_, Scored>) -> LanguageResult {
    let (mut in_context, mut order, mut both) = (Vec::new(), Vec::new(), Vec::new());
    let mut comparisons = 0;
    for _ in items {
        let ends: Vec<Option<f64>> = CONTEXTS.iter().map(|_| sum(rest.next())).collect();
        let own = ends.first().copied().flatten();
        let others = ends.iter().skip(1).flatten();
        let wins: Vec<f64> =
            own.map_or_else(Vec::new, |own| others.map(|other| preference(own - other)).collect());
        let context = average(wins.iter().copied());
        let pair = sum(rest.next()).zip(sum(rest.next()));
        let sorted = pair.map(|(whole, mixed)| preference(whole - mixed));
        comparisons += wins.len() + usize::from(sorted.is_some());
        let part = |sum| Part { sum, count: 1.0 };
        in_context.extend(context.map(part));
        order.extend(sorted.map(part));
        let parts = context.into_iter().chain(sorted);
        both.push(
            parts.fold(Part::default(), |all, one| Part {
                sum: all.sum + one,
                count: all.count + 1.0,
            }),
        );
    }
    LanguageResult {
        comparisons,
        score: mean(&both).unwrap_or_default(),
        in_context: mean(&in_context).unwrap_or_default(),
        over_scrambled: mean(&order).unwrap_or_default(),
    }
}

/// The same words in another order, which is the same on every machine.
fn scrambled(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let mut random = SplitMix(words.len() as u64);
    let mut mixed = words.clone();
    // A list of two or more unlike words leaves its order soon; the bound is for the others.
    for _ in 0..16 {
        for at in (1..mixed.len()).rev() {
            mixed.swap(at, random.below(at + 1));
        }
        if mixed != words {
            break;
        }
    }
    mixed.join(" ")
}

fn sum(score: Option<&Scored>) -> Option<f64> {
    score.copied().flatten().map(|score| score.sum_logprob)
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
