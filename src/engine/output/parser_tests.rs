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
    let mut parser = AnswerParser::new(expected);
    let mut parts: Vec<Spoken> = Vec::new();
    for piece in pieces {
        parts.extend(parser.push(piece));
    }
    parts.extend(parser.finish());
    let text = pieces.concat();
    let mut all: Vec<Said> = Vec::new();
    for Spoken { said, at } in parts {
        if let Said::Content(said) | Said::Reasoning(said) = &said {
            assert_eq!(text[at].replace(MARK, ""), *said, "where it stood in {text}");
        }
        if !all.last_mut().is_some_and(|last| last.absorb(&said)) {
            all.push(said);
        }
    }
    all
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
        let chars: Vec<char> = text.chars().collect();
        let (mut pieces, mut at, mut cut) = (Vec::new(), 0, cuts.iter().cycle());
        while at < chars.len() {
            let end = (at + cut.next().copied().unwrap_or(1)).min(chars.len());
            pieces.push(chars[at..end].iter().collect::<String>());
            at = end;
        }
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (whole, cut) = (read(expected(name), &[&text]), read(expected(name), &pieces));
        prop_assert_eq!(whole, cut);
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
