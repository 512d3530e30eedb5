//! Events: what happened, who did it, how it ended. Never a word that a person wrote.
//!
//! Subjects and the texts in details are reduced, when they are recorded, to letters, digits and
//! a few marks of ASCII, and to a bounded length: a name or an id passes unchanged, a sentence
//! does not, and no line break, quote or terminal sequence can come into a log or an export.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::ids::{KeyId, RequestId, UserId};

macro_rules! actions {
    ($($variant:ident $name:literal $meaning:literal;)+) => {
        /// What was done, or tried.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $(#[doc = $meaning] $variant,)+ }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant,)+];

            /// The name, as the log, the API and exports write it.
            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => $name,)+ }
            }

            /// What it means, in words.
            pub const fn meaning(self) -> &'static str {
                match self { $(Action::$variant => $meaning,)+ }
            }
        }
    };
}

actions! {
    ServerStart "server.start" "The server started.";
    ServerStop "server.stop" "The server stopped.";
    VaultUnseal "vault.unseal" "The vault was opened.";
    VaultRotate "vault.rotate" "The root key was replaced.";
    KeyMove "vault.key_move" "The root key was moved under a passphrase.";
    PassphraseChange "vault.passphrase" "The passphrase of the root key was changed.";
    ConfigLoad "config.load" "A configuration came into force.";
    AccessDenied "access.denied" "A permission was asked for and refused.";
    AuthenticationFailed "access.authentication_failed" "A key or session was not accepted.";
    RefusalsCounted "access.refusals_counted" "Refusals came too thick to be recorded one by one, and were counted.";
    RowRefused "access.row_refused" "A row that says who somebody is, what they may use or what a model is told was not written by this server, and is not believed.";
    SetupRedeem "setup.redeem" "The set-up link was used and the owner's account made.";
    InvitationCreate "invitation.create" "A one-time link was made.";
    InvitationRedeem "invitation.redeem" "A one-time link was used.";
    InvitationEnd "invitation.end" "A one-time link that was dated in the future was ended.";
    SessionCreate "session.create" "Somebody signed in.";
    SessionEnd "session.end" "A session was ended.";
    PasswordChange "password.change" "A password was changed.";
    PersonCreate "person.create" "An account was made.";
    PersonUpdate "person.update" "An account's name was changed.";
    PersonRoles "person.roles" "An account's roles were changed.";
    PersonDisable "person.disable" "An account was disabled.";
    PersonEnable "person.enable" "An account was enabled again.";
    PersonDelete "person.delete" "An account was deleted and its data key destroyed.";
    PersonReset "person.reset" "A password reset was started.";
    PeopleRead "people.read" "The list of people was read.";
    GroupChange "group.change" "A group of people was made or deleted, or its name, limits or members were changed.";
    KeyCreate "key.create" "An API key was made.";
    KeyNetworks "key.networks" "From which networks an API key is let in was changed.";
    KeyRevoke "key.revoke" "An API key was revoked.";
    KeyRefuse "key.refuse" "A good API key came from outside of its networks, and was not let in.";
    ModelLoad "model.load" "A model was loaded; `started` where somebody asked for it.";
    ModelUnload "model.unload" "A model was unloaded; `started` where somebody asked for it.";
    ModelCancel "model.cancel" "The loading of a model was cancelled.";
    ModelAlias "model.alias" "A further name of a model was made or taken away.";
    ModelScan "model.scan" "The models directory was looked through.";
    ModelAccess "model.access" "Who may use a model was changed.";
    PromptChange "prompt.change" "A shared system prompt was made, changed or deleted.";
    GenerationStart "generation.start" "A generation was admitted; written before the engine sees it.";
    GenerationEnd "generation.end" "A generation ended.";
    GenerationRefuse "generation.refuse" "A generation was not admitted.";
    TokensRead "tokens.read" "A text was shown as tokens, or tokens as a text.";
    TextsModerated "texts.moderated" "Texts of a program were held against the guard's policy.";
    GuardTest "guard.test" "A text was tried against the guard's policy.";
    ConversationCreate "conversation.create" "A conversation was begun.";
    ConversationRead "conversation.read" "A conversation was opened by its owner.";
    ConversationUpdate "conversation.update" "A conversation was renamed or pinned, or put under another prompt.";
    ConversationDelete "conversation.delete" "A conversation was deleted.";
    ResponseStore "response.store" "A response of the API was kept for its person.";
    ResponseRead "response.read" "A kept response was read by its person, or gone on from.";
    ResponseDelete "response.delete" "A kept response was deleted.";
    ResponseExpire "response.expire" "Kept responses were deleted as nobody had used them for long enough.";
    UsageRead "usage.read" "A report of how much people used was read, or sums of it.";
    AnswerKeep "answer.keep" "An answer of the API was kept for its idempotency key.";
    AnswerRepeat "answer.repeat" "A kept answer was sent again to who asked the same under the same key.";
    AnswerExpire "answer.expire" "Answers that were kept for idempotency keys were deleted, as they are sent again no longer.";
    AuditRead "audit.read" "The audit log was read.";
    AuditVerify "audit.verify" "The audit log was verified.";
    AuditExport "audit.export" "The audit log was exported.";
    AuditGap "audit.gap" "The log and the file of its heads were found to differ.";
    BackupCreate "backup.create" "A backup was made.";
    BackupExpire "backup.expire" "Key files of old backups were deleted; `started` before the first is.";
    BackupVerify "backup.verify" "A backup was verified.";
    BackupRestore "backup.restore" "A backup was restored.";
    EvaluationStart "evaluation.start" "An evaluation was started.";
    EvaluationEnd "evaluation.end" "An evaluation ended.";
    EvaluationRead "evaluation.read" "An evaluation's report was read.";
    AdvisoryCheck "advisory.check" "The binary was held against an advisory database.";
    ClockJump "clock.jump" "The system's clock was found more than an hour from where it should be.";
    PostureRead "posture.read" "The posture page was read.";
    AlertRaise "alert.raise" "The monitor raised an alert.";
    AlertClose "alert.close" "An alert was closed.";
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was begun; a later event says how it ended.
    Started,
    /// It was done.
    Done,
    /// It was refused.
    Denied,
    /// It went wrong.
    Failed,
    /// It was stopped by a guard or limit.
    Stopped,
    /// It was cancelled by the caller.
    Cancelled,
}

impl Outcome {
    /// The name, as the log, the API and exports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The server itself, or its operator at the console.
    System,
    /// Nobody known.
    Anonymous,
    /// A person in a browser.
    Person(UserId),
    /// A program with a person's key.
    Key {
        /// The key's owner.
        user: UserId,
        /// The key.
        key: KeyId,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => formatter.write_str("system"),
            Self::Anonymous => formatter.write_str("anonymous"),
            Self::Person(user) => write!(formatter, "{user}"),
            Self::Key { user, key } => write!(formatter, "{user}/{key}"),
        }
    }
}

/// One event, before it has a place in the log.
#[derive(Clone, Debug)]
pub struct Event {
    /// What was done.
    pub action: Action,
    /// How it ended.
    pub outcome: Outcome,
    /// Who did it.
    pub actor: Actor,
    /// What it was done to: an id, or the name of a model or suite.
    pub subject: Option<String>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The request.
    pub request: Option<RequestId>,
    /// Ids, counts, names of things and categories. Never a text that a person wrote.
    pub detail: Map<String, Value>,
}

impl Event {
    /// An event without subject, address, request or detail.
    pub fn new(action: Action, outcome: Outcome, actor: Actor) -> Self {
        Self {
            action,
            outcome,
            actor,
            subject: None,
            address: None,
            request: None,
            detail: Map::new(),
        }
    }

    /// Names what it was done to.
    #[must_use]
    pub fn subject(mut self, subject: impl fmt::Display) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// Says where the request came from, and which it is.
    #[must_use]
    pub fn from_request(mut self, address: Option<IpAddr>, request: RequestId) -> Self {
        self.address = address;
        self.request = Some(request);
        self
    }

    /// Adds an id, a count or a name of a thing.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }

    /// The event with its subject and texts reduced to what may stand in the log.
    pub(super) fn reduced(mut self) -> Self {
        self.subject = self.subject.as_deref().map(token);
        let detail = std::mem::take(&mut self.detail);
        self.detail = detail
            .into_iter()
            .take(ENTRIES_MAX)
            .filter_map(|(name, value)| Some((token(&name), reduced_value(value)?)))
            .collect();
        self
    }

    /// The canonical bytes, which the tree hashes: JSON without spaces, keys in this order. They
    /// are stored as they are and never written anew from the parts.
    pub(super) fn canonical(&self, seq: u64, at: Timestamp) -> Vec<u8> {
        json!({
            "v": 1,
            "seq": seq,
            "at": at.ms(),
            "action": self.action.name(),
            "outcome": self.outcome.name(),
            "actor": self.actor.to_string(),
            "subject": self.subject,
            "address": self.address.map(|address| address.to_string()),
            "request": self.request.map(|request| request.to_string()),
            "detail": self.detail,
        })
        .to_string()
        .into_bytes()
    }
}

/// Entries of a detail, and of a list in it.
const ENTRIES_MAX: usize = 32;
/// Characters of one text.
const TOKEN_CHARS_MAX: usize = 128;

/// Cuts a text down to what may stand in the log.
fn token(text: &str) -> String {
    let keep =
        |c: char| if c.is_ascii_alphanumeric() || "._:/+@#=,-".contains(c) { c } else { '_' };
    text.chars().take(TOKEN_CHARS_MAX).map(keep).collect()
}

/// Numbers, truth values, names, and lists of these; nothing nested deeper.
fn reduced_value(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Some(value),
        Value::String(text) => Some(token(&text).into()),
        Value::Array(values) => {
            let flat = |value: &Value| !value.is_array() && !value.is_object();
            let values = values.into_iter().filter(flat).take(ENTRIES_MAX);
            Some(values.filter_map(reduced_value).collect())
        }
        Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_bytes_are_stable() {
        let event = Event::new(Action::GenerationEnd, Outcome::Done, Actor::System)
            .subject("guide")
            .with("tokens", 7)
            .with("finished", true);
        let bytes = event.canonical(4, Timestamp::from_ms(5));
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            r#"{"v":1,"seq":4,"at":5,"action":"generation.end","outcome":"done","actor":"system","subject":"guide","address":null,"request":null,"detail":{"tokens":7,"finished":true}}"#
        );
    }

    #[test]
    fn no_sentence_line_break_or_terminal_sequence_comes_into_the_log() {
        let bad = "a b\n{\"seq\":9}\u{1b}[2J\u{202e}é\"";
        let event = Event::new(Action::ModelLoad, Outcome::Failed, Actor::Anonymous)
            .subject(bad)
            .with(bad, bad)
            .with("list", vec![bad.to_owned(), "x".repeat(10_000)])
            .with("nested", json!({ "text": bad }))
            .reduced();
        assert_eq!(event.subject.as_deref(), Some("a_b___seq_:9___2J___"));
        assert!(!event.detail.contains_key("nested"));
        let bytes = event.canonical(1, Timestamp::from_ms(0));
        assert!(!bytes.iter().any(|byte| *byte <= b' ' || *byte > b'~'));
        assert!(bytes.len() < 600);
    }

    #[test]
    fn names_are_unlike_each_other_and_well_formed() {
        let mut names: Vec<_> = Action::ALL.iter().map(|action| action.name()).collect();
        for name in &names {
            let is_fine = |b: u8| b.is_ascii_lowercase() || matches!(b, b'.' | b'_');
            assert!(name.bytes().all(is_fine) && name.matches('.').count() == 1, "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
    }

    #[test]
    fn the_table_in_the_documentation_is_this_one() {
        let document = include_str!("../../docs/security.md");
        let (_, table) = document.split_once("<!-- table: actions -->").expect("a table");
        let (table, _) = table.split_once("<!-- end -->").expect("its end");
        let documented: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
        let row = |action: &Action| format!("| `{}` | {} |", action.name(), action.meaning());
        assert_eq!(documented, Action::ALL.iter().map(row).collect::<Vec<_>>());
    }
}
