//! `strongroom chat` as a person and a script use it: the real binary, over TLS, with a real server
//! or one that misbehaves.

#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::person::{Person, Terminal};
use common::scripted::{Asked, Reply, Scripted, Seen, chunk, json_answer, models, stream, whole};
use common::{Home, Server, both, skip, text, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn run(mut command: Command) -> Output {
    command.output().expect("the binary can be started")
}

fn run_with_input(mut command: Command, input: &[u8]) -> Output {
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may end before it has read all.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn joined<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

/// A failure with this exit code whose words hold these parts, and not the key.
fn check_failure(home: &Home, output: &Output, code: i32, parts: &[&str]) {
    let told = both(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    for part in parts {
        assert!(told.contains(part), "no `{part}` in: {told}");
    }
    assert!(!told.contains(&home.key()) && !told.contains('\x1b'), "{told:?}");
}

fn scripted(home: &Home, reply: impl Fn(&Asked) -> Reply + Send + 'static) -> Scripted {
    Scripted::start(home, "127.0.0.1", reply)
}

/// One question to a server that answers so.
fn asked_of(home: &Home, reply: impl Fn(&Asked) -> Reply + Send + 'static) -> Output {
    let server = scripted(home, reply);
    let ca = text(&server.authority).to_owned();
    run(Person::new(home).chat(&["--server", &server.base, "--ca", &ca, "Hello?"]))
}

#[test]
fn a_question_is_answered_by_a_real_server() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let person = Person::new(&home);
    let at = ["--server", &*server.base];

    // The certificate of the data directory vouches for it.
    let output = run(person.chat(&joined(&at, &["How do I make an API key?"])));
    assert!(output.status.success(), "{}", both(&output));
    let answer = String::from_utf8(output.stdout).expect("text");
    assert!(answer.trim().len() > 10 && answer.ends_with('\n'), "{answer:?}");
    assert!(!answer.contains('\x1b'), "{answer:?}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));

    // So do the settings that the server runs with, without any flag of its own.
    let listen = format!("server.listen={}", server.base.trim_start_matches("https://"));
    let output = run(person.chat(&["--set", &listen, "--model", "guide", "Hello?"]));
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", both(&output));

    // What is piped in is asked.
    let output = run_with_input(person.chat(&at), b"What is the audit log?\n");
    assert!(output.status.success() && !output.stdout.is_empty(), "{}", both(&output));
}

#[test]
fn a_real_server_refuses_and_it_is_told_why() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let person = Person::new(&home);
    let at = ["--server", &*server.base];

    let output = run(person.chat(&joined(&at, &["--model", "nothing", "Hello?"])));
    check_failure(&home, &output, 1, &["no model `nothing`"]);

    // A key of another house.
    let other = Home::prepared();
    let mut command = person.keyless(&joined(&at, &["Hello?"]));
    command.arg("--key-file").arg(other.path("key"));
    let output = run(command);
    check_failure(
        &home,
        &output,
        1,
        &["does not know the key from the file", "Account → API keys"],
    );

    let long = "word ".repeat(100_000);
    let output = run_with_input(person.chat(&at), long.as_bytes());
    check_failure(&home, &output, 1, &["less text"]);

    // Longer than the server reads at all. Its answer can be lost, which is told too.
    let output = run_with_input(person.chat(&at), long.repeat(8).as_bytes());
    let told = both(&output);
    let is_told =
        ["larger than the server takes", "too large for it"].iter().any(|part| told.contains(part));
    assert!(output.status.code() == Some(1) && is_told, "{told}");

    // Another authority than the one that vouches for it.
    let stranger = scripted(&home, |_| Reply::Close(whole(&["no"])));
    let output = run(person.chat(&joined(&at, &["--ca", text(&stranger.authority), "Hello?"])));
    check_failure(&home, &output, 1, &["not from an authority that is trusted", "--ca"]);
}

#[test]
fn without_a_key_nothing_is_sent() {
    let home = Home::prepared();
    let server = scripted(&home, |_| Reply::Close(whole(&["no"])));
    let person = Person::new(&home);
    let at = ["--server", &*server.base, "--ca", text(&server.authority), "Hello?"];
    let with_file = |path: &Path| {
        let mut command = person.keyless(&at);
        command.arg("--key-file").arg(path);
        run(command)
    };

    let output = run(person.keyless(&at));
    check_failure(&home, &output, 1, &["there is no API key", "--key-file"]);

    let loose = home.write("loose", home.key());
    fs::set_permissions(&loose, fs::Permissions::from_mode(0o644)).expect("set");
    check_failure(&home, &with_file(&loose), 1, &["chmod 600"]);

    let other = home.write("other", "hunter2");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).expect("set");
    let output = with_file(&other);
    check_failure(&home, &output, 1, &["not a whole API key"]);
    assert!(!both(&output).contains("hunter2"));

    check_failure(&home, &with_file(&home.path("gone")), 1, &["cannot be read"]);

    // Standard input is what is asked: a key that stands there would go to the model.
    let output = run_with_input(person.chat(&at), home.key().as_bytes());
    check_failure(&home, &output, 1, &["holds the API key itself"]);
    assert!(server.is_unasked(), "something was sent");
}

#[test]
fn the_key_is_found_where_a_person_keeps_it() {
    let home = Home::prepared();
    let server = scripted(&home, |_| Reply::Close(whole(&["yes"])));
    let person = Person::new(&home);
    let at = ["--server", &*server.base, "--ca", text(&server.authority), "Hello?"];
    let bearer = format!("authorization: bearer {}", home.key().to_lowercase());

    let own = home.path("person/config/strongroom/key");
    fs::create_dir_all(own.parent().expect("a directory")).expect("made");
    fs::copy(home.path("key"), &own).expect("copied");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).expect("set");
    let output = run(person.keyless(&at));
    assert_eq!(both(&output), "yes\n");
    assert!(server.question().head.contains(&bearer), "not the key of the file");
    fs::remove_file(&own).expect("removed");

    let mut command = person.keyless(&at);
    command.env("STRONGROOM_KEY_FILE", home.path("key"));
    assert_eq!(both(&run(command)), "yes\n");
}

#[test]
fn a_key_is_kept_in_the_kernel_until_it_is_forgotten() {
    let home = Home::prepared();
    let server = scripted(&home, of_two_models);
    let person = Person::new(&home);
    let at = ["--server", &*server.base, "--ca", text(&server.authority)];
    let kept = run(person.chat(&joined(&at, &["--keep-key"])));
    if both(&kept).contains("keyring cannot be used here") {
        return skip("a_key_is_kept_in_the_kernel", "programs may not use the kernel's keyring");
    }
    assert!(kept.status.success(), "{}", both(&kept));
    let output = run(person.keyless(&joined(&at, &["Hello?"])));
    assert_eq!(both(&output), "Heard Hello? of 1.\n");
    let output = run(person.keyless(&joined(&at, &["--forget-key"])));
    assert!(both(&output).contains("is forgotten"), "{}", both(&output));
    let output = run(person.keyless(&joined(&at, &["Hello?"])));
    check_failure(&home, &output, 1, &["there is no API key"]);
    let output = run(person.keyless(&joined(&at, &["--forget-key"])));
    assert!(both(&output).contains("No key was kept"), "{}", both(&output));
}

#[test]
fn what_is_piped_in_stands_behind_the_question() {
    let home = Home::prepared();
    let server = scripted(&home, |_| Reply::Close(whole(&["# Short\n", "It is **good**."])));
    let person = Person::new(&home);
    let at = ["--server", &*server.base, "--ca", text(&server.authority)];
    let words = joined(&at, &["--system", "Be brief.", "Summarise", "this"]);
    let output = run_with_input(person.chat(&words), "Grüße.\n".as_bytes());
    assert_eq!(both(&output), "# Short\nIt is **good**.\n", "what is piped out is as it is");
    let messages = &server.question().body["messages"];
    assert_eq!(
        *messages,
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Summarise this\n\nGrüße."},
        ])
    );

    let nothing = run(person.chat(&at));
    check_failure(&home, &nothing, 2, &["nothing was asked"]);
    let binary = run_with_input(person.chat(&at), b"\xff\xfe\x00");
    check_failure(&home, &binary, 1, &["not a text"]);
    let wrong = run(person.chat(&["--server", "http://ai.example.org", "Hello?"]));
    check_failure(&home, &wrong, 2, &["https://"]);
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let home = Home::prepared();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one");
    let person = Person::new(&home);
    let other = scripted(&home, |_| Reply::Close(Vec::new()));
    let base = format!("https://{port}");
    let output = run(person.chat(&["--server", &base, "--ca", text(&other.authority), "Hello?"]));
    check_failure(&home, &output, 1, &["no server answers", "refused", "--server"]);

    let named = Scripted::start(&home, "other.example", |_| Reply::Close(whole(&["no"])));
    let ca = text(&named.authority).to_owned();
    let output = run(person.chat(&["--server", &named.base, "--ca", &ca, "Hello?"]));
    check_failure(&home, &output, 1, &["for other names", "server.hosts"]);
    assert!(named.is_unasked(), "something was sent");
}

#[test]
fn a_stream_that_is_cut_is_an_error() {
    let home = Home::prepared();
    let output = asked_of(&home, |_| Reply::Close(stream(&["The begin"])));
    check_failure(&home, &output, 1, &["ended in the middle"]);
    assert_eq!(output.stdout, b"The begin\n", "what came is kept");

    // The body ends in order, and the answer has not.
    let output =
        asked_of(&home, |_| Reply::Close([stream(&["The begin"]), b"0\r\n\r\n".to_vec()].concat()));
    check_failure(&home, &output, 1, &["ended in the middle"]);

    let output = asked_of(&home, |_| {
        let error = json!({"error": {"message": "The server is shutting down.", "code": "x"}});
        let event = chunk(&format!("data: {error}\n\n"));
        Reply::Close([stream(&["The begin"]), event, b"0\r\n\r\n".to_vec()].concat())
    });
    check_failure(&home, &output, 1, &["shutting down"]);
}

#[test]
fn errors_are_told_with_what_to_do() {
    let home = Home::prepared();
    let refused = |status: &'static str, headers: &'static str, code: &'static str| {
        let body = json!({"error": {"message": "Too many.", "code": code}});
        asked_of(&home, move |_| Reply::Close(json_answer(status, headers, &body)))
    };
    let output =
        refused("429 Too Many Requests", "retry-after-ms: 12400\r\n", "rate_limit_exceeded");
    check_failure(&home, &output, 1, &["Too many. Try again in 13 seconds"]);
    let output = refused("503 Service Unavailable", "retry-after: 2\r\n", "busy");
    check_failure(&home, &output, 1, &["Try again in 2 seconds"]);
    let output = refused("302 Found", "location: https://elsewhere.example/\r\n", "");
    check_failure(&home, &output, 1, &["not followed"]);

    for (bytes, part) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"[..], "no Strongroom server"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no Strongroom server"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 6\r\n\r\n<html>", "answers 500"),
        (b"", "without an answer"),
    ] {
        let output = asked_of(&home, move |_| Reply::Close(bytes.to_vec()));
        check_failure(&home, &output, 1, &[part]);
    }
    let output = asked_of(&home, |_| Reply::Close([stream(&[]), chunk("data: [1]\n\n")].concat()));
    check_failure(&home, &output, 1, &["not those of a chat"]);
}

#[test]
fn no_sequence_of_an_answer_reaches_a_pipe() {
    let home = Home::prepared();
    let output = asked_of(&home, |_| {
        Reply::Close(whole(&["\x1b]0;owned\x07", "a\x1b", "[31mb\u{9b}2J", "c\r\nd"]))
    });
    assert_eq!(both(&output), "␛]0;owned␇a␛[31mb\u{fffd}2Jc\nd\n");
    let error = json!({"error": {"message": "\x1b[2Jall is well", "code": "\x1b[31m"}});
    let output = asked_of(&home, move |_| Reply::Close(json_answer("500 E", "", &error)));
    check_failure(&home, &output, 1, &["␛[2Jall is well"]);
}

#[test]
fn interrupted_it_says_so_in_its_exit_code() {
    let home = Home::prepared();
    let server = scripted(&home, |_| Reply::Hold(stream(&["The begin "])));
    let person = Person::new(&home);
    let mut command =
        person.chat(&["--server", &server.base, "--ca", text(&server.authority), "Hello?"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary can be started");
    let mut begin = [0; 9];
    child.stdout.as_mut().expect("it is piped").read_exact(&mut begin).expect("an answer");
    assert_eq!(&begin, b"The begin", "it is written as it comes");
    kill_process(pid(&child), Signal::INT).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(matches!(server.next(), Seen::Asked(_)));
    assert!(matches!(server.next(), Seen::Left), "the server is not kept at work");
}

#[test]
fn a_reader_who_has_seen_enough_ends_it_quietly() {
    let home = Home::prepared();
    let long = "A line of some words.\n".repeat(100);
    let server = scripted(&home, move |_| Reply::Close(whole(&[&*long; 100])));
    let person = Person::new(&home);
    let mut command =
        person.chat(&["--server", &server.base, "--ca", text(&server.authority), "Hello?"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be started");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", both(&output));
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).expect("a process")
}

/// A server of two models that answers by the question.
fn of_two_models(asked: &Asked) -> Reply {
    if !asked.head.starts_with("POST ") {
        return Reply::Close(models(&["small", "large\x1b[31m"]));
    }
    let messages = asked.body["messages"].as_array().expect("messages");
    let last = messages.last().expect("a question")["content"].as_str().expect("text");
    match last {
        "Wait" => Reply::Hold(stream(&["It be", "gins here "])),
        "Attack" => Reply::Close(whole(&["\x1b]0;owned\x07", "\x1b[31mred and **bo", "ld** text"])),
        "Think" => {
            let event =
                |delta| chunk(&format!("data: {}\n\n", json!({"choices": [{"delta": delta}]})));
            let thought = |text| event(json!({"reasoning_content": text}));
            let (waiting, end) = (chunk(": waiting\n\n"), chunk("data: [DONE]\n\n"));
            let answer = event(json!({"content": "So."}));
            let parts = [stream(&[]), thought("hm "), waiting, thought("well"), answer, end];
            Reply::Close(parts.concat())
        }
        "Fail" => {
            let error = json!({"error": {"message": "Not now.", "code": "busy"}});
            Reply::Close(json_answer("503 E", "retry-after: 7\r\n", &error))
        }
        other => Reply::Close(whole(&[&format!("Heard {} of {}", other, messages.len()), "."])),
    }
}

#[test]
fn a_chat_at_a_terminal() {
    if !Terminal::is_there() {
        return skip("a_chat_at_a_terminal", "there is no `script` here");
    }
    let home = Home::prepared();
    let server = scripted(&home, of_two_models);
    let person = Person::new(&home);
    let (ca, key) = (text(&server.authority).to_owned(), home.path("key"));
    let arguments = ["--server", &server.base, "--ca", &ca, "--key-file", text(&key)];
    let mut terminal = Terminal::start(&person, &arguments);

    terminal.wait("small at https://127.0.0.1");
    terminal.wait("> ");
    terminal.send("/help\r");
    terminal.wait("/clear ");
    terminal.send("/nothing\r");
    terminal.wait("there is no command /nothing");
    terminal.send("One\r");
    terminal.wait("Heard One of 1.");
    terminal.send("Two\r");
    terminal.wait("Heard Two of 3.");
    terminal.send("/retry\r");
    terminal.wait("Heard Two of 3.");

    // What the server sends is set, and does nothing to the terminal.
    terminal.send("Attack\r");
    terminal.wait("red and \x1b[0;1mbold \x1b[0mtext");
    terminal.send("/model\r");
    terminal.wait("* small");
    terminal.wait("large␛[31m");
    terminal.send("/model none\r");
    terminal.wait("there is no model `none`");

    // An error ends the question, not the chat.
    terminal.send("Fail\r");
    terminal.wait("Not now. Try again in 7 seconds");

    // Ctrl-C stops the answer, and the chat goes on with what there was of it.
    // Whoever types ahead is heard.
    terminal.send("/clear\r");
    terminal.send("/system Be brief.\r");
    terminal.send("Wait\r");
    terminal.wait("It begins here");
    terminal.send("\x03");
    terminal.wait("Stopped.");
    wait_for("the server to be left", || matches!(server.next(), Seen::Left));
    terminal.send("Three\r");
    terminal.wait("Heard Three of 4.");
    terminal.send("\"\"\"Four\rlines\"\"\"\r");
    terminal.wait("Heard Four");
    terminal.send("/save saved.md\r");
    terminal.wait("Saved to");
    terminal.send("/save saved.md\r");
    terminal.wait("could not be written");

    // At the prompt, the second one leaves.
    terminal.wait("> ");
    terminal.send("half a lin\x03");
    terminal.wait("Ctrl-C again leaves");
    terminal.wait("> ");
    terminal.send("\x03");
    let (code, shown) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    for sequence in ["\x1b]0;owned", "\x1b[31m"] {
        assert!(!shown.contains(sequence), "{shown:?}");
    }
    assert!(!shown.contains(&home.key()));

    let saved = home.path("saved.md");
    let transcript = fs::read_to_string(&saved).expect("it is there");
    assert!(transcript.starts_with("## Instructions\n\nBe brief.\n"), "{transcript}");
    assert!(transcript.contains("## You\n\nFour\nlines\n"), "{transcript}");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&saved), mode(&person.history())), (0o600, 0o600));
    let history = fs::read_to_string(person.history()).expect("it is there");
    assert!(history.contains("One\n") && history.contains("/retry\n"), "{history}");
}

#[test]
fn waiting_for_the_models_is_stopped_and_a_key_is_not_kept() {
    if !Terminal::is_there() {
        return skip("waiting_for_the_models_is_stopped", "there is no `script` here");
    }
    let home = Home::prepared();
    let is_listed = Cell::new(false);
    let server = scripted(&home, move |asked| {
        let is_list = !asked.head.starts_with("POST ");
        let is_again = is_list && is_listed.replace(true);
        if is_again { Reply::Hold(Vec::new()) } else { of_two_models(asked) }
    });
    let person = Person::new(&home);
    let (ca, key) = (text(&server.authority).to_owned(), home.path("key"));
    let arguments = ["--server", &server.base, "--ca", &ca, "--key-file", text(&key)];
    let mut terminal = Terminal::start(&person, &arguments);
    terminal.wait("> ");
    terminal.send("One\r");
    terminal.wait("Heard One of 1.");
    server.question();

    // The server takes its time, and the person does not.
    terminal.send("/model\r");
    assert!(matches!(server.next(), Seen::Asked(_)));
    terminal.send("\x03");
    terminal.wait("Stopped.");
    assert!(matches!(server.next(), Seen::Left));
    terminal.send("Two\r");
    terminal.wait("Heard Two of 3.");

    // A key in the line goes nowhere, and no file keeps it.
    terminal.send(&format!("Is {} right?\r", home.key()));
    terminal.wait("holds the API key itself");
    terminal.send("Three\r");
    terminal.wait("Heard Three of 5.");
    // That the server is there is not said in the middle of a line.
    terminal.send("Think\r");
    terminal.wait("hm well");
    terminal.wait("So.");
    terminal.wait("> ");
    terminal.send("\x04");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    let history = fs::read_to_string(person.history()).expect("it is there");
    assert!(history.contains("Three\n") && !history.contains(&home.key()), "{history}");
}

#[test]
fn a_terminal_that_can_be_told_nothing_is_left_by_the_second_interrupt_too() {
    if !Terminal::is_there() {
        return skip("a_terminal_that_can_be_told_nothing", "there is no `script` here");
    }
    let home = Home::prepared();
    let server = scripted(&home, of_two_models);
    let person = Person::new(&home);
    let (ca, key) = (text(&server.authority).to_owned(), home.path("key"));
    let arguments = ["--server", &server.base, "--ca", &ca, "--key-file", text(&key)];
    let mut terminal = Terminal::start_with(&person, &arguments, &[("TERM", "dumb")]);
    terminal.wait("> ");
    terminal.send("One\r");
    terminal.wait("Heard One of 1.");
    terminal.wait("> ");
    terminal.send("half a lin\x03");
    terminal.wait("Ctrl-C again leaves");
    terminal.wait("> ");
    terminal.send("Two\r");
    terminal.wait("Heard Two of 3.");
    terminal.wait("> ");
    terminal.send("\x03");
    terminal.wait("Ctrl-C again leaves");
    terminal.wait("> ");
    terminal.send("\x03");
    let (code, shown) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn a_terminal_without_colours_and_a_chat_without_a_trace() {
    if !Terminal::is_there() {
        return skip("a_terminal_without_colours", "there is no `script` here");
    }
    let home = Home::prepared();
    let server = scripted(&home, of_two_models);
    let person = Person::new(&home);
    let (ca, key) = (text(&server.authority).to_owned(), home.path("key"));
    let mut arguments = vec!["--server", &server.base, "--ca", &ca, "--key-file", text(&key)];
    arguments.extend(["--no-history", "--model", "small"]);
    let mut terminal = Terminal::start_with(&person, &arguments, &[("NO_COLOR", "1")]);
    terminal.wait("> ");
    terminal.send("Attack\r");
    terminal.wait("red and **bold** text");
    // Ctrl-D ends it in order.
    terminal.wait("> ");
    terminal.send("\x04");
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    assert!(!shown.contains("\x1b[0m") && !shown.contains("\x1b[0;"), "{shown:?}");
    assert!(!person.history().exists(), "something was kept");
}
