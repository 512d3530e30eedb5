//! The guard as a whole: what passes, what comes back, and that cuts in a stream change nothing.

use proptest::prelude::*;

use super::*;

fn guard(text: &str) -> Guard {
    Guard::new(Policy::read("test.toml", text).expect("a policy"))
}

/// Everything that comes out, as one text, and the rest.
fn stream(guard: &Guard, originals: Originals, pieces: &[&str]) -> (String, Vec<WatchEvent>) {
    let mut watch = guard.watch(originals);
    let mut events: Vec<WatchEvent> = pieces.iter().flat_map(|piece| watch.push(piece)).collect();
    events.extend(watch.finish());
    let mut text = String::new();
    events.retain(|event| match event {
        WatchEvent::Text(piece) => {
            text.push_str(piece);
            false
        }
        _ => true,
    });
    (text, events)
}

#[test]
fn a_card_is_replaced_and_comes_back() {
    let guard = guard("");
    let text =
        "Pay 4111 1111 1111 1111, again 4111 1111 1111 1111, or DE89 3704 0044 0532 0130 00.";
    let verdict = guard.inspect(&[text], 1, Direction::Input);
    assert_eq!(verdict.action, Action::Redact);
    let texts = verdict.texts.expect("changed");
    assert_eq!(texts[0], "Pay [card-1], again [card-1], or [iban-1].");
    let (out, _) =
        stream(&guard, verdict.originals, &["I see [ca", "rd-1] and [iban-1] [card-2]."]);
    assert_eq!(out, "I see 4111 1111 1111 1111 and DE89 3704 0044 0532 0130 00 [card-2].");
}

#[test]
fn a_number_with_a_word_in_it_is_found_in_an_answer() {
    let guard = guard("");
    for text in [
        "Pay to gb29 nwbk 6016 1331 9268 19, please.",
        "Pay to GB29 nwbk 6016 1331 9268 19 please do it today.",
        "nl91 abna 0417 1643 00",
    ] {
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let (out, _) = stream(&guard, Originals::default(), &pieces);
        assert!(out.contains("[iban]") && !out.contains("nwbk") && !out.contains("abna"), "{out}");
    }
}

#[test]
fn a_typed_placeholder_is_not_somebodys_card() {
    let verdict = guard("").inspect(&["[card-1] 4111111111111111"], 1, Direction::Input);
    assert_eq!(verdict.texts.expect("changed")[0], "[card-1] [card-2]");
}

#[test]
fn hidden_characters_are_taken_out() {
    let verdict = guard("").inspect(&["he\u{200b}llo \u{202e}x\u{e0041}"], 1, Direction::Input);
    assert_eq!(verdict.texts.expect("changed")[0], "hello x");
}

#[test]
fn what_overlaps_is_taken_out_together() {
    let policy =
        "[input]\ndenied = \"redact\"\n[phrases]\ndenied = [\"pwd=a1b2c3d4\", \"e5f6g7h8i9\"]";
    let guard = guard(policy);
    let text = "say pwd=a1b2c3d4-e5f6g7h8i9-j1k2l3 now";
    let verdict = guard.inspect(&[text], 1, Direction::Input);
    assert_eq!(verdict.texts.expect("changed")[0], "say [secret-1] now");
    assert_eq!(verdict.findings.len(), 1);
}

#[test]
fn what_is_redacted_up_to_what_is_refused_does_not_come_out() {
    let guard = guard(
        "[output]\ndenied = \"refuse\"\n\"secret.assigned\" = \"redact\"
        [phrases]\ndenied = [\"e5f6g7h8i9\"]",
    );
    let (out, events) =
        stream(&guard, Originals::default(), &["say pwd=a1b2c3d4-e5f6g7h8i9-j1k2l3 now"]);
    assert_eq!(out, "say pwd=[secret]");
    assert_eq!(events.last(), Some(&WatchEvent::Stop));
}

#[test]
fn a_long_secret_leaves_no_tail() {
    let token = "Zk93hd7Q2mX8vB4nLw5t".repeat(18);
    let text = format!("aws_session_token={token} and more");
    let verdict = guard("").inspect(&[&text], 1, Direction::Input);
    assert_eq!(verdict.texts.expect("changed")[0], "aws_session_token=[secret-1] and more");
}

#[test]
fn a_card_among_other_digits_leaves_the_others() {
    let text = "2025-09-01 qty 1 4111 1111 1111 1111 12/27\n4111-1111-1111-1111 123";
    let verdict = guard("").inspect(&[text], 1, Direction::Input);
    let texts = verdict.texts.expect("changed");
    assert_eq!(texts[0], "2025-09-01 qty 1 [card-1] 12/27\n[card-2] 123");
}

#[test]
fn denied_phrases_refuse_and_allowed_values_pass() {
    let guard = guard("[phrases]\ndenied = [\"project falcon\"]\nallowed = [\"4111111111111111\"]");
    assert_eq!(guard.inspect(&["On Project Falcon"], 1, Direction::Input).action, Action::Refuse);
    assert_eq!(guard.inspect(&["4111111111111111"], 1, Direction::Input).action, Action::Allow);
    let (out, _) = stream(&guard, Originals::default(), &["all of pro", "ject fal", "con is"]);
    assert_eq!(out, "all of [withheld] is");
}

#[test]
fn requests_over_the_limits_are_refused_unread() {
    let guard = guard("[limits]\ntext_chars_max = 10\ntexts_max = 2");
    assert_eq!(guard.inspect(&["12345678901"], 1, Direction::Input).action, Action::Refuse);
    assert_eq!(guard.inspect(&["a", "b", "c"], 3, Direction::Input).action, Action::Refuse);
    assert_eq!(guard.inspect(&["a", "b", "c"], 2, Direction::Input).action, Action::Allow);
    assert_eq!(guard.inspect(&["1234567890"], 1, Direction::Input).action, Action::Allow);
}

#[test]
fn an_answer_is_stopped_before_what_is_refused() {
    let guard = guard("[output]\n\"personal.card\" = \"refuse\"");
    let pieces = ["The card is 4111 1111", " 1111 1111 and more"];
    let (out, events) = stream(&guard, Originals::default(), &pieces);
    assert_eq!(out, "The card is ");
    assert_eq!(events.last(), Some(&WatchEvent::Stop));
}

#[test]
fn a_key_block_never_begins_to_come_out() {
    let block = format!(
        "-----BEGIN {} KEY-----\n{}-----END {0} KEY-----",
        "PRIVATE",
        "MIIEabc1\n".repeat(300)
    );
    let text = format!("here: {block} done");
    let pieces: Vec<String> = text.chars().map(String::from).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let (out, _) = stream(&guard(""), Originals::default(), &pieces);
    assert_eq!(out, "here: [private-key] done");
}

#[test]
fn ordinary_texts_pass_as_they_are() {
    let guard = guard("");
    for text in [
        "How do I kill a Python process that ignores Ctrl+C?",
        "My order 4929 0412 arrived on 2024-05-06 at 10:15, invoice 2024-000117.",
        "let x = vec![1, 2, 3]; for i in 0..10 { println!(\"{i}\") }",
        "π ≈ 3.14159265358979, e ≈ 2.718281828459045",
        "Schöne Grüße aus Köln! 你好，世界。 مرحبا שלום",
        "password: please reset it for me",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ] {
        let verdict = guard.inspect(&[text], 1, Direction::Input);
        assert_eq!((verdict.action, verdict.texts.is_none()), (Action::Allow, true), "{text}");
        assert_eq!(stream(&guard, Originals::default(), &[text]).0, text);
    }
}

fn pieces_of_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("4111 1111 1111 1111 ".to_owned()),
        Just("4111111111111111".replace('1', "1\u{2011}\u{2011}")),
        Just("DE89 3704 0044 0532 0130 00 ".to_owned()),
        Just("ssn 536-90-4399,".to_owned()),
        Just("AKIAQWERTYUIOPASDF23 ".to_owned()),
        Just("plain words, of course. ".to_owned()),
        Just("[card-1]".to_owned()),
        Just("-----BEGIN PRIVATE KEY-----".to_owned()),
        "\\PC{0,12}",
        "[0-9 ]{0,30}",
        "[A-Za-z =:\"'\n]{0,20}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

static GUARD: std::sync::LazyLock<Guard> = std::sync::LazyLock::new(|| guard(""));

proptest! {
    #[test]
    fn where_a_stream_is_cut_changes_nothing(
        text in pieces_of_text(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let guard = &*GUARD;
        let chars: Vec<char> = text.chars().collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(chars.len() + 1)).collect();
        cuts.extend([0, chars.len()]);
        cuts.sort_unstable();
        let pieces: Vec<String> =
            cuts.windows(2).map(|pair| chars[pair[0]..pair[1]].iter().collect()).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        let whole = stream(guard, Originals::default(), &[&text]);
        prop_assert_eq!(stream(guard, Originals::default(), &pieces), whole);
    }

    #[test]
    fn no_text_makes_the_guard_panic_and_spans_are_at_characters(text in pieces_of_text()) {
        let verdict = GUARD.inspect(&[&text], 1, Direction::Input);
        for (_, _, finding) in &verdict.findings {
            prop_assert!(text.get(finding.span.clone()).is_some());
        }
        if let Some(texts) = verdict.texts {
            let restored = verdict.originals.restore(&texts[0]);
            prop_assert!(restored.len() <= text.len());
        }
    }
}
