//! A gate with everything real around it but the model, for the tests of the gate and of the rooms
//! above it; and callers and requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;

use super::catalog::{Catalog, Model};
use super::generate::Generate;
use super::loaded::Engines;
use super::request::{ExchangeRequest, Input, Purpose};
use super::{Gate, GateParts, WaitOptions};
use crate::access::permission::BuiltinRole;
use crate::access::registry::{PersonEntry, SessionEntry};
use crate::access::{Caller, KeyContext, Refusals, Registry, Via};
use crate::audit::{AuditLog, Filter, Record};
use crate::clock::{Clock, Timestamp};
use crate::config::{LimitSet, Limits, Price, Prices};
use crate::db::{Db, DbOptions};
use crate::engine::{
    AnswerParser, Candidate, Constraint, Conversation, Domain, EngineError, EngineStats,
    FinishReason, GenerationEvent, GenerationRequest, Grammar, GrammarError, Message, ModelInfo,
    Piece, PromptError, PromptOptions, Reading, Sampling, Score, ScoreItem, SharedPrefix,
    TokenCount, TokenLogprob, ToolRules, Usage,
};
use crate::ids::{KeyId, RequestId, SessionId, UserId};
use crate::limits::Limiter;
use crate::usage::Ledger;
use crate::vault::{KeySource, Vault};

/// A model that says what it was told to say. One byte is one token.
pub(crate) struct Scripted {
    info: ModelInfo,
    pieces: Vec<String>,
    /// What happens after the pieces.
    pub(crate) then: Then,
    /// Prompts that reached the engine.
    pub(crate) seen: Mutex<Vec<String>>,
    /// What of each was marked as everybody's.
    pub(crate) shared: Mutex<Vec<Option<SharedPrefix>>>,
    /// Tokens that are generated before any text comes of them.
    pub(crate) unseen: AtomicUsize,
    /// Streams that are alive.
    pub(crate) alive: Arc<AtomicUsize>,
}

/// What a scripted model does after its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Finish,
    /// It is cut off by the bound on its tokens.
    Cut,
    Hang,
    /// It never gets a place.
    Wait,
    Fail,
    Refuse,
}

impl Scripted {
    pub(crate) fn new(pieces: &[&str], then: Then) -> Arc<Self> {
        let info = ModelInfo {
            name: None,
            architecture: "scripted".into(),
            parameters: 0,
            quantization: "none".into(),
            context_tokens: 200,
            vocabulary: 256,
            file_bytes: 0,
            has_chat_template: true,
        };
        Arc::new(Self {
            info,
            pieces: pieces.iter().map(|piece| (*piece).to_owned()).collect(),
            then,
            seen: Mutex::default(),
            shared: Mutex::default(),
            unseen: AtomicUsize::default(),
            alive: Arc::default(),
        })
    }
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Generate for Scripted {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn prompt(
        &self,
        conversation: &Conversation,
        _: &PromptOptions,
    ) -> Result<Vec<u32>, PromptError> {
        let line = |message: &Message| format!("{:?}:{}\n", message.role, message.content.text());
        Ok(self.tokenize(&conversation.messages.iter().map(line).collect::<String>()))
    }

    fn tokenize(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    fn detokenize(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().filter_map(|t| u8::try_from(*t).ok()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn read(&self, text: &str, _: Reading) -> Vec<u32> {
        self.tokenize(text)
    }

    fn piece(&self, token: u32) -> Piece {
        let bytes = vec![u8::try_from(token).unwrap_or(0)];
        Piece { name: format!("t{token}"), bytes }
    }

    fn constrain(&self, _: &Grammar) -> Result<Constraint, GrammarError> {
        Err(GrammarError::Unavailable)
    }

    fn constrain_calls(
        &self,
        _: &[serde_json::Value],
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
        self.seen.lock().push(self.detokenize(&request.prompt));
        self.shared.lock().push(request.shared);
        if self.then == Then::Refuse {
            return Err(EngineError::Busy);
        }
        let token = |byte| TokenLogprob {
            chosen: Candidate { token: u32::from(byte), bytes: vec![byte], logprob: -0.5 },
            top: Vec::new(),
            text_bytes: 1,
        };
        let piece = |text: &String| GenerationEvent::Text {
            text: text.clone(),
            logprobs: request
                .logprobs
                .map(|_| text.bytes().map(token).collect())
                .unwrap_or_default(),
        };
        let usage = Usage {
            prompt_tokens: request.prompt.len(),
            completion_tokens: match request.max_tokens {
                0 => 0,
                _ => self.pieces.iter().map(String::len).sum(),
            },
            decode_ms: 100,
            ..Usage::default()
        };
        let last = match self.then {
            Then::Fail => vec![GenerationEvent::Failed(EngineError::NotANumber)],
            Then::Finish => vec![GenerationEvent::Finished { reason: FinishReason::Stop, usage }],
            Then::Cut => vec![GenerationEvent::Finished { reason: FinishReason::Length, usage }],
            Then::Hang | Then::Wait | Then::Refuse => Vec::new(),
        };
        let generated = TokenCount::default();
        generated.add(self.unseen.load(Ordering::SeqCst) as u64);
        let started = GenerationEvent::Started { cached_tokens: 0, generated: generated.clone() };
        let prompt: Vec<TokenLogprob> = request
            .prompt
            .iter()
            .skip(1)
            .map(|one| token(u8::try_from(*one).unwrap_or(0)))
            .collect();
        let judged = request.judges_prompt.then_some(GenerationEvent::Prompt(prompt));
        let events: Vec<GenerationEvent> = std::iter::once(started)
            .chain(judged)
            .chain(self.pieces.iter().map(piece).filter(|_| request.max_tokens > 0))
            .chain(last)
            .take(if self.then == Then::Wait { 0 } else { usize::MAX })
            .collect();
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(Arc::clone(&self.alive));
        let spoken = stream::iter(events);
        let hangs = matches!(self.then, Then::Hang | Then::Wait);
        let rest = stream::pending().take(usize::from(hangs));
        Ok(spoken
            .chain(rest)
            .map(move |event| {
                let _ = &alive;
                if let GenerationEvent::Text { text, .. } = &event {
                    generated.add(text.len() as u64);
                }
                event
            })
            .boxed())
    }

    fn line(&self) -> usize {
        8
    }

    fn score(
        &self,
        items: Vec<ScoreItem>,
        _domain: Domain,
    ) -> BoxFuture<'_, Result<Vec<Score>, EngineError>> {
        let score = |item: &ScoreItem| Score {
            sum_logprob: -(item.continuation.len() as f64),
            tokens: item.continuation.len(),
            is_greedy: false,
        };
        Box::pin(std::future::ready(Ok(items.iter().map(score).collect())))
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    fn forget(&self, _: Domain) {}

    fn shutdown(&self) {}
}

/// One model called `m`, alias `gpt-4o`, and one, `closed`, that only owners may use.
struct TwoModels(Vec<Arc<Model>>);

impl Catalog for TwoModels {
    fn find(&self, name: Option<&str>) -> Option<Arc<Model>> {
        let fits = |model: &&Arc<Model>| match name {
            None => model.is_default,
            Some(name) => model.name == name || model.aliases.iter().any(|alias| alias == name),
        };
        self.0.iter().find(fits).cloned()
    }

    fn all(&self) -> Vec<Arc<Model>> {
        self.0.clone()
    }
}

/// A gate with a real database, vault, record and limits.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) db: Db,
    pub(crate) vault: Vault,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    pub(crate) gate: Gate,
    pub(crate) engine: Arc<Scripted>,
}

impl House {
    pub(crate) async fn new(engine: Arc<Scripted>) -> Self {
        Self::with_limits(engine, LimitSet::default()).await
    }

    /// Blocking parts are opened off the runtime, as at the start of the server.
    pub(crate) async fn with_limits(engine: Arc<Scripted>, person: LimitSet) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let work = move || Self::open(engine, person, runtime);
        tokio::task::spawn_blocking(work).await.expect("opens")
    }

    fn open(engine: Arc<Scripted>, person: LimitSet, runtime: tokio::runtime::Handle) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
        let db = Db::open(&dir.path().join("t.db"), DbOptions::default()).expect("a database");
        let vault = Vault::create(&dir.path().join("keys"), &KeySource::File).expect("a vault");
        let audit = AuditLog::open(&db, &vault, &dir.path().join("audit"), &clock).expect("a log");
        let limits = Limits { person, ..Limits::default() };
        let limits = Limiter::open(&db, clock.clone(), &limits).expect("limits");
        let model = |name: &str, aliases: &[&str], roles: Option<&str>| {
            let engine = Engines::Generate(Arc::clone(&engine) as Arc<dyn Generate>);
            Arc::new(Model {
                aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
                is_default: name == "m",
                roles: roles.map(|role| vec![role.to_owned()]),
                digest: Some("0123456789abcdef".into()),
                ..Model::new(name, clock.now()).ready(engine, &clock)
            })
        };
        let models = vec![model("m", &["gpt-4o"], None), model("closed", &[], Some("owner"))];
        let gate = Gate::new(GateParts {
            catalog: Arc::new(TwoModels(models)),
            limits,
            ledger: Ledger::new(&clock, &prices()),
            guard: guard(),
            refusals: Arc::new(Refusals::new(&audit, &clock)),
            audit: audit.clone(),
            db: db.clone(),
            vault: vault.clone(),
            wait: WaitOptions { limit: Duration::from_mins(1), waiting_max: 8 },
            default_max_tokens: 50,
            clock: clock.clone(),
            runtime,
            still_holds: Box::new(|_| true),
        });
        Self { dir, db, vault, audit, clock, gate, engine }
    }

    /// The same house with other models.
    pub(crate) fn with_catalog(self, catalog: Arc<dyn Catalog>) -> Self {
        self.rebuilt(catalog, |_| true)
    }

    /// The same house, in which nobody's access stands any more.
    pub(crate) fn that_withdrew_everything(self) -> Self {
        let catalog = Arc::clone(&self.gate.inner.parts.catalog);
        self.rebuilt(catalog, |_| false)
    }

    fn rebuilt(self, catalog: Arc<dyn Catalog>, still_holds: fn(&Caller) -> bool) -> Self {
        let db = self.db.clone();
        let (limits, clock) = (Limits::default(), self.clock.clone());
        let limits = std::thread::spawn(move || Limiter::open(&db, clock, &limits))
            .join()
            .expect("runs")
            .expect("limits");
        let gate = Gate::new(GateParts {
            catalog,
            limits,
            ledger: Ledger::new(&self.clock, &prices()),
            guard: guard(),
            refusals: Arc::new(Refusals::new(&self.audit, &self.clock)),
            audit: self.audit.clone(),
            db: self.db.clone(),
            vault: self.vault.clone(),
            wait: WaitOptions { limit: Duration::from_mins(1), waiting_max: 8 },
            default_max_tokens: 50,
            clock: self.clock.clone(),
            runtime: tokio::runtime::Handle::current(),
            still_holds: Box::new(still_holds),
        });
        Self { gate, ..self }
    }

    /// Action and outcome of every event, oldest first.
    pub(crate) async fn events(&self) -> Vec<String> {
        let shown = |record: &Record| format!("{} {}", record.action, record.outcome);
        self.records().await.iter().map(shown).collect()
    }

    /// Every event, oldest first.
    pub(crate) async fn records(&self) -> Vec<Record> {
        let filter = Filter { limit: 1_000, ..Filter::default() };
        let mut records = self.audit.page(filter).await.expect("reads");
        records.reverse();
        records
    }

    /// Waits until the engine has no stream any more.
    pub(crate) async fn engine_is_idle(&self) {
        for _ in 0..1_000 {
            if self.engine.alive.load(Ordering::SeqCst) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the engine is still at work");
    }
}

/// What the model costs.
fn prices() -> BTreeMap<String, Prices> {
    let price = |text| Price::parse(text).ok();
    let prices = Prices { input: price("0.5"), cached_input: price("0.05"), output: price("1.5") };
    BTreeMap::from([("m".to_owned(), prices)])
}

fn guard() -> crate::guard::Guard {
    let policy = "[output]\ndenied = \"allow\"\n\"personal.iban\" = \"refuse\"\n\
                  [phrases]\ndenied = [\"forbidden words\"]";
    let policy = crate::guard::Policy::read("test.toml", policy).expect("a policy");
    crate::guard::Guard::new(policy)
}

/// A member in a browser.
pub(crate) fn caller() -> Caller {
    Caller {
        user: UserId::new(),
        roles: vec!["member".into()],
        permissions: BuiltinRole::Member.permissions(),
        via: Via::Session(SessionId::new()),
        address: None,
        request: RequestId::new(),
    }
}

/// Lets somebody in, by the session that they come with.
pub(crate) fn admit(house: &House, registry: &Registry, caller: &Caller) {
    let Via::Session(session) = caller.via else { panic!("a browser") };
    let (user, now) = (caller.user, house.clock.now());
    registry.put_person(
        user,
        PersonEntry {
            username: user.to_string(),
            roles: vec![BuiltinRole::Member],
            is_disabled: false,
        },
    );
    let ends = now.plus(Duration::from_hours(1_000));
    let mut hash = [0; 32];
    hash[..16].copy_from_slice(session.as_bytes());
    registry.put_session(hash, SessionEntry::new(session, user, (now, ends), now));
}

/// A member's program.
pub(crate) fn caller_with_key(id: KeyId, models: Option<Vec<String>>) -> Caller {
    Caller { via: Via::Key(KeyContext { id, models, limits: LimitSet::default() }), ..caller() }
}

/// A request for plain text.
pub(crate) fn request(prompt: &str) -> ExchangeRequest {
    ExchangeRequest {
        purpose: Purpose::Api,
        model: None,
        input: Input::Text(prompt.to_owned()),
        max_tokens: Some(8),
        choices: 1,
        echoes: false,
        sampling: Sampling::default(),
        held_to: None,
        tools: None,
        takes_apart: false,
        drops_oldest: false,
        stop: Vec::new(),
        logprobs: None,
    }
}
