//! Texts held against the guard's policy for whoever asks, with no model at work: it takes a request of
//! the limits, and no tokens. The record says how many texts there were and what was found, and no text.

use std::collections::BTreeMap;

use super::error::GateError;
use super::prompt::by_length;
use super::record::event;
use super::request::{ExchangeUsage, Purpose};
use super::tokens::TEXT_BYTES_MAX;
use super::{Entry, Gate};
use crate::access::Caller;
use crate::audit::{Action as Audited, Outcome};
use crate::guard::{Action, Category, Direction, Guard};

/// What judges texts, by the name that stands in answers and in the ledger.
pub(crate) const MODERATOR: &str = "guard";

/// Something that the policy acts on, in one input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) category: Category,
    /// The strongest of what would be done about it.
    pub(crate) action: Action,
    /// How sure the detectors are, at most.
    pub(crate) score: f32,
    /// How often.
    pub(crate) count: u32,
}

impl Gate {
    /// Holds each input, which may be of several texts, against what the policy says of prompts.
    pub(crate) async fn moderate(
        &self,
        caller: &Caller,
        inputs: Vec<Vec<String>>,
    ) -> Result<Vec<Vec<Found>>, GateError> {
        let (gate, by) = (self.clone(), caller.clone());
        // On its own task, as all that is worked on: who goes away keeps their place until it is done.
        let road = async move {
            let entry = gate.enter(&by, Purpose::Moderation).await?;
            let result = gate.moderation_road(entry, inputs).await;
            gate.counted(result)
        };
        self.inner.parts.runtime.spawn(road).await?
    }

    async fn moderation_road(
        &self,
        entry: Entry,
        inputs: Vec<Vec<String>>,
    ) -> Result<Vec<Vec<Found>>, GateError> {
        let Entry { caller, place: _place, reservation, .. } = entry;
        let permission = Purpose::Moderation.permission();
        if !caller.may(permission) {
            self.record_denial(&caller, permission.name(), None).await?;
            return Err(GateError::NotPermitted);
        }
        let bytes = inputs.iter().flatten().map(String::len).sum();
        if bytes > TEXT_BYTES_MAX {
            let expected = "at most 1048576 bytes of text";
            return Err(GateError::OutOfRange { parameter: "input", expected });
        }
        let guard = self.guard().clone();
        let work = move || inputs.iter().map(|texts| found(&guard, texts)).collect::<Vec<_>>();
        let all = by_length(bytes, work).await?;
        let flagged = all.iter().filter(|found| !found.is_empty()).count();
        let held = event(&caller, Audited::TextsModerated, Outcome::Done)
            .with("texts", all.len())
            .with("flagged", flagged);
        let usage = ExchangeUsage::default();
        let used = self.used(&caller, MODERATOR, Purpose::Moderation, usage);
        self.record_used(Some(reservation.settle(0)), Some(used), vec![held]).await?;
        Ok(all)
    }
}

/// What the policy acts on in these texts, by category.
fn found(guard: &Guard, texts: &[String]) -> Vec<Found> {
    let mut all: BTreeMap<Category, Found> = BTreeMap::new();
    for (_, action, finding) in guard.inspect(texts, texts.len(), Direction::Input).findings {
        let category = finding.category;
        let one = all.entry(category).or_insert(Found { category, action, score: 0.0, count: 0 });
        one.action = one.action.max(action);
        one.score = one.score.max(finding.score);
        one.count += 1;
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{House, Scripted, Then, caller};
    use super::*;
    use crate::config::LimitSet;

    fn texts(texts: &[&str]) -> Vec<Vec<String>> {
        texts.iter().map(|text| vec![(*text).to_owned()]).collect()
    }

    async fn house() -> House {
        House::new(Scripted::new(&[], Then::Finish)).await
    }

    #[tokio::test]
    async fn each_input_is_judged_by_itself_and_no_word_is_on_record() {
        let house = house().await;
        let asked =
            texts(&["pineapple", "forbidden words, forbidden words", "4111 1111 1111 1111"]);
        let all = house.gate.moderate(&caller(), asked).await.expect("passes");
        let shown = |found: &Found| (found.category, found.action, found.count);
        let shown: Vec<Vec<_>> = all.iter().map(|one| one.iter().map(shown).collect()).collect();
        assert_eq!(shown[0], []);
        assert_eq!(shown[1], [(Category::Denied, Action::Refuse, 2)]);
        assert_eq!(shown[2], [(Category::PersonalCard, Action::Redact, 1)]);
        assert!(all[1][0].score > 0.0);
        assert_eq!(house.events().await, ["texts.moderated done"]);
        let body = String::from_utf8_lossy(&house.records().await[0].body).into_owned();
        assert!(body.contains("\"texts\":3") && body.contains("\"flagged\":2"), "{body}");
        assert!(!body.contains("pineapple") && !body.contains("forbidden"), "{body}");
        assert!(house.engine.seen.lock().is_empty(), "no model has read it");
    }

    #[tokio::test]
    async fn permission_limits_and_length_stand_in_the_way() {
        let house = house().await;
        let mut weak = caller();
        weak.permissions = crate::access::permission::BuiltinRole::Auditor.permissions();
        let refused = house.gate.moderate(&weak, texts(&["x"])).await;
        assert!(matches!(refused, Err(GateError::NotPermitted)));
        let long = vec![vec!["x".repeat(TEXT_BYTES_MAX), "x".to_owned()]];
        let refused = house.gate.moderate(&caller(), long).await;
        assert!(matches!(refused, Err(GateError::OutOfRange { parameter: "input", .. })));
        let one = LimitSet { requests_per_minute: Some(1), ..LimitSet::default() };
        let house = House::with_limits(Scripted::new(&[], Then::Finish), one).await;
        let caller = caller();
        house.gate.moderate(&caller, texts(&["x"])).await.expect("passes");
        assert_eq!(house.gate.usage(&caller).tokens_day.used, 0);
        let refused = house.gate.moderate(&caller, texts(&["x"])).await;
        assert!(matches!(refused, Err(GateError::Limited(_))));
        let refused = house.that_withdrew_everything().gate.moderate(&caller, texts(&["x"])).await;
        assert!(matches!(refused, Err(GateError::Revoked)));
    }
}
