//! Answers of every family, whole and cut anywhere.

use proptest::prelude::*;

use super::super::format::{FORMATS, TOLD};
use super::*;

fn format(name: &str) -> Format {
    FORMATS.iter().chain([&TOLD]).find(|one| one.name == name).copied().expect("a format")
}

fn expected(name: &str) -> Expected {
    Expected {
        format: format(name),
        functions: vec!["add".into(), "look_up".into()],
        thinks: true,
        starts_thinking: false,
        controls: vec![
            "[TOOL_CALLS]",
            "[ARGS]",
            "<|message|>",
            "<|channel|>",
            "<|end|>",
            "<|start|>",
        ],
    }
}

/// Control tokens are written `‹name›` here.
fn read(expected: Expected, pieces: &[&str]) -> Vec<Said> {
    read_by(AnswerParser::new(expected), pieces).0
}

/// Also whether it was ended by a stop text.
fn read_by(mut parser: AnswerParser, pieces: &[&str]) -> (Vec<Said>, bool) {
    let mut parts: Vec<Spoken> = Vec::new();
    for piece in pieces {
        parts.extend(parser.push(piece));
    }
    parts.extend(parser.finish());
    let text = pieces.concat();
    let mut all: Vec<Said> = Vec::new();
    for Spoken { said, at } in parts {
        if let Said::Content(said) | Said::Reasoning(said) = &said {
            // A stop text may cut a part that has a mark in it: then its end is near by.
            let raw = text.get(at).unwrap_or_default();
            let is_cut = parser.stopped().is_some() && text.contains(MARK);
            assert!(is_cut || raw.replace(MARK, "") == *said, "{said} is {raw} in {text}");
        }
        if !all.last_mut().is_some_and(|last| last.absorb(&said)) {
            all.push(said);
        }
    }
    (all, parser.stopped().is_some())
}

fn cut<'a>(text: &'a str, cuts: &[usize]) -> Vec<&'a str> {
    let (mut pieces, mut rest, mut cuts) = (Vec::new(), text, cuts.iter().cycle());
    while !rest.is_empty() {
        let length = cuts.next().copied().unwrap_or(1);
        let end = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn marked(text: &str) -> String {
    text.replace(['‹', '›'], &MARK.to_string())
}

/// Parts as one line: `?` thinks, `!` calls, `=` arguments.
fn shown(parts: &[Said]) -> String {
    let show = |part: &Said| match part {
        Said::Content(text) => text.clone(),
        Said::Reasoning(text) => format!("?{text}"),
        Said::Call(name) => format!("!{name}"),
        Said::Arguments(text) => format!("={text}"),
    };
    parts.iter().map(show).collect::<Vec<_>>().join("~")
}

const ANSWERS: &[(&str, &str, &str)] = &[
    ("hermes", "Hello there.\n", "Hello there.\n"),
    ("hermes", "<think>\nHm.\n</think>\n\nYes.", "?Hm.~Yes."),
    ("hermes", "a <think> b", "a <think> b"),
    (
        "hermes",
        "<think>x</think>Let me see.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": [1, 2], \"b\": \"}\\\"\"}}\n</tool_call>\n<tool_call>{\"name\": \"look_up\", \"arguments\": {}}</tool_call> done",
        "?x~Let me see.~!add~={\"a\": [1, 2], \"b\": \"}\\\"\"}~!look_up~={}~done",
    ),
    (
        "hermes",
        "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"add\"}</tool_call>",
        "!add~={\"a\": 1}",
    ),
    (
        "hermes",
        "<tool_call>{\"name\": \"rm\"}</tool_call>",
        "<tool_call>{\"name\": \"rm\"}</tool_call>",
    ),
    ("hermes", "<tool_call>oh", "<tool_call>oh"),
    ("hermes", "<tool_cal", "<tool_cal"),
    ("hermes", "<tool_call>{\"name\": \"ad", "<tool_call>{\"name\": \"ad"),
    (
        "hermes",
        "<tool_call>{\"name\": \"add\", \"arguments\": \"{\\\"a\\\": 1}\"}",
        "!add~={\"a\": 1}",
    ),
    (
        "llama3",
        "{\"name\": \"add\", \"parameters\": {\"a\": 1}}; {\"name\": \"add\", \"parameters\": {\"a\": 2}}",
        "!add~={\"a\": 1}~!add~={\"a\": 2}",
    ),
    ("llama3", "<|python_tag|>{\"name\": \"add\", \"parameters\": {}}", "!add~={}"),
    ("llama3", "{\"nam\": 1}", "{\"nam\": 1}"),
    ("llama3", "so {\"name\": \"add\"}", "so {\"name\": \"add\"}"),
    (
        "mistral",
        "‹[TOOL_CALLS]›[{\"name\": \"add\", \"arguments\": {\"a\": 1}}, {\"name\": \"look_up\", \"arguments\": {}}]",
        "!add~={\"a\": 1}~!look_up~={}",
    ),
    ("mistral", "[TOOL_CALLS][{\"name\": \"add\"}]", "[TOOL_CALLS][{\"name\": \"add\"}]"),
    (
        "mistral-named",
        "‹[TOOL_CALLS]›add‹[ARGS]›{\"a\": {\"b\": \"]\"}}‹[TOOL_CALLS]›look_up‹[ARGS]›{}",
        "!add~={\"a\": {\"b\": \"]\"}}~!look_up~={}",
    ),
    (
        "granite",
        "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]",
        "!add~={\"a\": 1}",
    ),
    ("phi", "<|tool_call|>[{\"name\": \"add\", \"arguments\": {}}]<|/tool_call|>", "!add~={}"),
    (
        "harmony",
        "‹<|channel|>›analysis‹<|message|>›I think.‹<|end|>›‹<|start|>›assistant‹<|channel|>›final‹<|message|>›So.",
        "?I think.~So.",
    ),
    (
        "harmony",
        "‹<|channel|>›analysis‹<|message|>›Hm‹<|end|>›‹<|start|>›assistant‹<|channel|>›commentary to=functions.add ‹<|constrain|>›json‹<|message|>›{\"a\": 1}",
        "?Hm~!add~={\"a\": 1}",
    ),
];

#[test]
fn answers_of_every_family_are_taken_apart() {
    for (name, text, parts) in ANSWERS {
        assert_eq!(shown(&read(expected(name), &[&marked(text)])), *parts, "{name}: {text}");
    }
}

const ADDS: &str = "!add~={\"a\": 1}";

/// Family, answer, stop text, parts, and whether the stop text ended it.
const STOPPED: &[(&str, &str, &str, &str, bool)] = &[
    ("hermes", "<think>\nHm.\n\nSo.\n</think>\n\nYes.\n\nNo.", "\n\n", "?Hm.\n\nSo.~Yes.", true),
    ("hermes", "<think>I think</think>Why think?", "think", "?I think~Why ", true),
    ("hermes", "<think>I</think>Yes", "<", "?I~Yes", false),
    (
        "hermes",
        "<think>x</think>Well.\n<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>",
        "}",
        "?x~Well.~!add~={\"a\": 1}",
        false,
    ),
    (
        "hermes",
        "Well.\n<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call>",
        "ll",
        "We",
        true,
    ),
    (
        "hermes",
        "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}</tool_call> so a {} done",
        "{}",
        "!add~={\"a\": 1}~so a ",
        true,
    ),
    ("hermes", "<tool_call>oh", "call", "<tool_", true),
    ("hermes", "Yes STO", "STOP", "Yes STO", false),
    ("told", "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 1}}", "add", ADDS, false),
    (
        "told",
        "No. <tool_call>{\"name\": \"rm\"}</tool_call>",
        "rm",
        "No.<tool_call>{\"name\": \"",
        true,
    ),
    ("llama3", "{\"name\": \"add\", \"parameters\": {\"a\": 1}}", "parameters", ADDS, false),
    ("llama3", "<|python_tag|>{\"name\": \"add\", \"parameters\": {\"a\": 1}}", "tag", ADDS, false),
    ("llama3", "so {\"name\": \"add\"}", "\"name\"", "so {", true),
    ("mistral", "‹[TOOL_CALLS]›[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "[", ADDS, false),
    ("mistral", "It is [1, 2].‹[TOOL_CALLS]›[{\"name\": \"add\"}]", "[", "It is ", true),
    ("mistral-named", "‹[TOOL_CALLS]›add‹[ARGS]›{\"a\": 1}", "ARGS", ADDS, false),
    ("mistral-named", "ARGS‹[TOOL_CALLS]›add‹[ARGS]›{\"a\": 1}", "ARGS", "", true),
    ("granite", "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]", "|>", ADDS, false),
    ("granite", "a |> b", "|>", "a ", true),
    (
        "phi",
        "<|tool_call|>[{\"name\": \"add\", \"arguments\": {\"a\": 1}}]<|/tool_call|>",
        "]",
        ADDS,
        false,
    ),
    ("phi", "a] b", "]", "a", true),
    (
        "harmony",
        "‹<|channel|>›analysis‹<|message|>›I think.‹<|end|>›‹<|start|>›assistant‹<|channel|>›final‹<|message|>›So I think.",
        "think",
        "?I think.~So I ",
        true,
    ),
    (
        "harmony",
        "‹<|channel|>›analysis‹<|message|>›Hm‹<|end|>›‹<|start|>›assistant‹<|channel|>›commentary to=functions.add ‹<|constrain|>›json‹<|message|>›{\"a\": 1}",
        "a",
        "?Hm~!add~={\"a\": 1}",
        false,
    ),
];

#[test]
fn stop_texts_end_what_is_said_in_every_family_and_no_thought_mark_or_call() {
    for (name, text, stop, parts, is_stopped) in STOPPED {
        let text = marked(text);
        let parser = AnswerParser::new(expected(name)).stopping_at(vec![(*stop).to_owned()]);
        for pieces in [vec![text.as_str()], cut(&text, &[1])] {
            let (got, stopped) = read_by(parser.clone(), &pieces);
            assert_eq!((shown(&got).as_str(), stopped), (*parts, *is_stopped), "{name}: {text}");
        }
    }
    let families = FORMATS.iter().chain([&TOLD]).map(|format| format.name);
    for name in families {
        let both = [true, false].map(|end| STOPPED.iter().any(|one| (one.0, one.4) == (name, end)));
        assert_eq!(both, [true, true], "{name}");
    }
}

#[test]
fn after_a_stop_text_nothing_comes() {
    let mut parser = AnswerParser::without_marks(Vec::new()).stopping_at(vec!["STOP".into()]);
    let said = Said::Content("a ".into());
    assert_eq!(parser.push("a ST"), [Spoken { said, at: 0..2 }]);
    assert!(parser.push("OP").is_empty() && parser.stopped().is_some());
    assert!(parser.push(" and on").is_empty() && parser.finish().is_empty());
}

#[test]
fn a_prompt_that_ends_in_thought_is_gone_on_from() {
    let starts = Expected { starts_thinking: true, ..expected("hermes") };
    assert_eq!(shown(&read(starts, &["Hm.</think>\nYes"])), "?Hm.~Yes");
}

#[test]
fn without_functions_no_call_is_looked_for() {
    let none = Expected { functions: Vec::new(), ..expected("hermes") };
    let text = "<tool_call>{\"name\": \"add\", \"arguments\": {}}</tool_call>";
    assert_eq!(shown(&read(none, &[text])), text);
}

proptest! {
    #[test]
    fn however_an_answer_is_cut_its_parts_are_the_same(
        which in 0..ANSWERS.len(), cuts in prop::collection::vec(1..12_usize, 1..60), upto in 0..400_usize,
    ) {
        let (name, text, _) = ANSWERS[which];
        // The beginning of an answer is an answer too.
        let text: String = marked(text).chars().take(upto.max(5)).collect();
        for functions in [expected(name).functions, Vec::new()] {
            let expected = || Expected { functions: functions.clone(), ..expected(name) };
            prop_assert_eq!(read(expected(), &[&text]), read(expected(), &cut(&text, &cuts)));
        }
    }

    #[test]
    fn a_stop_text_ends_content_wherever_it_is_cut_and_nothing_else(
        which in 0..ANSWERS.len(), at in 0..200_usize, length in 1..6_usize,
        cuts in prop::collection::vec(1..12_usize, 1..60),
    ) {
        let (name, text, _) = ANSWERS[which];
        let shown = text.replace(['‹', '›'], "");
        let at = at % shown.chars().count();
        let stop: String = shown.chars().skip(at).take(length).collect();
        let text = marked(text);
        let mut parts = read(expected(name), &[&text]);
        let found = parts.iter().position(|part| matches!(part, Said::Content(text) if text.contains(&stop)));
        if let Some(place) = found {
            parts.truncate(place + 1);
            if let Some(Said::Content(text)) = parts.pop()
                && let Some((before, _)) = text.split_once(&stop)
                && !before.is_empty()
            {
                parts.push(Said::Content(before.to_owned()));
            }
        }
        let parser = AnswerParser::new(expected(name)).stopping_at(vec![stop]);
        for pieces in [vec![text.as_str()], cut(&text, &cuts)] {
            let (got, is_stopped) = read_by(parser.clone(), &pieces);
            prop_assert_eq!((&got, is_stopped), (&parts, found.is_some()));
        }
    }

    #[test]
    fn any_text_is_taken_apart_without_a_panic_and_ends(
        text in "(<tool_call>|</tool_call>|<think>|</think>|\\{|\\}|\\[|\\]|\"name\": \"add\"|\"arguments\":|,|\"|a| |;){0,40}",
        which in 0..FORMATS.len(),
    ) {
        let whole = read(expected(FORMATS[which].name), &[&text]);
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        prop_assert_eq!(whole, read(expected(FORMATS[which].name), &letters));
    }
}
