//! Classes of holes that were found in servers of this kind, each held shut by tests that carry its number
//! (`class_04_…`), here and elsewhere in the tests and beside the code.
//!
//! 1. Model files that read or write where they should not: tests/model_files.rs, fuzz/.
//! 2. Chat templates that do more than write a prompt.
//! 3. Callers that replace what a template is given.
//! 4. Addresses beside the main ones that nobody looks at.
//! 5. A second way to present a credential that skips a check.
//! 6. Things of other people, by their ids.
//! 7. Addresses in a request that the server goes to.
//! 8. Words that a page shows as markup: of the API, that no answer is a page; in the browser, tests/web.
//! 9. Secrets that can be guessed by the time that an answer takes.
//! 10. Names that lead out of a directory.
//! 11. Parameters that take the server's time or memory.
//! 12. Words that become part of a statement to the database.
//! 13. Parts that came from elsewhere and were not looked at; licences and advisories: deny.toml.
//! 14. Errors that tell of the inside.
//! 15. A cache that tells by its speed what others have written.
//! 16. Models that are fetched from whoever is named: here from nobody.
//! 17. Pages of other servers in a person's browser.
//! 18. An updater that runs what it was given: there is none here.

#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod browsers;
#[path = "../common/mod.rs"]
mod common;
mod doors;
mod excess;
mod keys;
mod objects;
mod supply;
mod words;

use common::numbered::numbers;
use common::{Home, Server};

const CHAT: &str = "/v1/chat/completions";
/// Nothing but what a test sets itself.
const NO_LIMITS: [&str; 6] = [
    "limits.person.requests_per_minute=0",
    "limits.person.tokens_per_minute=0",
    "limits.person.concurrent=0",
    "limits.key.requests_per_minute=0",
    "limits.key.tokens_per_minute=0",
    "limits.key.concurrent=0",
];

/// A server with these settings laid over no limits.
fn start(home: &Home, settings: &[&str]) -> Server {
    let all = NO_LIMITS.iter().chain(settings).flat_map(|setting| ["--set", *setting]);
    Server::start_with(home, &all.collect::<Vec<_>>())
}

/// A path of this route, with this in the place of its parameters.
fn path_of(pattern: &str, filled: &str) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        path.push_str(before);
        path.push_str(filled);
        rest = after.split_once('}').map_or("", |(_, tail)| tail);
    }
    path + rest
}

/// Whether programs come in there with a key, and nobody with a cookie.
fn is_for_programs(path: &str) -> bool {
    const BARE: [&str; 4] = ["/rerank", "/tokenize", "/detokenize", "/metrics"];
    path.starts_with("/v1/") || BARE.contains(&path)
}

#[test]
fn each_of_the_18_classes_has_a_test_that_carries_its_number() {
    assert_eq!(numbers("class_"), (1..=18).collect());
}
