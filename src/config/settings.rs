//! The settings, typed; meanings stand in `config/strongroom.toml`, beside the defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::device::{DEVICE_RULE, Device};
use super::engine::Engine;
use super::limits::LimitSet;
use super::price::{self, Prices};
use super::server::Server;

/// The roles that limits can be set for; those of `access::permission`, as a test there holds.
pub const ROLES: [&str; 6] = ["owner", "admin", "operator", "auditor", "member", "service"];
/// The suites that can be run on a schedule; those of `evals`, as a test of the whole house holds.
pub const SUITES: [&str; 2] = ["counterfactual", "crows-pairs"];

/// Every setting.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub server: Server,
    pub tls: Tls,
    pub vault: VaultSettings,
    pub models: Models,
    pub engine: Engine,
    pub api: Api,
    pub accounts: Accounts,
    pub limits: Limits,
    pub usage: UsageSettings,
    pub guard: Guard,
    pub evals: Evals,
    pub backup: Backup,
    pub monitor: Monitor,
    pub logs: Logs,
}

/// Certificates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub certificate_days: u16,
}

/// Where the root key comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultSettings {
    pub key_source: KeySourceKind,
}

/// A source of the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeySourceKind {
    /// A file of mode 0600 in the data directory.
    File,
    /// A passphrase; the server starts sealed.
    Passphrase,
}

/// Which models are served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    pub embedded_guide: bool,
    pub files: Vec<PathBuf>,
    pub directory: PathBuf,
    pub default: String,
    pub load: LoadWhen,
    pub idle_minutes: u32,
    pub memory_mib: u32,
    pub evict: bool,
    pub load_wait_s: u32,
    pub load_waiting_max: u16,
    pub answer_tokens_max: u32,
    pub aliases: BTreeMap<String, String>,
    pub limits: BTreeMap<String, ModelLimits>,
    pub prices: BTreeMap<String, Prices>,
}

/// When a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadWhen {
    /// When the server starts.
    Start,
    /// When somebody asks it.
    Demand,
}

/// What holds for one model; what is absent holds as for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelLimits {
    pub load: Option<LoadWhen>,
    pub idle_minutes: Option<u32>,
    pub answer_tokens_max: Option<u32>,
    pub context_tokens_max: Option<u32>,
    pub kv_budget_mib: Option<u32>,
    pub streams_max: Option<u16>,
    pub queue_max: Option<u16>,
    pub draft_file: Option<PathBuf>,
    pub person_requests_per_minute: Option<u32>,
    pub person_tokens_per_minute: Option<u64>,
    pub person_requests_per_day: Option<u64>,
    pub person_tokens_per_day: Option<u64>,
    pub person_requests_per_month: Option<u64>,
    pub person_tokens_per_month: Option<u64>,
}

/// What a model may be called, in words.
pub const MODEL_NAME_RULE: &str =
    "a model's name has 1 to 128 letters, digits or . _ - / : + and nothing else";

/// Whether a model, or an alias of one, may be called so.
pub fn is_model_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:+".contains(&byte))
}

/// What the API does where a request leaves it open.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub heartbeat_s: u16,
    pub default_max_tokens: u32,
    pub store_responses: bool,
    pub responses_days: u32,
    pub idempotency_hours: u32,
}

impl Api {
    /// The silence after which a stream says that it is still there; none: it does not.
    pub fn heartbeat(&self) -> Option<Duration> {
        (self.heartbeat_s > 0).then(|| Duration::from_secs(self.heartbeat_s.into()))
    }
}

/// Sessions, links and passwords.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    pub session_idle_hours: u32,
    pub session_days: u32,
    pub setup_link_minutes: u32,
    pub invitation_hours: u32,
    pub password_chars_min: u16,
    pub hashes_at_once: u16,
}

/// Limits for people, keys and roles.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub person: LimitSet,
    pub key: LimitSet,
    pub roles: BTreeMap<String, LimitSet>,
    pub weights: BTreeMap<String, u8>,
}

/// How use is counted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageSettings {
    pub currency: String,
    pub days_kept: u32,
}

/// The guard's policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    pub policy_file: PathBuf,
}

/// Scheduled evaluations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evals {
    pub schedule: Schedule,
    pub suite: String,
    pub model: String,
}

/// How often something runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Not at all.
    #[serde(rename = "")]
    Never,
    Daily,
    Weekly,
    Monthly,
}

/// What becomes of backups.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    pub key_file_days: u32,
}

/// What the monitor calls unusual, and what it calls due.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    pub advisory_db: PathBuf,
    pub advisory_check_days: u32,
    pub backup_days: u32,
    pub fairness_days: u32,
    pub audit_verify_days: u32,
    pub root_key_days: u32,
    pub failed_sign_ins: u32,
    pub unusual_volume_factor: u32,
}

/// The log on standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    pub format: LogFormat,
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

impl Settings {
    /// Reads a complete table.
    pub(super) fn read(table: &toml::Table) -> Result<Self, String> {
        table.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }

    /// Holds every value against its bounds; gives the key at fault and what is wrong with it.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        self.check_rules().map_err(|(key, reason)| (key.to_owned(), reason))?;
        for (name, limits) in &self.models.limits {
            let wrong = |field, reason| (super::layers::key("models.limits", name, field), reason);
            limits.check().map_err(|(field, reason)| wrong(field, reason))?;
        }
        for (role, weight) in &self.limits.weights {
            within(("limits.weights", u64::from(*weight), 1, 100))
                .map_err(|(section, reason)| (format!("{section}.{role}"), reason))?;
        }
        Ok(())
    }

    fn check_rules(&self) -> Result<(), (&'static str, String)> {
        self.server.check_rules()?;
        if (self.tls.certificate_file.as_os_str().is_empty())
            != (self.tls.key_file.as_os_str().is_empty())
        {
            return Err((
                "tls.key_file",
                "and `tls.certificate_file` belong together: set both or neither".into(),
            ));
        }
        if !matches!(&*self.logs.level, "error" | "warn" | "info" | "debug" | "trace") {
            return Err(("logs.level", "must be error, warn, info, debug or trace".into()));
        }
        if Device::parse(&self.engine.device).is_none() {
            return Err(("engine.device", DEVICE_RULE.into()));
        }
        if !price::is_currency(&self.usage.currency) {
            let rule = "must be the three letters of a currency, such as USD or EUR (ISO 4217)";
            return Err(("usage.currency", rule.into()));
        }
        if !SUITES.contains(&&*self.evals.suite) {
            return Err(("evals.suite", format!("must be one of: {}", SUITES.join(", "))));
        }
        self.check_bounds()
    }

    fn check_bounds(&self) -> Result<(), (&'static str, String)> {
        let bounds = [
            ("tls.certificate_days", self.tls.certificate_days.into(), 1, 397),
            ("engine.threads", self.engine.threads.into(), 0, 1_024),
            ("engine.kv_budget_mib", self.engine.kv_budget_mib.into(), 1, 1 << 20),
            ("engine.device_kv_budget_mib", self.engine.device_kv_budget_mib.into(), 0, 1 << 20),
            ("engine.streams_max", self.engine.streams_max.into(), 1, 1_024),
            ("models.idle_minutes", self.models.idle_minutes.into(), 0, 525_600),
            ("models.load_wait_s", self.models.load_wait_s.into(), 0, 3_600),
            ("models.load_waiting_max", self.models.load_waiting_max.into(), 1, 10_000),
            ("engine.prefill_chunk_tokens", self.engine.prefill_chunk_tokens.into(), 16, 8_192),
            ("engine.queue_limit_s", self.engine.queue_limit_s.into(), 0, 3_600),
            ("engine.request_limit_s", self.engine.request_limit_s.into(), 0, 86_400),
            ("api.default_max_tokens", self.api.default_max_tokens.into(), 1, 1_000_000),
            ("api.responses_days", self.api.responses_days.into(), 0, 3_650),
            ("api.idempotency_hours", self.api.idempotency_hours.into(), 0, 168),
            ("accounts.session_idle_hours", self.accounts.session_idle_hours.into(), 1, 24 * 90),
            ("accounts.session_days", self.accounts.session_days.into(), 1, 365),
            ("accounts.password_chars_min", self.accounts.password_chars_min.into(), 15, 64),
            ("backup.key_file_days", self.backup.key_file_days.into(), 0, 3_650),
            ("usage.days_kept", self.usage.days_kept.into(), 31, 3_660),
            ("accounts.hashes_at_once", self.accounts.hashes_at_once.into(), 1, 64),
        ];
        self.server.bounds().into_iter().chain(bounds).try_for_each(within)
    }
}

impl ModelLimits {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let bounds: [(&'static str, Option<u64>, u64, u64); 3] = [
            ("idle_minutes", self.idle_minutes.map(u64::from), 0, 525_600),
            ("kv_budget_mib", self.kv_budget_mib.map(u64::from), 1, 1 << 20),
            ("streams_max", self.streams_max.map(u64::from), 1, 1_024),
        ];
        let given = bounds
            .into_iter()
            .filter_map(|(key, value, least, most)| value.map(|value| (key, value, least, most)));
        { given }.try_for_each(within)
    }
}

/// A key, its value, and the least and the most that it may be.
pub(super) type Bounds = (&'static str, u64, u64, u64);

/// Holds one value against its bounds.
fn within((key, value, least, most): Bounds) -> Result<(), (&'static str, String)> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err((key, format!("must be between {least} and {most}, not {value}")))
}
