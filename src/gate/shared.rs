//! System prompts that are everybody's. A conversation whose first system message is one of them, byte
//! for byte, finds the beginning of its prompt in a cache that is nobody's own; what follows stays in
//! the person's.
//!
//! What is shared is decided by tokens, not by trust in a template: the beginning that two conversations
//! with this system message and different questions have in common, and of it only as much as the
//! prompt at hand begins with. So no token in it can come from a person, whatever a template does
//! with tools, names or earlier turns.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::catalog::Model;
use super::error::GateError;
use super::generate::Generate;
use super::inspect::Cleared;
use super::prompt::by_length;
use super::{Gate, Input};
use crate::access::Caller;
use crate::engine::{Domain, Message, PromptOptions, Role, SharedPrefix};
use crate::ids::SharedPromptId;

/// Beginnings that are kept; with as many prompts and models as there may be, those of today fit.
const BEGINNINGS_MAX: usize = 1_024;

/// A system prompt that an administrator keeps for many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SharedPrompt {
    /// The prompt.
    pub(crate) id: SharedPromptId,
    /// What the model is told.
    pub(crate) text: String,
    /// The roles that it is for; none means everybody.
    pub(crate) roles: Option<Vec<String>>,
    /// The models that it is for, by their own names; none means all.
    pub(crate) models: Option<Vec<String>>,
}

impl SharedPrompt {
    /// Whether it is for this caller.
    pub(crate) fn is_open_to(&self, caller: &Caller) -> bool {
        let holds = |role: &String| caller.roles.contains(role);
        self.roles.as_ref().is_none_or(|roles| roles.iter().any(holds))
    }

    /// Whether it is for this model.
    pub(crate) fn is_for(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|one| one == model))
    }

    /// Whether it is for every model.
    pub(crate) fn is_for_all(&self) -> bool {
        self.models.is_none()
    }

    /// Where its beginnings are cached: no person's domain, as no two ids are the same.
    fn domain(&self) -> Domain {
        Domain(u128::from_be_bytes(*self.id.as_bytes()))
    }
}

/// The prompts that there are, and the tokens that they begin with.
#[derive(Debug, Default)]
pub(super) struct SharedPrompts {
    list: RwLock<Vec<SharedPrompt>>,
    beginnings: Mutex<HashMap<Place, Arc<[u32]>>>,
}

/// What the tokens of a beginning depend on: the prompt, the model and its file, the day.
type Place = (SharedPromptId, String, Option<String>, Option<time::Date>);

impl SharedPrompts {
    /// The prompt that this text is, for this caller and model.
    fn find(&self, caller: &Caller, model: &str, text: &str) -> Option<SharedPrompt> {
        let is_it =
            |one: &&SharedPrompt| one.text == text && one.is_open_to(caller) && one.is_for(model);
        self.list.read().iter().find(is_it).cloned()
    }
}

impl Gate {
    /// Puts these prompts in the place of those that there were. Of those that are gone or changed,
    /// nothing stays in the caches.
    pub(crate) fn set_shared_prompts(&self, prompts: Vec<SharedPrompt>) {
        let shared = &self.inner.shared;
        let before = std::mem::replace(&mut *shared.list.write(), prompts.clone());
        let gone: Vec<SharedPrompt> =
            before.into_iter().filter(|one| !prompts.contains(one)).collect();
        shared.beginnings.lock().retain(|place, _| gone.iter().all(|one| one.id != place.0));
        for model in self.inner.parts.catalog.all() {
            if let Some(engine) = &model.engine {
                for prompt in &gone {
                    engine.forget(prompt.domain());
                }
            }
        }
    }

    /// Marks the beginning of a prompt that is everybody's.
    pub(super) async fn share(
        &self,
        caller: &Caller,
        model: &Model,
        mut cleared: Cleared,
    ) -> Result<Cleared, GateError> {
        let draft = &mut cleared.draft;
        let Some(text) = system_text(&draft.input) else { return Ok(cleared) };
        let Some(prompt) = self.inner.shared.find(caller, &model.name, &text) else {
            return Ok(cleared);
        };
        let (domain, engine, today) = (prompt.domain(), Arc::clone(&draft.engine), draft.today);
        let place = (prompt.id, model.name.clone(), model.digest.clone(), today);
        let known = self.inner.shared.beginnings.lock().get(&place).cloned();
        let beginning = if let Some(known) = known {
            known
        } else {
            let made = by_length(usize::MAX, move || beginning(&*engine, &text, today)).await?;
            self.keep_beginning(place, made)
        };
        let prompt = draft.prompts.first().map_or(&[][..], Vec::as_slice);
        let tokens = common(&beginning, prompt);
        draft.shared = (tokens > 0).then_some(SharedPrefix { domain, tokens });
        Ok(cleared)
    }

    fn keep_beginning(&self, place: Place, made: Vec<u32>) -> Arc<[u32]> {
        let made: Arc<[u32]> = made.into();
        let mut beginnings = self.inner.shared.beginnings.lock();
        if beginnings.len() >= BEGINNINGS_MAX {
            // Those of other days are of no use any more.
            beginnings.retain(|known, _| known.3 == place.3);
        }
        if beginnings.len() < BEGINNINGS_MAX {
            beginnings.insert(place, Arc::clone(&made));
        }
        made
    }
}

/// The first message, where it is the system's.
fn system_text(input: &Input) -> Option<String> {
    let Input::Conversation(conversation) = input else { return None };
    let first = conversation.messages.first().filter(|message| message.role == Role::System)?;
    Some(first.content.text())
}

/// The tokens that every conversation with this system message begins with; none where the model's
/// template takes no such message.
fn beginning(engine: &dyn Generate, text: &str, date: Option<time::Date>) -> Vec<u32> {
    let options = PromptOptions { date, ..PromptOptions::default() };
    let probe = |question: &str| {
        let messages = vec![Message::new(Role::System, text), Message::new(Role::User, question)];
        engine.prompt(&messages.into(), &options)
    };
    // They differ from their first character on, and no token has both beginnings.
    let (Ok(mut one), Ok(other)) = (probe("a"), probe("7")) else { return Vec::new() };
    one.truncate(common(&one, &other));
    one
}

/// How many tokens two prompts have in common at their beginning.
fn common(one: &[u32], other: &[u32]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{House, Scripted, Then, caller, request};
    use super::*;
    use crate::gate::ExchangeRequest;

    fn prompt(text: &str) -> SharedPrompt {
        SharedPrompt { id: SharedPromptId::new(), text: text.into(), roles: None, models: None }
    }

    fn chat(system: &str, question: &str) -> ExchangeRequest {
        let messages = vec![Message::new(Role::System, system), Message::new(Role::User, question)];
        ExchangeRequest { input: Input::Conversation(messages.into()), ..request("") }
    }

    /// What of the prompt was marked as everybody's.
    async fn shared(house: &House, by: &Caller, request: ExchangeRequest) -> Option<SharedPrefix> {
        let mut handle = house.gate.run(by, request).await.expect("passes");
        while handle.next().await.is_some() {}
        *house.engine.shared.lock().last().expect("the engine was asked")
    }

    #[tokio::test]
    async fn the_beginning_up_to_the_question_is_everybodys_and_nothing_else() {
        let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
        let kept = prompt("Be brief.");
        house.gate.set_shared_prompts(vec![prompt("Be kind."), kept.clone()]);
        let tokens = "System:Be brief.\nUser:".len();
        let expected = Some(SharedPrefix { domain: kept.domain(), tokens });
        for question in ["Hi", "a", "7", "alpha 7"] {
            assert_eq!(shared(&house, &caller(), chat("Be brief.", question)).await, expected);
        }
        // A letter more or less, and it is the person's own.
        for system in ["Be brief", "Be brief. ", "be brief.", "Be brief.\n", "Be"] {
            assert_eq!(shared(&house, &caller(), chat(system, "Hi")).await, None, "{system}");
        }
        assert_eq!(shared(&house, &caller(), request("System:Be brief.\nUser:Hi")).await, None);
        house.gate.set_shared_prompts(Vec::new());
        assert_eq!(shared(&house, &caller(), chat("Be brief.", "Hi")).await, None);
    }

    #[tokio::test]
    async fn a_prompt_for_some_roles_or_models_is_no_ones_elses() {
        let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
        let for_roles = SharedPrompt { roles: Some(vec!["owner".into()]), ..prompt("Be brief.") };
        let other = SharedPrompt { models: Some(vec!["closed".into()]), ..prompt("Be kind.") };
        house.gate.set_shared_prompts(vec![for_roles, other]);
        assert_eq!(shared(&house, &caller(), chat("Be brief.", "Hi")).await, None);
        assert_eq!(shared(&house, &caller(), chat("Be kind.", "Hi")).await, None);
        let mut owner = caller();
        owner.roles.push("owner".into());
        assert!(shared(&house, &owner, chat("Be brief.", "Hi")).await.is_some());
        let closed = ExchangeRequest { model: Some("closed".into()), ..chat("Be kind.", "Hi") };
        assert!(shared(&house, &owner, closed).await.is_some());
    }

    #[test]
    fn what_two_prompts_have_in_common_ends_with_the_shorter() {
        assert_eq!(common(&[1, 2, 3], &[1, 2]), 2);
        assert_eq!(common(&[1], &[2]), 0);
        assert_eq!(common(&[], &[1]), 0);
    }
}
