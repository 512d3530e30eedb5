//! Starts the real binary in a directory of its own and speaks to it over TLS, as a client would.
//!
//! Nothing here knows the library: what these tests see is what a person or a program sees.

#![allow(clippy::panic, reason = "a helper fails as its test does")]
#![allow(dead_code, reason = "every test file uses another part of this")]

pub mod client;
pub mod crowd;
pub mod damaged;
pub mod frames;
pub mod guides;
pub mod numbered;
pub mod person;
pub mod raw;
pub mod refusal;
pub mod scripted;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;

#[allow(unused_imports, reason = "not every test file names it")]
pub use client::Answer;
pub use client::{Client, Session};

/// The owner that [`Home::prepared`] makes.
pub const OWNER: &str = "olivia";
/// The owner's password.
pub const PASSWORD: &str = "nine herons beside the old mill";
/// The password of whom [`Server::invite`] invites.
pub const GUEST_PASSWORD: &str = "seven otters under the long pier";
/// The name of the built-in model.
pub const GUIDE: &str = "guide";

/// Waiting ends here, with a failed test instead of a hanging one; nothing is measured against it.
const PATIENCE: Duration = Duration::from_mins(5);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// A directory that holds a data directory and what belongs to it.
pub struct Home {
    directory: TempDir,
    logs: AtomicUsize,
}

impl Home {
    /// A home before its first start.
    pub fn empty() -> Self {
        let directory = tempfile::Builder::new().prefix("strongroom-test-").tempdir();
        Self { directory: directory.expect("a temporary directory"), logs: AtomicUsize::new(0) }
    }

    /// A home with its owner and an API key, made by `strongroom init`.
    pub fn prepared() -> Self {
        let home = Self::empty();
        home.init(&[]);
        home
    }

    /// Runs `strongroom init` with the owner, and with further arguments.
    pub fn init(&self, more: &[&str]) {
        let password = self.write("password", PASSWORD);
        let key = self.path("key");
        let mut arguments = vec!["init", "--owner", OWNER, "--password-file", text(&password)];
        arguments.extend(["--api-key-file", text(&key)]);
        arguments.extend(more);
        let output = self.strongroom(&arguments);
        assert!(output.status.success(), "init failed: {}", both(&output));
    }

    /// A path beside the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file beside the data directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the directory can be written");
        path
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The key that `init` made.
    pub fn key(&self) -> String {
        let key = fs::read_to_string(self.path("key")).expect("init has written it");
        key.trim().to_owned()
    }

    /// Runs a command of the binary on the data directory, to its end.
    pub fn strongroom(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).stdin(Stdio::null()).output();
        output.expect("the binary can be started")
    }

    /// A command of the binary on the data directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
        command.args(arguments).arg("--data-dir").arg(self.data());
        command.current_dir(self.directory.path());
        command
    }

    /// Every log that a server has written so far.
    pub fn logs(&self) -> Vec<PathBuf> {
        let count = self.logs.load(Ordering::Relaxed);
        (0..count).map(|number| self.path(&format!("server-{number}.log"))).collect()
    }

    fn next_log(&self) -> PathBuf {
        let number = self.logs.fetch_add(1, Ordering::Relaxed);
        self.path(&format!("server-{number}.log"))
    }
}

/// A running server. It is killed when this goes.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
    authority: PathBuf,
    /// `https://127.0.0.1:PORT`
    pub base: String,
}

impl Server {
    /// Starts the server and waits until it can answer.
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// The same, with further arguments.
    pub fn start_with(home: &Home, more: &[&str]) -> Self {
        let server = Self::launch(home, more).unwrap_or_else(|why| panic!("no start: {why}"));
        server.wait_until(200);
        server
    }

    /// Starts the server and waits for the line that says where it listens; else gives all that it
    /// wrote before it ended.
    pub fn launch(home: &Home, more: &[&str]) -> Result<Self, String> {
        Self::launch_with(home, more, &[])
    }

    /// The same, in an environment with these variables too.
    pub fn launch_with(
        home: &Home,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let log = home.next_log();
        // It is waited for here where it ends at once, and when the server is dropped.
        #[allow(clippy::zombie_processes)]
        let mut child = home
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .args(more)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("the directory can be written"))
            .spawn()
            .expect("the binary can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut said = String::new();
        loop {
            let begin = said.len();
            if stdout.read_line(&mut said).expect("the output is UTF-8") == 0 {
                let status = child.wait().expect("it is our child");
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{status}\n{said}{log}"));
            }
            if let Some((_, rest)) = said[begin..].split_once("listening ") {
                let base = rest.split_whitespace().next().expect("an address").to_owned();
                let authority = home.data().join("tls/ca.pem");
                return Ok(Self { child, stdout, log, authority, base });
            }
        }
    }

    /// Reads the set-up link that the server prints at its first start.
    pub fn setup_link(&mut self) -> String {
        let mut line = String::new();
        while !line.contains("/setup#") {
            line.clear();
            let count = self.stdout.read_line(&mut line).expect("the output is UTF-8");
            assert!(count > 0, "the server ended before it printed a link: {}", self.log());
        }
        line.trim().to_owned()
    }

    /// Asks `/readyz` until it has this status.
    pub fn wait_until(&self, status: u16) {
        let client = self.client();
        wait_for(&format!("/readyz to say {status}"), || {
            client.try_send("GET", "/readyz", &[], None).is_ok_and(|answer| answer.status == status)
        });
    }

    /// Memory of the process that is in use, in MiB.
    pub fn resident_mib(&self) -> u64 {
        self.resident_kib() / 1_024
    }

    /// The same, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most memory that the process has had in use, in MiB.
    pub fn peak_mib(&self) -> u64 {
        self.memory_kib("VmHWM:") / 1_024
    }

    fn memory_kib(&self, figure: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(figure)).expect("a figure");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// A client that trusts this server's own authority, and nobody else.
    pub fn client(&self) -> Client {
        Client::new(&self.base, &self.authority)
    }

    /// A client that sends an API key.
    pub fn with_key(&self, key: &str) -> Client {
        self.client().with("authorization", &format!("Bearer {key}"))
    }

    /// Signs the owner in.
    pub fn sign_in(&self) -> Session {
        Session::sign_in(self.client(), OWNER, PASSWORD)
    }

    /// Invites somebody with this role and signs them in.
    pub fn invite(&self, owner: &Session, role: &str) -> Session {
        self.invite_as(owner, "guest", role)
    }

    /// The same, under a name.
    pub fn invite_as(&self, owner: &Session, username: &str, role: &str) -> Session {
        let person = json!({"username": username, "display_name": "Guest", "roles": [role]});
        let made = owner.client.post("/api/admin/people", &person).expect(201);
        let link = made["invitation_link"].as_str().expect("a link");
        let token = link.split_once('#').expect("a secret").1;
        let client = self.client();
        let answer =
            client.post("/api/invitation", &json!({"token": token, "password": GUEST_PASSWORD}));
        answer.expect(201);
        Session::from_answer(client, &answer)
    }

    /// So many members, who are invited for it.
    pub fn members(&self, owner: &Session, count: usize) -> Vec<Session> {
        let member = |number| self.invite_as(owner, &format!("member-{number}"), "member");
        (0..count).map(member).collect()
    }

    /// A connection for bytes that no client would send.
    pub fn raw(&self) -> raw::Raw {
        raw::Raw::connect(&self.base, &self.authority)
    }

    /// The same from another address, over a socket that holds little that was not read.
    pub fn raw_from(&self, address: &str, protocols: &[&str]) -> std::io::Result<raw::Raw> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let to = self.base.strip_prefix("https://").expect("it speaks TLS");
        let to = to.parse().expect("an address and a port");
        let from = format!("{address}:0").parse().expect("an address");
        let socket = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(4_096)?;
            socket.bind(from)?;
            socket.connect(to).await?.into_std()
        })?;
        socket.set_nonblocking(false)?;
        Ok(raw::Raw::over(socket, &self.authority, protocols))
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails the test where the server has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("it is our child") {
            panic!("the server ended ({status}): {}", self.log());
        }
        let answer = self.client().get("/readyz");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }

    /// Stops the server as an operator does, and waits for its end.
    pub fn stop(self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// Tells the server to stop, as an operator does.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the server's end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }

    /// Ends the server without a chance to put anything in order.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("it is our child");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killing one that has ended and been waited for is an error, and no matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until it is so.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// Waits a moment, which has another length each time: what is met in its middle on a slow machine has ended by
/// then on a fast one.
pub fn pause(turn: &mut usize) {
    const MS: [u64; 4] = [50, 20, 5, 1];
    std::thread::sleep(Duration::from_millis(MS[*turn % MS.len()]));
    *turn += 1;
}

/// Says that this test cannot do its work on this machine. `tests/run` counts these lines.
pub fn skip(test: &str, reason: &str) {
    // Not `eprintln!`: the test runner keeps that to itself where a test passes.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED test {test}: {reason}");
}

/// Where models and published data lie that are not part of the repository.
pub fn shared() -> Option<PathBuf> {
    let given = std::env::var_os("STRONGROOM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    given.into_iter().chain([beside]).find(|path| path.join("data").is_dir())
}

/// The built-in model's file.
pub fn guide_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/guide/guide.gguf")
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("the tests' paths are UTF-8")
}

/// Both outputs of a command.
pub fn both(output: &Output) -> String {
    let parts = [&output.stdout[..], &output.stderr[..]];
    parts.map(String::from_utf8_lossy).concat()
}
