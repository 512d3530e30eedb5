//! What all controls together add to a request: the real server over TLS, with an engine that only
//! echoes. TLS, sessions of HTTP, the key, the permission, the limits, the guard both ways, the
//! record on disk before and after, all of it; only the model costs nothing.
//!
//! `cargo bench --features bench --bench controls`

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "it prints figures, and ends where something fails"
)]

#[path = "../tests/common/mod.rs"]
mod common;
mod measure;

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Client, Home};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use measure::{Times, head, ms};
use serde_json::{Value, json};
use strongroom::bench::{Generate, serve_engine};
use strongroom::config::Config;
use strongroom::engine::{
    AnswerParser, Constraint, Conversation, Domain, EngineError, EngineStats, FinishReason,
    GenerationEvent, GenerationRequest, Grammar, GrammarError, ModelInfo, Piece, PromptError,
    PromptOptions, Reading, Score, ScoreItem, TokenCount, ToolRules, Usage,
};

const WARM: usize = 200;
const COUNT: usize = 2_000;
const AT_ONCE: usize = 8;
const QUESTION: &str = "Please sum up what the committee agreed on in its meeting of 4 May, and who \
    is to do what until the next one.";

/// Says again what it was asked, a word at a time. One byte is one token.
struct Echo(ModelInfo);

impl Generate for Echo {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn prompt(
        &self,
        conversation: &Conversation,
        _: &PromptOptions,
    ) -> Result<Vec<u32>, PromptError> {
        Ok(conversation.texts().into_iter().flat_map(|text| self.tokenize(&text)).collect())
    }

    fn tokenize(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    fn detokenize(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().filter_map(|token| u8::try_from(*token).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn read(&self, text: &str, _: Reading) -> Vec<u32> {
        self.tokenize(text)
    }

    fn piece(&self, token: u32) -> Piece {
        Piece { name: token.to_string(), bytes: Vec::new() }
    }

    fn constrain(&self, _: &Grammar) -> Result<Constraint, GrammarError> {
        Err(GrammarError::Unavailable)
    }

    fn constrain_calls(
        &self,
        _: &[Value],
        _: &ToolRules,
        _: Option<&Grammar>,
    ) -> Result<Option<Constraint>, GrammarError> {
        Ok(None)
    }

    fn parser(&self, _: &[u32], functions: Vec<String>, _: bool) -> AnswerParser {
        AnswerParser::without_marks(functions)
    }

    fn generate(
        &self,
        request: GenerationRequest,
    ) -> Result<BoxStream<'static, GenerationEvent>, EngineError> {
        let text = self.detokenize(&request.prompt);
        let words: Vec<_> = text.split_inclusive(' ').map(str::to_owned).collect();
        let usage = Usage {
            prompt_tokens: request.prompt.len(),
            completion_tokens: words.len(),
            ..Usage::default()
        };
        let said =
            words.into_iter().map(|text| GenerationEvent::Text { text, logprobs: Vec::new() });
        let last = GenerationEvent::Finished { reason: FinishReason::Stop, usage };
        let first = std::iter::once(GenerationEvent::Started {
            cached_tokens: 0,
            generated: TokenCount::default(),
        });
        Ok(stream::iter(first.chain(said).chain([last]).collect::<Vec<_>>()).boxed())
    }

    fn score(
        &self,
        _: Vec<ScoreItem>,
        _: Domain,
    ) -> BoxFuture<'_, Result<Vec<Score>, EngineError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    fn forget(&self, _: Domain) {}

    fn shutdown(&self) {}
}

fn echo() -> Echo {
    Echo(ModelInfo {
        name: None,
        architecture: "echo".into(),
        parameters: 0,
        quantization: "none".into(),
        context_tokens: 4_096,
        vocabulary: 256,
        file_bytes: 0,
        has_chat_template: true,
    })
}

/// Starts the server in this process; it ends with it.
fn serve(home: &Home) -> Client {
    let off = ["person", "key"].iter().flat_map(|who| {
        ["requests_per_minute", "tokens_per_minute", "tokens_per_day"]
            .map(|what| (format!("limits.{who}.{what}"), "0".to_owned()))
    });
    let set: Vec<_> = off
        .chain(["person", "key"].map(|who| (format!("limits.{who}.concurrent"), "0".to_owned())))
        .chain([
            ("server.data_dir".to_owned(), home.data().display().to_string()),
            ("server.listen".to_owned(), "127.0.0.1:0".to_owned()),
        ])
        .collect();
    let config = Config::from_layers(None, &[], &set).expect("settings");
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    std::thread::spawn(move || serve_engine(&config, Arc::new(echo()), &mut writer));
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).expect("it starts");
    let base = line.trim().strip_prefix("listening ").unwrap_or_else(|| panic!("no start: {line}"));
    let client = Client::new(base, &home.data().join("tls/ca.pem"));
    client.with("authorization", &format!("Bearer {}", home.key()))
}

fn main() {
    let home = Home::prepared();
    let client = serve(&home);
    let body = |stream: bool| json!({"model": "echo", "stream": stream, "messages": [{"role": "user", "content": QUESTION}]});
    let (whole, streamed) = (body(false), body(true));
    let chat = |client: &Client, body: &Value| {
        let answer = client.post("/v1/chat/completions", body);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    };
    head();
    let bare = Times::of(WARM, COUNT, || assert_eq!(client.get("/healthz").status, 200));
    bare.row("GET /healthz: TLS and HTTP alone");
    Times::of(WARM, COUNT, || assert_eq!(client.get("/v1/models").status, 200))
        .row("GET /v1/models: key and permission");
    let alone = Times::of(WARM, COUNT, || chat(&client, &whole));
    alone.row("chat, one at a time");
    Times::of(WARM, COUNT, || chat(&client, &streamed)).row("chat streamed, one at a time");
    let begun = Instant::now();
    many(&client, &|client| chat(client, &whole)).row(&format!("chat, {AT_ONCE} at once"));
    let per_second = (AT_ONCE * COUNT) as f64 / begun.elapsed().as_secs_f64();
    println!(
        "\nall controls add to one request: p50 {:.2} ms, p99 {:.2} ms",
        ms(alone.share(0.5).saturating_sub(bare.share(0.5))),
        ms(alone.share(0.99).saturating_sub(bare.share(0.5)))
    );
    println!("chats a second, {AT_ONCE} at once: {per_second:.0}");
}

/// Several clients at once, each with its own connection.
fn many(client: &Client, what: &(dyn Fn(&Client) + Sync)) -> Times {
    let taken = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(move || {
                    let once = |_| {
                        let begun = Instant::now();
                        what(client);
                        begun.elapsed()
                    };
                    (0..COUNT).map(once).collect::<Vec<Duration>>()
                })
            })
            .collect();
        clients.into_iter().flat_map(|one| one.join().expect("a client ends")).collect()
    });
    Times::new(taken)
}
