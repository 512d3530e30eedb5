//! What the tests of several rooms need. Knows no room, and is not part of the product.

use std::path::{Path, PathBuf};

/// A file or folder of the real data that lies outside the repository, under `STRONGROOM_SHARED`
/// or `../shared`. Where it is not at hand the test says so and is counted as skipped, not passed.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("STRONGROOM_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let found = given.into_iter().chain([beside]).map(|root| root.join("data").join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        // The runner names the thread after the test.
        let thread = std::thread::current();
        let reason = format!("data/{name} is neither in STRONGROOM_SHARED nor in ../shared");
        skip(&mut std::io::stderr(), thread.name().unwrap_or("unknown"), &reason);
    }
    found
}

/// The root of the repository, where the tests find their files: as cargo or the environment says, so
/// that a test program can be carried to another machine.
pub(crate) fn root() -> PathBuf {
    let built = || env!("CARGO_MANIFEST_DIR").into();
    std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(built).into()
}

/// The device that the tests of devices are to use, such as `cuda:0`; none: the processor stands in.
pub(crate) fn device() -> Option<String> {
    std::env::var("STRONGROOM_TEST_DEVICE").ok()
}

/// `tests/run` counts these lines, so they begin a line of their own.
fn skip(out: &mut impl std::io::Write, test: &str, reason: &str) {
    // Not `eprintln!`: the test runner keeps that to itself where a test passes.
    let _ = out.write_all(format!("\nSKIPPED test {test}: {reason}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_without_its_data_says_so_on_a_line_of_its_own() {
        let mut out = b"test a_test ... ".to_vec();
        skip(&mut out, "a_test", "there is no data");
        let text = String::from_utf8(out).expect("text");
        assert!(text.lines().any(|line| line == "SKIPPED test a_test: there is no data"), "{text}");
    }
}
