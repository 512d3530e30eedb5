//! Stop texts, wherever the borders of tokens lie. What could be the beginning of one is held back.

/// Looks for stop texts in a stream.
#[derive(Clone, Debug)]
pub(super) struct StopFinder {
    stops: Vec<String>,
    held: String,
}

/// What may be sent, and which stop text followed it, if one did.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) stopped: Option<usize>,
}

impl StopFinder {
    /// The texts are not empty.
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &str) -> Found {
        if self.stops.is_empty() {
            return Found { text: piece.to_owned(), stopped: None };
        }
        self.held.push_str(piece);
        let places = self.stops.iter().enumerate();
        let found =
            places.filter_map(|(which, stop)| Some((self.held.find(stop.as_str())?, which)));
        if let Some((at, which)) = found.min() {
            self.held.truncate(at);
            return Found { text: std::mem::take(&mut self.held), stopped: Some(which) };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Found { text: std::mem::replace(&mut self.held, rest), stopped: None }
    }

    /// Whether something is held back.
    pub(super) fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }

    /// What is still held back.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// The length of the longest end of `text` that is a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&length| stop.is_char_boundary(length) && text.ends_with(&stop[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(pieces: &[&str], stops: &[&str]) -> (String, bool) {
        let mut finder = StopFinder::new(stops.iter().map(|&stop| stop.into()).collect());
        let mut text = String::new();
        for piece in pieces {
            let found = finder.push(piece);
            text.push_str(&found.text);
            if found.stopped.is_some() {
                return (text, true);
            }
        }
        text.push_str(&finder.finish());
        (text, false)
    }

    #[test]
    fn a_stop_text_over_token_borders_is_found() {
        for (pieces, stops, expected) in [
            (vec!["ab", "cS", "TO", "Pd"], vec!["STOP"], ("abc", true)),
            (vec!["aSTSTOPb"], vec!["STOP"], ("aST", true)),
            (vec!["S", "S", "T", "O", "S", "T", "O", "P"], vec!["STOP"], ("SSTO", true)),
            (vec!["abc"], vec!["c", "b"], ("a", true)),
            (vec!["Grü", "ße"], vec!["üß"], ("Gr", true)),
            (vec!["\n", "\n"], vec!["\n\n"], ("", true)),
            (vec!["abcSTO"], vec!["STOP"], ("abcSTO", false)),
            (vec!["é"], vec!["è"], ("é", false)),
        ] {
            assert_eq!(
                run(&pieces, &stops),
                (expected.0.to_owned(), expected.1),
                "{pieces:?} {stops:?}"
            );
        }
    }

    #[test]
    fn the_first_of_several_is_the_one_that_is_told() {
        for (piece, expected) in [("abc", Some(1)), ("cab", Some(0)), ("xyz", None)] {
            let mut finder = StopFinder::new(vec!["c".into(), "ab".into()]);
            assert_eq!(finder.push(piece).stopped, expected, "{piece}");
        }
    }

    proptest! {
        #[test]
        fn the_borders_do_not_matter(text in "[abü]{0,40}", stop in "[abü]{1,4}", cuts in prop::collection::vec(0_usize..40, 0..8)) {
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            for cut in cuts {
                let at = (0..=cut.min(rest.len())).rev().find(|&at| rest.is_char_boundary(at)).unwrap_or(0);
                let (piece, next) = rest.split_at(at);
                pieces.push(piece);
                rest = next;
            }
            pieces.push(rest);
            let expected = match text.find(&stop) {
                Some(at) => (text[..at].to_owned(), true),
                None => (text.clone(), false),
            };
            prop_assert_eq!(run(&pieces, &[&stop]), expected);
        }
    }
}
