//! A person who chats with the real binary, in pipes and at a terminal.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{Home, wait_for};

/// A person with a home of their own, apart from the server's.
pub struct Person<'a> {
    pub home: &'a Home,
}

impl<'a> Person<'a> {
    /// A person beside this server.
    pub fn new(home: &'a Home) -> Self {
        Self { home }
    }

    /// The command, with the key that `init` made.
    pub fn chat(&self, arguments: &[&str]) -> Command {
        let mut command = self.keyless(arguments);
        command.arg("--key-file").arg(self.home.path("key"));
        command
    }

    /// The command, without a key.
    pub fn keyless(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(&["chat"]);
        command.args(arguments).stdin(Stdio::null());
        self.set(&mut command);
        command
    }

    fn set(&self, command: &mut Command) {
        for name in ["NO_COLOR", "STRONGROOM_KEY_FILE", "STRONGROOM_URL", "STRONGROOM_CA_FILE"] {
            command.env_remove(name);
        }
        command.env_remove("STRONGROOM_MODEL");
        command.env("TERM", "xterm-256color");
        command.env("HOME", self.home.path("person"));
        command.env("XDG_CONFIG_HOME", self.home.path("person/config"));
        command.env("XDG_STATE_HOME", self.home.path("person/state"));
    }

    /// What the command keeps of what is typed.
    pub fn history(&self) -> PathBuf {
        self.home.path("person/state/strongroom/chat_history")
    }
}

/// A person at a terminal, by way of `script`.
pub struct Terminal {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
    seen: usize,
}

impl Terminal {
    /// Whether there is what it needs.
    pub fn is_there() -> bool {
        Command::new("script").arg("--version").output().is_ok()
    }

    /// Starts a chat.
    pub fn start(person: &Person, arguments: &[&str]) -> Self {
        Self::start_with(person, arguments, &[])
    }

    /// The same, in an environment with these variables too.
    pub fn start_with(person: &Person, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut line = vec![env!("CARGO_BIN_EXE_strongroom"), "chat"];
        line.extend(arguments);
        let line: Vec<String> = line.iter().map(|part| format!("'{part}'")).collect();
        let mut command = Command::new("script");
        command
            .args(["-qefc", &format!("exec {}", line.join(" ")), "/dev/null"])
            .current_dir(person.home.path(""));
        person.set(&mut command);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("`script` can be started");
        let mut stdout = child.stdout.take().expect("it is piped");
        let shown = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 1_024];
            while let Ok(count @ 1..) = stdout.read(&mut chunk) {
                writer.lock().expect("no panic").extend_from_slice(&chunk[..count]);
            }
        });
        Self { child, shown, reader: Some(reader), seen: 0 }
    }

    /// Waits until this is shown, after what was waited for before.
    pub fn wait(&mut self, part: &str) {
        let mut end = None;
        let told = format!("`{part}`");
        wait_for(&told, || {
            let shown = self.shown.lock().expect("no panic");
            let rest = &shown[self.seen..];
            let found = rest.windows(part.len()).position(|bytes| bytes == part.as_bytes());
            end = found.map(|at| self.seen + at + part.len());
            end.is_some()
        });
        self.seen = end.unwrap_or(self.seen);
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("it runs");
    }

    /// Waits for the end; gives the exit code and all that was shown.
    pub fn end(mut self) -> (i32, String) {
        wait_for("the end of the chat", || self.child.try_wait().expect("it is ours").is_some());
        let status = self.child.wait().expect("it has ended");
        // What it wrote last is judged too.
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        (status.code().unwrap_or(-1), self.shown())
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().expect("no panic")).into_owned()
    }
}

/// A test that fails leaves no chat behind, which its server would wait for, and says what it saw.
impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the terminal showed: {:?}", self.shown());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
