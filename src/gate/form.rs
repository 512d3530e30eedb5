//! What an answer is held to: a form, calls of functions, or one of the two.

use super::error::GateError;
use super::prompt::Draft;
use super::request::Input;
use crate::engine::{GrammarError, ToolChoice, ToolRules};

impl Draft {
    /// Whether grammars are compiled for it, which takes longer than the reading of a text.
    pub(super) fn is_held(&self) -> bool {
        self.held_to.is_some() || self.tools.is_some()
    }

    /// Whether the answer has a form where it calls no function. What must call has none.
    pub(super) fn calls_or_has_form(&self) -> bool {
        let is_free = |rules: &ToolRules| rules.choice == ToolChoice::Auto;
        self.held_to.is_some() && self.tools.as_ref().is_some_and(is_free)
    }

    /// Compiles what the answer is held to.
    pub(super) fn constrain(&mut self) -> Result<(), GateError> {
        let form = self.held_to.as_ref().map(|held| &held.grammar);
        let made = match (&self.tools, form, &self.input) {
            (Some(rules), form, Input::Conversation(conversation)) => {
                self.engine.constrain_calls(&conversation.tools, rules, form)
            }
            (_, Some(form), _) => self.engine.constrain(form).map(Some),
            _ => Ok(None),
        };
        self.constraint = match made {
            // What was to have a form is not let go without.
            Ok(None) if self.calls_or_has_form() => {
                return Err(self.not_held(GrammarError::Unavailable));
            }
            Ok(constraint) => constraint,
            Err(error) => return Err(self.not_held(error)),
        };
        Ok(())
    }

    /// Says which parameter asks for what an answer cannot be held to.
    fn not_held(&self, error: GrammarError) -> GateError {
        let of_tools = match (&self.held_to, &self.tools, &self.input) {
            (Some(_), Some(rules), Input::Conversation(conversation)) => {
                let alone = self.engine.constrain_calls(&conversation.tools, rules, None);
                alone.is_err()
            }
            _ => self.held_to.is_none(),
        };
        let of_form = self.held_to.as_ref().filter(|_| !of_tools);
        GateError::Grammar {
            parameter: of_form.map_or("tools", |held| held.parameter),
            reason: match error {
                GrammarError::Unusable(reason) => reason,
                GrammarError::Unavailable => "this model cannot be held to one".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{House, Scripted, Then, caller, request};
    use super::super::{ExchangeRequest, HeldTo};
    use super::*;
    use crate::engine::{Conversation, Grammar, Message, Role};

    /// Somebody who wants a call of a function by this choice, or else a form.
    fn asked(choice: ToolChoice) -> ExchangeRequest {
        let tool = serde_json::json!({"type": "function", "function": {"name": "pay"}});
        let messages = vec![Message::new(Role::User, "Hi")];
        let conversation = Conversation { tools: vec![tool], ..messages.into() };
        let held_to = HeldTo { grammar: Grammar::JsonObject, parameter: "response_format" };
        ExchangeRequest {
            input: Input::Conversation(conversation),
            tools: Some(ToolRules { choice, is_parallel: true }),
            held_to: Some(held_to),
            takes_apart: true,
            ..request("")
        }
    }

    #[tokio::test]
    async fn what_was_to_have_a_form_beside_tools_does_not_run_without() {
        // This model can be held to nothing.
        let house = House::new(Scripted::new(&["x"], Then::Finish)).await;
        let refused = house.gate.run(&caller(), asked(ToolChoice::Auto)).await;
        let parameter = match refused {
            Err(GateError::Grammar { parameter, .. }) => parameter,
            other => panic!("{other:?}"),
        };
        assert_eq!(parameter, "response_format");
        assert!(house.engine.seen.lock().is_empty());
        // Where it must call, there is no other form that it could have.
        let must = asked(ToolChoice::Required);
        house.gate.run(&caller(), must).await.expect("passes");
    }
}
