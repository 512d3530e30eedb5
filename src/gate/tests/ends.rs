//! How answers end that are taken apart.

use super::*;

/// Content, thoughts, names and arguments, and how it ended.
type Read = (String, String, Vec<String>, Vec<String>, Ending);

async fn read(said: &[&str], then: Then, stop: &str, logprobs: Option<u8>) -> (Read, String) {
    let house = House::new(Scripted::new(said, then)).await;
    let asked = ExchangeRequest { stop: vec![stop.to_owned()], logprobs, ..with_tool("tea") };
    let mut handle = house.gate.run(&caller(), asked).await.expect("passes");
    let (mut content, mut thoughts, mut tokens) = (String::new(), String::new(), Vec::new());
    let (mut names, mut arguments) = (Vec::new(), Vec::new());
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Text { text, logprobs, .. } => {
                content.push_str(&text);
                tokens.extend(logprobs.into_iter().flat_map(|one| one.chosen.bytes));
            }
            ExchangeEvent::Reasoning { text, .. } => thoughts.push_str(&text),
            ExchangeEvent::Call { name, .. } => {
                names.push(name);
                arguments.push(String::new());
            }
            ExchangeEvent::Arguments { text, .. } => {
                arguments.last_mut().expect("a call").push_str(&text);
            }
            ExchangeEvent::Finished { ending, .. } => {
                let tokens = String::from_utf8(tokens).expect("text");
                return ((content, thoughts, names, arguments, ending), tokens);
            }
            ExchangeEvent::Failed(error) => panic!("{error}"),
            _ => {}
        }
    }
    panic!("no end")
}

#[tokio::test]
async fn a_stop_text_in_a_thought_or_a_call_ends_nothing() {
    let thinks = ["<think>Hm.\n\nSo.</think>\n\nYes", ".\n", "\nNo."];
    let (read_back, _) = read(&thinks, Then::Finish, "\n\n", None).await;
    let expected = ("Yes.".into(), "Hm.\n\nSo.".into(), vec![], vec![], Ending::StopText(0));
    assert_eq!(read_back, expected);
    let calls = ["<tool_call>{\"name\": \"pay\", \"arguments\": {\"a\": {}", "}}</tool_call>"];
    for stop in ["}", "pay", "call", "<tool_call>", "\""] {
        let (read_back, _) = read(&calls, Then::Finish, stop, None).await;
        let (names, arguments) = (vec!["pay".to_owned()], vec!["{\"a\": {}}".to_owned()]);
        let expected = (String::new(), String::new(), names, arguments, Ending::ToolCalls);
        assert_eq!(read_back, expected, "{stop}");
    }
}

#[tokio::test]
async fn an_answer_ends_before_its_stop_text_and_so_do_its_tokens() {
    let said = ["So it", " is, ", "S", "T", "AR", "STOP", " and more", "<tool_call>{"];
    let (read_back, tokens) = read(&said, Then::Finish, "STOP", Some(0)).await;
    assert_eq!((read_back.0.as_str(), read_back.4), ("So it is, STAR", Ending::StopText(0)));
    assert_eq!(tokens, "So it is, STAR");
    // Whichever reason came from below: what ended it was the stop text.
    let (read_back, _) = read(&said, Then::Cut, "STOP", None).await;
    assert_eq!((read_back.0.as_str(), read_back.4), ("So it is, STAR", Ending::StopText(0)));
    let (read_back, _) = read(&said[..5], Then::Cut, "STOP", None).await;
    assert_eq!((read_back.0.as_str(), read_back.4), ("So it is, STAR", Ending::Length));
}
