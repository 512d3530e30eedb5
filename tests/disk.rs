//! A disk that is full, one that cannot be written, and a directory that is taken.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Home, Server, both, skip, text};
use serde_json::json;

const DISK_MIB: u64 = 16;
/// What is left of the disk when it counts as full: less than any commit needs.
const FILLER_STEPS: [usize; 3] = [1 << 20, 4096, 1];

#[test]
fn a_full_disk_stores_nothing_says_so_and_loses_nothing() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip("a_full_disk_stores_nothing_says_so_and_loses_nothing", "no disk may be mounted here");
        return;
    };
    home.init(&[]);
    let mut server = Server::start(&home);
    let session = server.sign_in();
    let kept = session.begin_conversation("before");
    let filler = disk.fill();
    // What still fits into pages that are there may be taken; then the answer is that it is full.
    let mut acknowledged = Vec::new();
    let refused = loop {
        let body = json!({"title": "word ".repeat(30)});
        let answer = session.client.post("/api/conversations", &body);
        if answer.status != 201 {
            break answer;
        }
        acknowledged.push(answer.expect(201)["id"].as_str().expect("an id").to_owned());
        assert!(acknowledged.len() < 100_000, "the disk is full, and yet everything fits");
    };
    let code = refused.code();
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(["storage_full", "audit_unavailable"].contains(&code.as_str()), "{}", refused.text());
    assert!(!refused.text().contains(text(&home.data())), "{}", refused.text());
    // No generation without its record.
    let body = json!({"model": "guide", "messages": [{"role": "user", "content": "hello"}]});
    let answer = server.with_key(&home.key()).post("/v1/chat/completions", &body);
    assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
    // That a conversation was opened goes on record, so it cannot be opened; its list can.
    let opened = session.client.get(&format!("/api/conversations/{kept}"));
    assert!(matches!(opened.status, 200 | 503), "{}", opened.text());
    session.client.get("/api/conversations").expect(200);
    session.client.get("/api/me").expect(200);

    fs::remove_file(filler).expect("it is there");
    let after = session.begin_conversation("after");
    server.assert_alive();
    assert!(server.stop().success());
    let verified = home.strongroom(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", both(&verified));
    let server = Server::start(&home);
    let session = server.sign_in();
    for id in acknowledged.iter().chain([&kept, &after]) {
        session.client.get(&format!("/api/conversations/{id}")).expect(200);
    }
    drop(server);
    drop(disk);
}

#[test]
fn a_full_disk_at_the_first_start_is_named() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip("a_full_disk_at_the_first_start_is_named", "no disk may be mounted here");
        return;
    };
    disk.fill();
    let said = Server::launch(&home, &[]).err().expect("nothing can be made");
    assert!(said.contains("No space left") || said.contains("full"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let home = Home::empty();
    let Some(disk) = Disk::mount(&home.data()) else {
        skip("a_directory_that_cannot_be_written_is_named", "no disk may be mounted here");
        return;
    };
    home.init(&[]);
    disk.forbid_writing();
    let said = Server::launch(&home, &[]).err().expect("it cannot be locked");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_directory_that_others_can_open_is_refused() {
    let home = Home::prepared();
    fs::set_permissions(home.data(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let said = Server::launch(&home, &[]).err().expect("others could read it");
    assert!(said.contains("chmod 700"), "{said}");
}

#[test]
fn a_second_server_is_told_who_holds_the_directory() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let said = Server::launch(&home, &[]).err().expect("one at a time");
    assert!(said.contains("in use by process"), "{said}");
    for command in [&["user", "list"][..], &["key", "create", "--user", "x", "--out", "y"]] {
        let output = home.strongroom(command);
        assert!(!output.status.success());
        assert!(both(&output).contains("in use by process"), "{}", both(&output));
    }
    server.assert_alive();
    server.kill();
    // However it ended, the next one may begin.
    assert!(Server::start(&home).stop().success());
}

#[test]
fn a_directory_without_its_root_key_is_refused_and_left_alone() {
    let home = Home::prepared();
    fs::remove_dir_all(home.data().join("keys")).expect("it is there");
    let before = fs::read(home.data().join("strongroom.db")).expect("it is there");
    let said = Server::launch(&home, &[]).err().expect("nothing could be read");
    assert!(said.contains("no root key"), "{said}");
    let after = fs::read(home.data().join("strongroom.db")).expect("it is there");
    assert!(before == after, "the database was changed");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let address = server.base.strip_prefix("https://").expect("it speaks TLS").to_owned();
    let other = Home::prepared();
    let output = other.strongroom(&["serve", "--listen", &address]);
    assert!(!output.status.success());
    assert!(both(&output).contains(&address), "{}", both(&output));
}

/// A small disk in memory, mounted for one test.
struct Disk(PathBuf);

impl Disk {
    /// Mounts one; none where this user may not, or the system has none.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).expect("the directory can be written");
        fs::set_permissions(at, fs::Permissions::from_mode(0o700)).expect("it is ours");
        let options = format!("size={DISK_MIB}m,mode=700");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &options, "strongroom-test", text(at)]);
        if !mounted {
            fs::remove_dir(at).expect("it is empty");
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Takes all the room that is left, and gives the file that takes it.
    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("an entry in the directory");
        for step in FILLER_STEPS {
            let bytes = vec![0_u8; step];
            while file.write_all(&bytes).is_ok() {}
        }
        path
    }

    fn forbid_writing(&self) {
        assert!(run("mount", &["-o", "remount,ro", text(&self.0)]), "it is our own mount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy", text(&self.0)]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
