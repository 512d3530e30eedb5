//! What is said in an answer becomes blocks, one after the other: what the model thinks, says, calls.
//! The one order of them, for answers in one piece and for streams.

use crate::gate::ExchangeEvent;

/// What a block is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Thinking,
    Text,
    ToolUse { id: String, name: String },
}

/// What happens to blocks. Each opens, has its pieces, and closes before the next opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Open(Kind),
    Piece(String),
    Close,
}

/// Where an answer stands.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    open: Option<Open>,
    /// White space that may become the beginning of a text.
    blank: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Thinking,
    Text,
    ToolUse,
}

impl Blocks {
    /// Takes what happens in the answer. White space between blocks is no text: what has none but that
    /// is refused by this API where it comes back.
    pub(super) fn take(&mut self, event: ExchangeEvent) -> Vec<Step> {
        match event {
            ExchangeEvent::Text { text, .. } if self.open == Some(Open::Text) => {
                vec![Step::Piece(text)]
            }
            ExchangeEvent::Text { text, .. } => {
                self.blank.push_str(&text);
                if self.blank.trim().is_empty() {
                    return Vec::new();
                }
                let text = std::mem::take(&mut self.blank);
                self.begin(Open::Text, Kind::Text, Some(text))
            }
            ExchangeEvent::Reasoning { text, .. } if self.open == Some(Open::Thinking) => {
                vec![Step::Piece(text)]
            }
            ExchangeEvent::Reasoning { text, .. } => {
                self.begin(Open::Thinking, Kind::Thinking, Some(text))
            }
            ExchangeEvent::Call { id, name, .. } => {
                self.begin(Open::ToolUse, Kind::ToolUse { id, name }, None)
            }
            ExchangeEvent::Arguments { text, .. } => vec![Step::Piece(text)],
            ExchangeEvent::Ended { .. } => self.close().into_iter().collect(),
            ExchangeEvent::Started
            | ExchangeEvent::Notice(_)
            | ExchangeEvent::Finished { .. }
            | ExchangeEvent::Failed(_) => Vec::new(),
        }
    }

    fn begin(&mut self, open: Open, kind: Kind, piece: Option<String>) -> Vec<Step> {
        let closed = self.close();
        self.blank.clear();
        self.open = Some(open);
        let begun = closed.into_iter().chain([Step::Open(kind)]);
        begun.chain(piece.map(Step::Piece)).collect()
    }

    fn close(&mut self) -> Option<Step> {
        self.open.take().map(|_| Step::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Ending;

    fn text(text: &str) -> ExchangeEvent {
        ExchangeEvent::Text { choice: 0, text: text.into(), logprobs: Vec::new() }
    }

    fn thought(text: &str) -> ExchangeEvent {
        ExchangeEvent::Reasoning { choice: 0, text: text.into() }
    }

    fn called(id: &str) -> [ExchangeEvent; 2] {
        let (choice, index) = (0, 0);
        let call = ExchangeEvent::Call { choice, index, id: id.into(), name: "add".into() };
        [call, ExchangeEvent::Arguments { choice, index, text: "{}".into() }]
    }

    /// The blocks in one line: each by a letter, with its pieces.
    fn line(events: impl IntoIterator<Item = ExchangeEvent>) -> String {
        let mut blocks = Blocks::default();
        let end = ExchangeEvent::Ended { choice: 0, ending: Ending::Stop };
        let steps = events.into_iter().chain([end]).flat_map(|event| blocks.take(event));
        let mut line = String::new();
        for step in steps {
            match step {
                Step::Open(Kind::Thinking) => line.push_str("H("),
                Step::Open(Kind::Text) => line.push_str("T("),
                Step::Open(Kind::ToolUse { id, .. }) => line.extend(["C", &id, "("]),
                Step::Piece(piece) => line.push_str(&piece.replace('\n', "/")),
                Step::Close => line.push(')'),
            }
        }
        line
    }

    #[test]
    fn each_block_closes_before_the_next_opens() {
        let [call, arguments] = called("1");
        let events =
            [thought("a"), thought("b"), text("c"), text(" d"), call, arguments, text("e")];
        assert_eq!(line(events), "H(ab)T(c d)C1({})T(e)");
        let [first, of_first] = called("1");
        let [second, of_second] = called("2");
        assert_eq!(line([first, of_first, second, of_second]), "C1({})C2({})");
    }

    #[test]
    fn white_space_between_blocks_is_no_text_and_inside_of_one_it_stays() {
        let [call, arguments] = called("1");
        assert_eq!(line([text("\n"), call, arguments, text("\n"), text(" ")]), "C1({})");
        assert_eq!(line([text("\n"), text(" a"), text("\n"), text("b")]), "T(/ a/b)");
        assert_eq!(line([text(" "), text("")]), "");
        assert_eq!(line([]), "");
    }
}
