//! What real clients of OpenAI's API rely on: 28 cases, each held by at least one test that carries its
//! number (`case_01_…`, `test_case_01_…`), against the real binary, with requests as these clients send
//! them. Those that only a client itself can show stand in tests/clients.
//!
//! 1. openai-python asks for embeddings in base64 by itself.
//! 2. Embeddings of arrays of tokens are served, or refused by `input`; never answered with nothing.
//! 3. A chunk without choices is the usage, and comes only where that was asked for.
//! 4. The first delta has the role; id, created and model are those of all chunks; `[DONE]` is the end.
//! 5. An error after the begin is an event with `error`, which clients raise.
//! 6. Every error has `message`, `type`, `param`, `code`; of addresses and methods that are not there too.
//! 7. Clients ask again as `x-should-retry`, `retry-after-ms` and `retry-after` say; not for a used-up budget.
//! 8. `x-request-id` is on good answers and on errors.
//! 9. Calls have an index from 0, an id of their own, and a text as arguments.
//! 10. `finish_reason` is one of OpenAI's; `tool_calls` in both forms of the answer; `length` goes before it.
//! 11. `tool_choice` by name and `required`; `required` without tools is refused.
//! 12. The assistant's content may be null, absent, or beside calls.
//! 13. `developer` is the system's; messages of the system come first, as one; an unknown role is refused; none is dropped.
//! 14. Content in parts works with templates that want texts.
//! 15. `max_completion_tokens` bounds the answer, which ends with `length`.
//! 16. Too long a prompt is `context_length_exceeded`, and never cut in silence.
//! 17. Schemas with `$defs`, with `anyOf` and null, strict; any JSON object.
//! 18. Harmless fields pass; what is known and not supported is refused by name.
//! 19. Thoughts are `reasoning_content` (and `reasoning`), never content, and are taken back.
//! 20. No character is split; comments in a silence can be turned off.
//! 21. Whoever leaves ends the work, of a streamed answer and of a whole one.
//! 22. Models have their context; ids may contain `/`; those that may not be used are not there.
//! 23. Anthropic's errors have Anthropic's shape; tokens are counted.
//! 24. `Authorization: Bearer` and `x-api-key` are one credential.
//! 25. Seeds repeat; several answers are numbered; no part of a stop text shows; tokens have their bytes.
//! 26. Completions take a text, a list and tokens; their usage is a chunk.
//! 27. An image's address is refused, and nothing is fetched.
//! 28. An alias opens the model that an administrator gave that name.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

#[path = "../common/mod.rs"]
mod common;
mod refusals;
mod streams;
mod talks;
mod texts;
mod tools;

use std::path::PathBuf;

use common::numbered::numbers;
use common::{Client, GUIDE, Home, Server, text};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A server without limits, and what belongs to it. The server goes first.
struct Place {
    server: Server,
    home: Home,
}

impl Place {
    /// With these settings.
    fn with(settings: &[&str]) -> Self {
        Self::serving(Home::prepared(), &[], settings)
    }

    /// With these models beside the guide too.
    fn serving(home: Home, models: &[PathBuf], settings: &[&str]) -> Self {
        let fixed = [
            "models.default=guide",
            "limits.person.requests_per_minute=0",
            "limits.person.tokens_per_minute=0",
            "limits.person.concurrent=0",
            "limits.key.requests_per_minute=0",
            "limits.key.tokens_per_minute=0",
            "limits.key.concurrent=0",
        ];
        let mut arguments = Vec::new();
        for setting in fixed.iter().chain(settings) {
            arguments.extend(["--set", *setting]);
        }
        for model in models {
            arguments.extend(["--model", text(model)]);
        }
        let server = Server::start_with(&home, &arguments);
        Self { server, home }
    }

    /// OpenAI's client for Python, as far as its headers go.
    fn client(&self) -> Client {
        python(self.server.with_key(&self.home.key()))
    }
}

/// The headers that openai-python sends.
fn python(client: Client) -> Client {
    [
        ("accept", "application/json"),
        ("user-agent", "OpenAI/Python 3.54.0"),
        ("x-stainless-lang", "python"),
        ("x-stainless-package-version", "3.54.0"),
        ("x-stainless-os", "Linux"),
        ("x-stainless-arch", "x64"),
        ("x-stainless-runtime", "CPython"),
        ("x-stainless-runtime-version", "3.13.5"),
        ("x-stainless-async", "false"),
        ("x-stainless-retry-count", "0"),
        ("x-stainless-read-timeout", "600"),
    ]
    .into_iter()
    .fold(client, |client, (name, value)| client.with(name, value))
}

/// The body with these fields laid over it.
fn with(mut body: Value, change: &Value) -> Value {
    for (name, value) in change.as_object().expect("an object") {
        body[name] = value.clone();
    }
    body
}

/// A chat with these fields laid over a plain one.
fn chat(change: &Value) -> Value {
    let plain = json!({"model": GUIDE, "max_tokens": 16, "seed": 7,
        "messages": [{"role": "user", "content": "What are you, and what can you do?"}]});
    with(plain, change)
}

/// What is said in an answer.
fn said(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

#[test]
fn each_of_the_28_cases_has_a_test_that_carries_its_number() {
    assert_eq!(numbers("case_"), (1..=28).collect());
}
