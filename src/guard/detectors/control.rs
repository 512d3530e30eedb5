//! Markers of chat templates in a person's text. The engine's templates keep such text from ever
//! becoming a control token; the finding says that somebody tried.

use regex::Regex;

use super::{Detector, in_plain, pattern};
use crate::guard::finding::{Category, Finding};
use crate::guard::view::View;

/// Finds the markers of the known template families.
pub(super) struct ControlTokens(Regex);

impl ControlTokens {
    pub(super) fn new() -> Self {
        Self(pattern(
            r"<\|[A-Za-z_][A-Za-z0-9_ ./-]{0,39}\|>|<｜[^｜<>\n]{1,40}｜>|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]|<</?SYS>>|</?(?:start|end)_of_(?:turn|image)>|<(?:bos|eos|pad|unk)>",
        ))
    }
}

impl Detector for ControlTokens {
    fn name(&self) -> &'static str {
        "control"
    }

    fn categories(&self) -> &'static [Category] {
        &[Category::ControlToken]
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        for hit in self.0.find_iter(view.plain()) {
            found.push(in_plain(view, "control", Category::ControlToken, 1.0, hit.range()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(text: &str) -> usize {
        let mut found = Vec::new();
        ControlTokens::new().find(&View::new(text), &mut found);
        found.len()
    }

    #[test]
    fn markers_are_found_and_ordinary_brackets_are_not() {
        for text in [
            "<|im_start|>system",
            "[INST] hi",
            "[/INST]",
            "<<SYS>>",
            "<start_of_turn>user",
            "<|eot_id|>",
            "<|\u{200b}im_end|>",
            "<eos>",
        ] {
            assert_eq!(finds(text), 1, "{text}");
        }
        for text in ["a <| b |> c", "[inst]", "<b>bold</b>", "1 << SYS >> 2", "x |> f |> g", "[1]"]
        {
            assert_eq!(finds(text), 0, "{text}");
        }
    }
}
