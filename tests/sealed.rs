//! A server whose root key is under a passphrase: shut until somebody opens it.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Client, Home, OWNER, PASSWORD, Server, Session, both, text};
use serde_json::{Value, json};

const PASSPHRASE: &str = "three grey geese in a green field";
const OTHER: &str = "four brown ducks on a quiet pond";
const TITLE: &str = "Behind the door";
/// Waiting ends here, with a failed test instead of a hanging one.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn a_sealed_server_answers_nothing_until_it_is_opened() {
    let home = Home::empty();
    let passphrase = home.write("passphrase", PASSPHRASE);
    home.init(&["--passphrase-file", text(&passphrase)]);
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    assert_sealed(&server, &home.key());

    let wrong = home.write("wrong", "three grey geese in a red field");
    let refused = home.strongroom(&["unseal", "--passphrase-file", text(&wrong)]);
    assert!(!refused.status.success(), "{}", both(&refused));
    assert!(!both(&refused).contains("geese"), "{}", both(&refused));
    assert_sealed(&server, &home.key());

    let opened = home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]);
    assert!(opened.status.success(), "{}", both(&opened));
    server.wait_until(200);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let conversation = session.begin_conversation(TITLE);
    server.with_key(&home.key()).get("/v1/models").expect(200);
    let again = home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]);
    assert!(!again.status.success(), "an open server cannot be opened");
    assert!(server.stop().success());

    // A restart seals it again, and what was kept opens again.
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    assert_sealed(&server, &home.key());
    assert!(home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]).status.success());
    server.wait_until(200);
    let session = Session::sign_in(server.client(), OWNER, PASSWORD);
    let read = session.client.get(&format!("/api/conversations/{conversation}")).expect(200);
    assert_eq!(read["conversation"]["title"], TITLE);
    assert!(!server.log().contains("geese"));
}

#[test]
fn a_sealed_server_stops_when_it_is_told_to() {
    let home = Home::empty();
    let passphrase = home.write("passphrase", PASSPHRASE);
    home.init(&["--passphrase-file", text(&passphrase)]);
    let server = Server::launch(&home, &[]).expect("a sealed server starts");
    server.wait_until(503);
    assert!(server.stop().success());
}

#[test]
fn moving_the_key_under_a_passphrase_leaves_no_key_file() {
    let home = Home::prepared();
    let root = home.data().join("keys/root.key");
    let key = fs::read(&root).expect("the key is a file at first");
    let passphrase = home.write("passphrase", PASSPHRASE);
    let moved = home.strongroom(&["key", "move", "--passphrase-file", text(&passphrase)]);
    assert!(moved.status.success(), "{}", both(&moved));
    for entry in fs::read_dir(home.data().join("keys")).expect("the directory is there") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let bytes = fs::read(&path).expect("a file");
            let is_there = bytes.windows(key.len()).any(|window| window == key);
            assert!(!is_there, "{} still holds the key", path.display());
        }
    }
    let server = Server::launch(&home, &[]).expect("it starts sealed");
    server.wait_until(503);
    assert!(home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]).status.success());
    server.wait_until(200);
    server.with_key(&home.key()).get("/v1/models").expect(200);
}

/// A command that a person runs at a terminal: `script` (util-linux) gives it one of its own.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn open(home: &Home, arguments: &[&str]) -> Self {
        let quoted = |word: &str| format!("'{word}'");
        // Without `exec` a shell between may take the interrupt for its own (dash does, bash does not).
        let mut line = vec!["exec".to_owned(), quoted(env!("CARGO_BIN_EXE_strongroom"))];
        line.extend(arguments.iter().map(|word| quoted(word)));
        line.extend(["--data-dir".to_owned(), quoted(text(&home.data()))]);
        let mut child = Command::new("script")
            .args([
                "--quiet",
                "--return",
                "--flush",
                "--echo",
                "always",
                "--command",
                &line.join(" "),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("`script` is there");
        let keyboard = child.stdin.take().expect("it is piped");
        let mut output = child.stdout.take().expect("it is piped");
        let screen = Arc::new(Mutex::new(String::new()));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 1_024];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]);
                shown.lock().expect("not poisoned").push_str(&text);
            }
        });
        Self { child, keyboard, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().expect("not poisoned").clone()
    }

    fn wait_for(&self, words: &str, times: usize) {
        let begun = Instant::now();
        while self.screen().matches(words).count() < times {
            assert!(begun.elapsed() < PATIENCE, "no `{words}` on: {}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal is there");
        self.keyboard.flush().expect("the terminal is there");
    }

    /// Where the server says that it listens.
    fn client(&self, home: &Home) -> Client {
        self.wait_for("listening https://", 1);
        let screen = self.screen();
        let (_, rest) = screen.split_once("listening ").expect("it says where");
        let base = rest.split_whitespace().next().expect("an address");
        Client::new(base, &home.data().join("tls/ca.pem"))
    }

    /// Ctrl+C, and the exit status of the command.
    fn interrupt(mut self) -> Option<i32> {
        self.type_in("\u{3}");
        self.child.wait().expect("it is our child").code()
    }

    fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("it is our child").code()
    }
}

fn wait_until(client: &Client, status: u16) {
    let begun = Instant::now();
    let is_there =
        || client.try_send("GET", "/readyz", &[], None).is_ok_and(|it| it.status == status);
    while !is_there() {
        assert!(begun.elapsed() < PATIENCE, "never {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A home whose root key is under the passphrase, and the file with it.
fn sealed_home() -> (Home, PathBuf) {
    let home = Home::empty();
    let passphrase = home.write("passphrase", PASSPHRASE);
    home.init(&["--passphrase-file", text(&passphrase)]);
    (home, passphrase)
}

/// The events of the log that has this action: outcome and detail.
fn events(home: &Home, action: &str, passphrase: Option<&Path>) -> Vec<(String, Value)> {
    let mut arguments = vec!["audit", "export"];
    arguments.extend(passphrase.map(|path| ["--passphrase-file", text(path)]).iter().flatten());
    let exported = home.strongroom(&arguments);
    assert!(exported.status.success(), "{}", both(&exported));
    let lines = String::from_utf8(exported.stdout).expect("text");
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let wanted = events.filter(|event| event["action"] == action);
    wanted
        .map(|event| (event["outcome"].as_str().expect("text").to_owned(), event["detail"].clone()))
        .collect()
}

fn succeed(home: &Home, arguments: &[&str]) -> Output {
    let output = home.strongroom(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", both(&output));
    output
}

#[test]
fn the_terminal_asks_for_the_passphrase_while_the_server_answers_sealed() {
    let (home, passphrase) = sealed_home();
    let mut terminal = Terminal::open(&home, &["serve", "--listen", "127.0.0.1:0"]);
    terminal.wait_for("Passphrase: ", 1);
    let client = terminal.client(&home);
    assert_eq!(client.get("/v1/models").code(), "sealed");
    terminal.type_in("three grey geese in a red field\n");
    terminal.wait_for("does not open", 1);
    terminal.wait_for("Passphrase: ", 2);
    assert_eq!(client.get("/v1/models").code(), "sealed");
    terminal.type_in(&format!("{PASSPHRASE}\n"));
    wait_until(&client, 200);
    assert!(!terminal.screen().contains("geese"), "{}", terminal.screen());
    assert_eq!(terminal.interrupt(), Some(0));
    let unsealed = events(&home, "vault.unseal", Some(&passphrase));
    assert_eq!(
        unsealed,
        [
            ("denied".to_owned(), json!({"attempts": 1})),
            ("done".to_owned(), json!({"way": "console"})),
        ]
    );
}

#[test]
fn unseal_works_beside_the_question_at_the_terminal_which_is_left_as_it_was() {
    let (home, passphrase) = sealed_home();
    let terminal = Terminal::open(&home, &["serve", "--listen", "127.0.0.1:0"]);
    terminal.wait_for("Passphrase: ", 1);
    let client = terminal.client(&home);
    succeed(&home, &["unseal", "--passphrase-file", text(&passphrase)]);
    wait_until(&client, 200);
    let mut terminal = terminal;
    // What is typed is shown again, and is nobody's passphrase.
    terminal.type_in("ECHOED\n");
    terminal.wait_for("ECHOED", 1);
    assert_eq!(terminal.interrupt(), Some(0));
    let unsealed = events(&home, "vault.unseal", Some(&passphrase));
    assert_eq!(unsealed, [("done".to_owned(), json!({"way": "command"}))]);
}

#[test]
fn a_sealed_server_at_a_terminal_stops_at_an_interrupt() {
    let (home, _) = sealed_home();
    let terminal = Terminal::open(&home, &["serve", "--listen", "127.0.0.1:0"]);
    terminal.wait_for("Passphrase: ", 1);
    assert_eq!(terminal.interrupt(), Some(0));
}

#[test]
fn a_passphrase_from_a_file_or_a_descriptor_opens_the_server_at_its_start() {
    let (home, passphrase) = sealed_home();
    let server = Server::start_with(&home, &["--passphrase-file", text(&passphrase)]);
    server.with_key(&home.key()).get("/v1/models").expect(200);
    assert!(server.stop().success());

    // Whoever starts it hands the passphrase over in a descriptor; no file holds it.
    let line = format!(
        "exec '{}' serve --listen 127.0.0.1:0 --data-dir '{}' --passphrase-file /dev/fd/3 3< <(printf %s '{PASSPHRASE}')",
        env!("CARGO_BIN_EXE_strongroom"),
        text(&home.data()),
    );
    let mut child = Command::new("bash")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("bash is there");
    let mut said = String::new();
    let mut output = child.stdout.take().expect("it is piped");
    let mut byte = [0];
    while !said.contains("stop ") && output.read(&mut byte).expect("text") > 0 {
        said.push(byte[0].into());
    }
    assert!(said.contains("listening") && !said.contains("sealed"), "{said}");
    child.kill().expect("it runs");
    child.wait().expect("it is our child");

    let wrong = home.write("wrong", "three grey geese in a red field");
    let refused = Server::launch(&home, &["--passphrase-file", text(&wrong)]);
    assert!(refused.is_err_and(|said| said.contains("does not open")));
}

#[test]
fn a_passphrase_is_refused_where_the_key_lies_in_the_clear() {
    let home = Home::prepared();
    let passphrase = home.write("passphrase", PASSPHRASE);
    let password = home.write("password", PASSWORD);
    let given = ["--passphrase-file", text(&passphrase)];
    let init = ["init", "--owner", "ada", "--password-file", text(&password)];
    let refused = home.strongroom(&[&init[..], &given].concat());
    assert!(
        !refused.status.success() && both(&refused).contains("in the clear"),
        "{}",
        both(&refused)
    );
    let refused = Server::launch(&home, &given);
    assert!(refused.is_err_and(|said| said.contains("in the clear")));
    let asked = Server::launch(&home, &["--set", "vault.key_source=passphrase"]);
    assert!(asked.is_err_and(|said| said.contains("strongroom key move")));
    let server = Server::start(&home);
    let refused = home.strongroom(&["unseal", "--passphrase-file", text(&passphrase)]);
    assert!(!refused.status.success() && both(&refused).contains("open already"));
    assert!(server.stop().success());

    let broken = home.write("broken", "three grey geese\nin a green field");
    let refused = home.strongroom(&["key", "move", "--passphrase-file", text(&broken)]);
    assert!(!refused.status.success(), "{}", both(&refused));
    assert!(home.data().join("keys/root.key").exists(), "the key is where it was");
}

#[test]
fn moving_the_key_at_a_terminal_asks_twice() {
    let home = Home::prepared();
    let mut terminal = Terminal::open(&home, &["key", "move"]);
    terminal.wait_for("New passphrase: ", 1);
    terminal.type_in(&format!("{PASSPHRASE}\n"));
    terminal.wait_for("Once more: ", 1);
    terminal.type_in("three grey geese in a green feild\n");
    assert_eq!(terminal.wait(), Some(1));
    assert!(home.data().join("keys/root.key").exists(), "nothing was moved");

    let mut terminal = Terminal::open(&home, &["key", "move"]);
    for question in ["New passphrase: ", "Once more: "] {
        terminal.wait_for(question, 1);
        terminal.type_in(&format!("{PASSPHRASE}\n"));
    }
    assert_eq!(terminal.wait(), Some(0));
    assert!(!home.data().join("keys/root.key").exists());
    let passphrase = home.write("passphrase", PASSPHRASE);
    let server = Server::start_with(&home, &["--passphrase-file", text(&passphrase)]);
    server.with_key(&home.key()).get("/v1/models").expect(200);
}

#[test]
fn the_root_key_and_its_passphrase_are_replaced_on_record() {
    let home = Home::prepared();
    let root = home.data().join("keys/root.key");
    let before = fs::read(&root).expect("a key file");
    succeed(&home, &["key", "rotate"]);
    assert_ne!(fs::read(&root).expect("a key file"), before);
    let refused = home.strongroom(&["key", "passphrase"]);
    assert!(both(&refused).contains("in the clear"), "{}", both(&refused));

    let (old, new) = (home.write("old", PASSPHRASE), home.write("new", OTHER));
    succeed(&home, &["key", "move", "--passphrase-file", text(&old)]);
    let again = home.strongroom(&["key", "move", "--passphrase-file", text(&old)]);
    assert!(!again.status.success(), "{}", both(&again));
    let refused = home.strongroom(&["key", "rotate", "--passphrase-file", text(&new)]);
    assert!(!refused.status.success(), "{}", both(&refused));
    let change = ["key", "passphrase", "--passphrase-file", text(&old), "--new-passphrase-file"];
    succeed(&home, &[&change[..], &[text(&new)]].concat());
    let wrapped = fs::read(home.data().join("keys/root.sealed")).expect("a wrapped key");
    succeed(&home, &["key", "rotate", "--passphrase-file", text(&new)]);
    assert_ne!(fs::read(home.data().join("keys/root.sealed")).expect("a wrapped key"), wrapped);

    let server = Server::start_with(&home, &["--passphrase-file", text(&new)]);
    server.with_key(&home.key()).get("/v1/models").expect(200);
    for (action, times) in [("vault.rotate", 2), ("vault.key_move", 1), ("vault.passphrase", 1)] {
        let seen = events(&home, action, None);
        let outcomes: Vec<_> = seen.iter().map(|event| event.0.as_str()).collect();
        assert_eq!(outcomes, ["started", "done"].repeat(times), "{action}");
    }
    let doctor = succeed(&home, &["doctor", "--json"]);
    assert!(!both(&doctor).contains("Replace the root key."));
}

#[test]
fn what_is_done_at_the_console_is_on_record_beside_the_server_and_without_it() {
    let (home, passphrase) = sealed_home();
    let given = ["--passphrase-file", text(&passphrase)];
    let verify = |more: &[&str]| succeed(&home, &[&["audit", "verify"], more].concat());
    assert!(both(&verify(&[])).contains("not on record"), "nobody is asked for a passphrase");
    let verified = both(&verify(&given));
    assert!(!verified.contains("not on record"), "{verified}");
    let fingerprint = verified.lines().find_map(|line| line.strip_prefix("key ")).expect("a key");
    let fingerprint = fingerprint.split_whitespace().next().expect("digits");
    verify(&["--fingerprint", fingerprint]);
    let other = home.strongroom(&["audit", "verify", "--fingerprint", &"0".repeat(64)]);
    assert_eq!(other.status.code(), Some(3), "{}", both(&other));
    verify(&["--public-key", text(&home.data().join("audit/public.key"))]);
    let refused = home.strongroom(&["audit", "export"]);
    assert!(!refused.status.success(), "an export that is not on record is none");

    let server = Server::start_with(&home, &given);
    verify(&[]);
    let made = succeed(&home, &["backup", "create", "--to", text(&home.path("kept"))]);
    let made = String::from_utf8(made.stdout).expect("text");
    let file = made.split_whitespace().nth(1).expect("a file").to_owned();
    succeed(&home, &["backup", "verify", &file]);
    succeed(&home, &["audit", "export", "--out", text(&home.path("log.jsonl"))]);
    use std::os::unix::fs::PermissionsExt as _;
    for path in [home.path("log.jsonl"), PathBuf::from(&file)] {
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    assert!(server.stop().success());
    succeed(&home, &[&["backup", "verify", &file], &given[..]].concat());

    let outcomes = |action: &str| -> Vec<String> {
        let events = events(&home, action, Some(&passphrase));
        events.into_iter().map(|event| event.0).collect()
    };
    assert_eq!(outcomes("audit.verify"), ["done", "done"]);
    assert_eq!(outcomes("backup.verify"), ["done", "done"]);
    assert_eq!(outcomes("backup.create"), ["started", "done"]);
    assert_eq!(outcomes("audit.export")[..2], ["started", "done"]);
    let loaded = events(&home, "config.load", Some(&passphrase));
    assert_eq!(loaded[0].1["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn an_owner_who_lost_the_password_gets_a_link_at_the_console() {
    let home = Home::prepared();
    let link = |home: &Home| {
        let made = succeed(home, &["user", "reset", OWNER]);
        let said = String::from_utf8(made.stdout).expect("text");
        said.split_once("/invite#").expect("a link").1.trim().to_owned()
    };
    let first = link(&home);
    let server = Server::start(&home);
    let second = link(&home);
    let nobody = home.strongroom(&["user", "reset", "nobody"]);
    assert!(!nobody.status.success() && both(&nobody).contains("nobody called"));
    let redeem = |token: &str| {
        let client = server.client();
        client.post("/api/invitation", &json!({"token": token, "password": OTHER}))
    };
    assert!(redeem(&first).status >= 400, "a new link ends the old one");
    redeem(&second).expect(201);
    assert!(redeem(&second).status >= 400, "it works once");
    Session::sign_in(server.client(), OWNER, OTHER);
    assert_eq!(events(&home, "person.reset", None).len(), 2);
}

#[test]
fn a_restore_brings_no_session_and_no_key_of_its_day_back() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let session = server.sign_in();
    let made = succeed(&home, &["backup", "create", "--to", text(&home.path("kept"))]);
    assert!(server.stop().success());
    let said = String::from_utf8(made.stdout).expect("text");
    let files: Vec<_> = said.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    let root = home.path("root.key");
    fs::copy(home.data().join("keys/root.key"), &root).expect("copied");
    let restore = |more: &[&str]| {
        let command = [
            "backup",
            "restore",
            files[0],
            "--keys",
            files[1],
            "--root-key",
            text(&root),
            "--replace",
        ];
        both(&succeed(&home, &[&command[..], more].concat()))
    };
    let said = restore(&[]);
    assert!(said.contains("Ended 1 sessions") && said.contains(": ended"), "{said}");
    let server = Server::start(&home);
    server.with_key(&home.key()).get("/v1/models").expect(401);
    assert_eq!(session.client.clone().at(&server.base).get("/api/me").status, 401);
    assert!(server.stop().success());

    assert!(restore(&["--keep-keys"]).contains("works as it did then"));
    let server = Server::start(&home);
    server.with_key(&home.key()).get("/v1/models").expect(200);
    succeed(&home, &["audit", "verify"]);
}

#[test]
fn a_sealed_server_without_its_certificate_comes_up_and_mends_it() {
    let (home, passphrase) = sealed_home();
    fs::write(home.data().join("tls/server.pem"), "half a certif").expect("written");
    let server = Server::launch(&home, &[]).expect("it starts sealed all the same");
    succeed(&home, &["unseal", "--passphrase-file", text(&passphrase)]);
    server.wait_until(200);
    server.with_key(&home.key()).get("/v1/models").expect(200);
}

fn assert_sealed(server: &Server, key: &str) {
    let client = server.with_key(key);
    let chat = json!({"model": "guide", "messages": [{"role": "user", "content": "hello"}]});
    let answers = [
        client.get("/readyz"),
        client.get("/v1/models"),
        client.post("/v1/chat/completions", &chat),
        server.client().get("/api/status"),
        server.client().get("/api/me"),
        server.client().post("/api/session", &json!({"username": OWNER, "password": PASSWORD})),
        server.client().get("/metrics"),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.code().as_str()), (503, "sealed"), "{}", answer.text());
    }
    assert_eq!(server.client().get("/healthz").status, 200, "the process is alive");
}
