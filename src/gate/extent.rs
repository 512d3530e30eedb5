//! How much of a request the guard looks through. Every text has its price, however short it is: a part with
//! a million of them, as JSON that a model called a function with can have, is refused by their number.

use super::error::GateError;
use super::request::{HeldTo, Input, PROMPTS_MAX};
use crate::engine::{Extent, Part};

/// Texts of one message, tool or form: names, texts and numbers.
const PART_TEXTS_MAX: usize = 8_192;
/// Bytes of the JSON in one of them, every value with its name.
const PART_BYTES_MAX: usize = 2 << 20;
/// Texts of a request.
const TEXTS_MAX: usize = 65_536;

/// Tokens of prompts that are sent back with how likely they were, counted with each answer: what is
/// said of one takes about a kilobyte.
const JUDGED_MAX: usize = 131_072;

/// Refuses more prompts than the line of a model ever has places for: asking again would not help.
pub(super) fn check_line(input: &Input, places: usize) -> Result<(), GateError> {
    // One waits wherever there is a line.
    if input.each().len() <= places.max(1) {
        return Ok(());
    }
    let expected = "no more texts than half of the line of this model (`queue_max`), which is what one request may take of it";
    Err(GateError::OutOfRange { parameter: input.parameter(), expected })
}

/// Refuses to say more of the tokens of prompts than there is memory for.
pub(super) fn check_judged(tokens: usize, choices: usize) -> Result<(), GateError> {
    if tokens.saturating_mul(choices) <= JUDGED_MAX {
        return Ok(());
    }
    let expected =
        "with `echo`, at most 131072 tokens of prompts, each counted with every answer to it";
    Err(GateError::OutOfRange { parameter: "logprobs", expected })
}

/// How many texts there are; refuses more than the guard is to look through.
pub(super) fn check(input: &Input, held: Option<&HeldTo>) -> Result<usize, GateError> {
    if input.each().len() > PROMPTS_MAX {
        let parameter = input.parameter();
        return Err(GateError::OutOfRange { parameter, expected: "at most 32 texts" });
    }
    let mut all = 0;
    if let Input::Conversation(conversation) = input {
        for (part, extent) in conversation.extents() {
            let parameter = match part {
                Part::Message => "messages",
                Part::Tool => "tools",
                Part::Argument => "chat_template_kwargs",
            };
            add(&mut all, parameter, extent)?;
        }
    }
    if let Some(held) = held {
        add(&mut all, held.parameter, held.grammar.extent())?;
    }
    Ok(all)
}

fn add(all: &mut usize, parameter: &'static str, extent: Extent) -> Result<(), GateError> {
    *all += extent.texts;
    let expected = if extent.texts > PART_TEXTS_MAX {
        "at most 8192 names, texts and numbers in each"
    } else if extent.json_bytes > PART_BYTES_MAX {
        "at most 2 MiB of JSON in each, every value counted with its name"
    } else if *all > TEXTS_MAX {
        "at most 65536 names, texts and numbers in one request"
    } else {
        return Ok(());
    };
    Err(GateError::OutOfRange { parameter, expected })
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::engine::{Content, Conversation, Grammar, Message, Role, ToolCall};

    fn calling(arguments: Value) -> Message {
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments };
        let mut message = Message::new(Role::Assistant, Content::None);
        message.tool_calls = vec![call];
        message
    }

    fn refused(conversation: Conversation) -> Option<&'static str> {
        match check(&Input::Conversation(conversation), None) {
            Ok(_) => None,
            Err(GateError::OutOfRange { parameter, .. }) => Some(parameter),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_has_more_texts_than_are_looked_through_is_refused_by_its_name() {
        let numbers = |count: usize| json!({ "n": vec![1; count] });
        let most = PART_TEXTS_MAX - 3;
        assert_eq!(refused(vec![calling(numbers(most))].into()), None);
        assert_eq!(refused(vec![calling(numbers(most + 1))].into()), Some("messages"));
        let parts = Content::Parts(vec![String::new(); PART_TEXTS_MAX + 1]);
        assert_eq!(refused(vec![Message::new(Role::User, parts)].into()), Some("messages"));
        let tools = vec![json!({}), numbers(PART_TEXTS_MAX)];
        assert_eq!(refused(Conversation { tools, ..Conversation::default() }), Some("tools"));
        let arguments = Map::from_iter([("n".to_owned(), json!(vec![1; PART_TEXTS_MAX + 1]))]);
        let conversation = Conversation { arguments, ..Conversation::default() };
        assert_eq!(refused(conversation), Some("chat_template_kwargs"));
        let many = vec![calling(numbers(most)); TEXTS_MAX / PART_TEXTS_MAX];
        assert_eq!(refused(many.clone().into()), None);
        assert_eq!(refused([many, vec![calling(json!({}))]].concat().into()), Some("messages"));
        let schema = Grammar::JsonSchema(json!({ "enum": vec!["a"; PART_TEXTS_MAX] }));
        let held = HeldTo { grammar: schema, parameter: "guided_json" };
        let found = check(&Input::Text(String::new()), Some(&held));
        assert!(matches!(found, Err(GateError::OutOfRange { parameter: "guided_json", .. })));
    }

    #[test]
    fn no_more_prompts_come_together_than_the_record_has_room_for() {
        let several = |count| Input::Several(vec![Input::Text("a".into()); count]);
        assert!(check(&several(PROMPTS_MAX), None).is_ok());
        let found = check(&several(PROMPTS_MAX + 1), None);
        assert!(matches!(found, Err(GateError::OutOfRange { parameter: "prompt", .. })));
    }

    #[test]
    fn what_would_never_have_a_place_or_is_too_much_to_judge_is_refused_by_name() {
        let refused = |result| match result {
            Ok(()) => None,
            Err(GateError::OutOfRange { parameter, .. }) => Some(parameter),
            Err(other) => panic!("{other}"),
        };
        let several = Input::Several(vec![Input::Text("a".into()); 4]);
        assert_eq!(refused(check_line(&several, 4)), None);
        assert_eq!(refused(check_line(&several, 3)), Some("prompt"));
        assert_eq!(refused(check_line(&Input::Text("a".into()), 0)), None);
        assert_eq!(refused(check_judged(JUDGED_MAX, 1)), None);
        assert_eq!(refused(check_judged(JUDGED_MAX / 4 + 1, 4)), Some("logprobs"));
        assert_eq!(refused(check_judged(usize::MAX, 2)), Some("logprobs"));
    }

    #[test]
    fn a_long_name_counts_with_each_of_its_values() {
        let text = "x".repeat(1 << 10);
        let with = |count: usize| calling(json!({ &text: vec![&text[..]; count] }));
        assert_eq!(refused(vec![with(1_000)].into()), None);
        assert_eq!(refused(vec![with(2_000)].into()), Some("messages"));
        // One long text is bounded by the policy.
        let long = Message::new(Role::User, "x".repeat(PART_BYTES_MAX + 1));
        assert_eq!(refused(vec![long].into()), None);
    }
}
