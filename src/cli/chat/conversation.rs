//! What has been said in a chat, and what is asked next. Kept in memory alone.

use serde_json::{Value, json};

use super::clean;

/// A question to the server.
#[derive(Debug)]
pub(super) struct Ask {
    /// None: the server's own choice.
    pub(super) model: Option<String>,
    messages: Vec<Value>,
}

impl Ask {
    /// The body of the request.
    pub(super) fn body(&self) -> String {
        let mut body = json!({ "messages": self.messages, "stream": true });
        if let Some(model) = &self.model {
            body["model"] = json!(model);
        }
        body.to_string()
    }
}

/// A chat.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) model: Option<String>,
    pub(super) system: Option<String>,
    turns: Vec<Turn>,
}

#[derive(Debug)]
struct Turn {
    question: String,
    /// None while there is none, and where it failed.
    answer: Option<String>,
}

impl Conversation {
    /// A chat with nothing said in it: with a model, else the server's own choice, and with instructions.
    pub(super) fn new(model: Option<String>, system: Option<String>) -> Self {
        Self { model, system, ..Self::default() }
    }

    /// Asks something. A question before it that got no answer is dropped. Refused where all of it is
    /// more than this keeps.
    pub(super) fn ask(&mut self, question: String) -> Result<Ask, &'static str> {
        self.turns.retain(|turn| turn.answer.is_some());
        if self.bytes() + question.len() > BYTES_MAX {
            return Err("this chat has become too long. `/clear` begins anew");
        }
        self.turns.push(Turn { question, answer: None });
        Ok(self.open())
    }

    /// Asks the last question again, without the answer that it got. That one stays until another
    /// comes.
    pub(super) fn ask_again(&self) -> Option<Ask> {
        let last = self.turns.last()?;
        let mut ask = self.open();
        if last.answer.is_some() {
            ask.messages.pop();
        }
        Some(ask)
    }

    /// Keeps the answer to the last question, or what came of it.
    pub(super) fn answered(&mut self, answer: String) {
        if let Some(turn) = self.turns.last_mut().filter(|_| !answer.is_empty()) {
            turn.answer = Some(answer);
        }
    }

    /// Forgets what has been said.
    pub(super) fn clear(&mut self) {
        self.turns.clear();
    }

    /// Whether nothing has been answered.
    pub(super) fn is_empty(&self) -> bool {
        self.turns.iter().all(|turn| turn.answer.is_none())
    }

    /// All of it as Markdown, for a file that a terminal may show.
    pub(super) fn transcript(&self) -> String {
        let mut text = String::new();
        let mut part = |title: &str, content: &str| {
            let content = clean::text(content);
            text.extend(["## ", title, "\n\n", content.trim_end(), "\n\n"]);
        };
        if let Some(system) = &self.system {
            part("Instructions", system);
        }
        for turn in &self.turns {
            part("You", &turn.question);
            if let Some(answer) = &turn.answer {
                part("Answer", answer);
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    fn open(&self) -> Ask {
        let message = |role: &str, content: &str| json!({ "role": role, "content": content });
        let mut messages: Vec<Value> = Vec::new();
        messages.extend(self.system.as_deref().map(|system| message("system", system)));
        for turn in &self.turns {
            messages.push(message("user", &turn.question));
            messages.extend(turn.answer.as_deref().map(|answer| message("assistant", answer)));
        }
        Ask { model: self.model.clone(), messages }
    }

    fn bytes(&self) -> usize {
        let answer = |turn: &Turn| turn.answer.as_ref().map_or(0, String::len);
        self.turns.iter().map(|turn| turn.question.len() + answer(turn)).sum()
    }
}

const BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ask: &Ask) -> Vec<String> {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let each = ask.messages.iter();
        each.map(|one| format!("{}: {}", text(&one["role"]), text(&one["content"]))).collect()
    }

    #[test]
    fn a_question_carries_what_was_said_before() {
        let mut chat = Conversation { system: Some("Be brief.".into()), ..Conversation::default() };
        chat.ask("One?".into()).expect("asked");
        chat.answered("1".into());
        let ask = chat.ask("Two?".into()).expect("asked");
        assert_eq!(said(&ask), ["system: Be brief.", "user: One?", "assistant: 1", "user: Two?"]);
        assert!(!ask.body().contains("\"model\""), "the server chooses");
        chat.model = Some("guide".into());
        let ask = chat.ask("Three?".into()).expect("asked");
        assert_eq!(said(&ask), ["system: Be brief.", "user: One?", "assistant: 1", "user: Three?"]);
        let body: Value = serde_json::from_str(&ask.body()).expect("JSON");
        assert_eq!((body["model"].as_str(), body["stream"].as_bool()), (Some("guide"), Some(true)));
    }

    #[test]
    fn a_question_is_asked_again_without_its_answer() {
        let mut chat = Conversation::default();
        assert!(chat.ask_again().is_none());
        chat.ask("One?".into()).expect("asked");
        chat.answered("1".into());
        assert_eq!(said(&chat.ask_again().expect("asked")), ["user: One?"]);
        chat.answered("one".into());
        assert_eq!(said(&chat.ask_again().expect("asked")), ["user: One?"]);
        // Nothing came this time: the chat goes on with what was answered before.
        chat.answered(String::new());
        let ask = chat.ask("Two?".into()).expect("asked");
        assert_eq!(said(&ask), ["user: One?", "assistant: one", "user: Two?"]);
        assert_eq!(said(&chat.ask_again().expect("asked")), said(&ask));
        chat.clear();
        assert!(chat.ask_again().is_none());
    }

    #[test]
    fn a_chat_has_an_end() {
        let mut chat = Conversation::default();
        chat.ask("x".repeat(BYTES_MAX)).expect("asked");
        chat.answered("y".into());
        assert!(chat.ask("more".into()).is_err());
        chat.clear();
        assert!(chat.ask("more".into()).is_ok());
    }

    #[test]
    fn a_transcript_holds_no_sequence_for_terminals() {
        let mut chat = Conversation { system: Some("s".into()), ..Conversation::default() };
        chat.ask("q".into()).expect("asked");
        chat.answered("\x1b[31ma\n".into());
        assert_eq!(
            chat.transcript(),
            "## Instructions\n\ns\n\n## You\n\nq\n\n## Answer\n\n␛[31ma\n"
        );
    }
}
