//! Configuration: defaults < file < environment < flags.
//!
//! The defaults are `config/strongroom.toml`, compiled in; it is at the same time the list of all
//! settings there are. A key or a type that it does not know is an error that names the key, the
//! file and the line. The only module that reads the environment.

mod device;
mod engine;
mod layers;
mod limits;
mod person;
mod price;
mod server;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;

pub use device::Device;
pub use engine::{Engine, Instructions, KvPrecision, Speculation};
pub use layers::Origin;
pub use limits::{LIMIT_MAX, LimitSet};
pub use person::{is_bare_terminal, may_style, settings_directory, state_directory};
pub use price::{Price, Prices};
pub use server::{ForwardedHeader, Server};
pub use settings::{
    Accounts, Api, Backup, Evals, Guard, KeySourceKind, Limits, LoadWhen, LogFormat, Logs,
    MODEL_NAME_RULE, ModelLimits, Models, Monitor, ROLES, SUITES, Schedule, Settings, Tls,
    UsageSettings, VaultSettings, is_model_name,
};

/// What tests are told, and what `strongroom chat` is told about another server.
const NOT_SETTINGS: &[&str] = &[
    "STRONGROOM_SHARED",
    "STRONGROOM_BIN",
    "STRONGROOM_CONFIG",
    "STRONGROOM_URL",
    "STRONGROOM_CA_FILE",
    "STRONGROOM_KEY_FILE",
    "STRONGROOM_MODEL",
    "STRONGROOM_PYTHON",
    "STRONGROOM_TEST_DEVICE",
];

/// What is wrong with a configuration, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {file} cannot be read: {reason}")]
    Unreadable { file: String, reason: String },
    /// The file is not TOML.
    #[error("{file}, line {line}: {reason}")]
    Syntax { file: String, line: usize, reason: String },
    /// There is no such setting.
    #[error("{origin}: there is no setting `{key}`{hint}")]
    UnknownKey { origin: Origin, key: String, hint: String },
    /// The value has the wrong type.
    #[error("{origin}: `{key}` must be {expected}, not {found}")]
    WrongType { origin: Origin, key: String, expected: &'static str, found: &'static str },
    /// The value is out of bounds.
    #[error("{origin}: `{key}` {reason}")]
    BadValue { origin: Origin, key: String, reason: String },
}

/// The configuration in force, and where each value came from.
#[derive(Debug, Clone)]
pub struct Config {
    settings: Settings,
    values: BTreeMap<String, (toml::Value, Origin)>,
}

impl Config {
    /// Reads all layers: the built-in defaults, the file if there is one, this process's
    /// environment, and `flags` (dotted key, value as TOML or plain text).
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self, ConfigError> {
        let variables: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("STRONGROOM_"))
            .filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str()))
            .collect();
        let text = match file {
            None => None,
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| {
                    ConfigError::Unreadable { file: name.clone(), reason: error.to_string() }
                })?;
                Some((name, text))
            }
        };
        Self::from_layers(text.as_ref().map(|(name, text)| (&**name, &**text)), &variables, flags)
    }

    /// The built-in defaults alone.
    pub fn defaults() -> Self {
        Self::from_layers(None, &[], &[]).expect("config/strongroom.toml is checked by a test")
    }

    /// Puts the layers together.
    pub fn from_layers(
        file: Option<(&str, &str)>,
        variables: &[(String, String)],
        flags: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let mut layers = layers::Layers::defaults()?;
        if let Some((name, text)) = file {
            layers.add_file(name, text)?;
        }
        for (name, value) in variables {
            layers.add_variable(name, value)?;
        }
        for (key, value) in flags {
            layers.add_flag(key, value)?;
        }
        let settings = layers.settings()?;
        let config = Self { settings, values: layers.into_values() };
        if let Err((key, reason)) = config.settings.check() {
            return Err(ConfigError::BadValue { origin: config.origin(&key), key, reason });
        }
        Ok(config)
    }

    /// The settings, typed.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where a setting's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.values.get(key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Every setting in force with its origin, as `strongroom config` prints it. Values of keys
    /// that could name a secret are masked.
    pub fn rows(&self) -> impl Iterator<Item = (&str, String, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| {
            let last = key.rsplit('.').next().unwrap_or(key);
            let is_secret = ["secret", "passphrase", "token_value", "password_value"]
                .iter()
                .any(|word| last.contains(word));
            let shown = if is_secret { "\"…\"".to_owned() } else { value.to_string() };
            (&**key, shown, origin)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str) -> Result<Config, ConfigError> {
        Config::from_layers(Some(("my.toml", text)), &[], &[])
    }

    #[test]
    fn the_example_for_production_is_accepted() {
        let text = include_str!("../../config/production.example.toml");
        let config = with_file(text).expect("config/production.example.toml");
        assert_eq!(config.settings().vault.key_source, KeySourceKind::Passphrase);
    }

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_defaults_are_complete_and_valid() {
        let config = Config::defaults();
        assert_eq!(config.settings().server.listen, "127.0.0.1:8443");
        assert!(config.rows().all(|(_, _, origin)| *origin == Origin::Default));
    }

    #[test]
    fn values_that_could_be_secret_are_masked() {
        let mut config = Config::defaults();
        // No setting holds a secret; one that somebody adds must not be shown either.
        let keys = ["mail.client_secret", "secret", "vault.passphrase", "a.token_value"];
        for key in keys.into_iter().chain(["b.password_value", "monitor.secret_url"]) {
            let value = ("hunter2".into(), Origin::Flag);
            config.values.insert(key.into(), value);
        }
        let rows: Vec<_> = config.rows().collect();
        assert!(rows.iter().all(|(_, value, _)| !value.contains("hunter2")), "{rows:?}");
        assert_eq!(rows.iter().filter(|(_, value, _)| value == "\"…\"").count(), 6);
        assert!(rows.iter().any(|(_, value, _)| value == "\"127.0.0.1:8443\""), "{rows:?}");
    }

    #[test]
    fn later_layers_win() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\nworkers = 3\nbody_bytes_max = 70000\n";
        let config = Config::from_layers(
            Some(("my.toml", file)),
            &pair("STRONGROOM_SERVER_WORKERS", "2"),
            &pair("server.listen", "127.0.0.1:2"),
        )
        .expect("valid");
        assert_eq!(config.settings().server.listen, "127.0.0.1:2");
        assert_eq!(config.settings().server.workers, 2);
        assert_eq!(config.settings().server.body_bytes_max, 70_000);
        assert_eq!(config.origin("server.listen"), Origin::Flag);
        assert_eq!(
            config.origin("server.workers"),
            Origin::Environment("STRONGROOM_SERVER_WORKERS".into())
        );
        assert_eq!(
            config.origin("server.body_bytes_max"),
            Origin::File { name: "my.toml".into(), line: 4 }
        );
    }

    #[test]
    fn errors_name_the_key_the_file_and_the_line() {
        for (text, expected) in [
            (
                "[server]\n\nlisen = \"x\"",
                "my.toml, line 3: there is no setting `server.lisen`; did you mean `server.listen`?",
            ),
            ("[sever]\nlisten = \"x\"", "my.toml, line 2: there is no setting `sever.listen`"),
            (
                "[server]\nworkers = \"two\"",
                "my.toml, line 2: `server.workers` must be a whole number, not text",
            ),
            ("[server]\nhosts = \"a\"", "my.toml, line 2: `server.hosts` must be a list, not text"),
            ("server = 1", "my.toml, line 1: `server` must be a section, not a whole number"),
            ("[server]\nworkers = -1", "my.toml, line 2: `server.workers`"),
            ("[server]\nlisten = \"nowhere\"", "my.toml, line 2: `server.listen`"),
            ("[logs]\nformat = \"xml\"", "my.toml, line 2: `logs.format`"),
            ("[server\n", "my.toml, line 1:"),
            (
                "[server]\n\ntrusted_proxies = [\"10.0.0.0/8\"]",
                "my.toml, line 3: `server.trusted_proxies` must be a list of addresses",
            ),
            (
                "[server]\nforwarded_header = \"x-real-ip\"",
                "my.toml, line 2: `server.forwarded_header`",
            ),
            (
                "[evals]\nsuite = \"fairnes\"",
                "my.toml, line 2: `evals.suite` must be one of: counterfactual, crows-pairs",
            ),
        ] {
            let error = with_file(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn errors_in_tables_that_a_file_fills_name_their_place_too() {
        for (text, expected) in [
            (
                "[limits.person]\nconcurrent = 3\n[limits.roles.janitor]\nconcurrent = 1",
                "my.toml, line 3: there is no setting `limits.roles.janitor`; there are: owner, admin",
            ),
            (
                "[limits.roles.janitor]",
                "my.toml, line 1: there is no setting `limits.roles.janitor`",
            ),
            (
                "[limits.roles]\njanitor = 3",
                "my.toml, line 2: there is no setting `limits.roles.janitor`",
            ),
            ("[models]\nload = \"soon\"", "my.toml, line 2: `models.load`"),
            (
                "[models.limits.\"a b\"]\nload = \"start\"",
                "my.toml, line 1: there is no setting `models.limits.\"a b\"`; a model's name",
            ),
            (
                "[models.limits.\"a.b\"]\n\nstreams_max = \"x\"",
                "my.toml, line 3: `models.limits.\"a.b\".streams_max` must be a whole number, not text",
            ),
            (
                "[models.limits.a]\nstreams_max = 0",
                "my.toml, line 2: `models.limits.a.streams_max` must be between 1 and 1024, not 0",
            ),
            ("[models.limits.a]\nload = \"soon\"", "my.toml, line 2: `models.limits.a.load`"),
            ("[models.limits]\na = 3", "my.toml, line 2: there is no setting `models.limits.a`"),
            (
                "[models.aliases]\n\"gpt-4.1\" = 4",
                "my.toml, line 2: `models.aliases.\"gpt-4.1\"` must be text, not a whole number",
            ),
            (
                "[models.aliases.x]\ny = \"z\"",
                "my.toml, line 1: `models.aliases.x` must be text, not a section",
            ),
            (
                "[limits.weights]\njanitor = 3",
                "my.toml, line 2: there is no setting `limits.weights.janitor`",
            ),
            (
                "[limits.weights]\nowner = 0",
                "my.toml, line 2: `limits.weights.owner` must be between 1 and 100, not 0",
            ),
            (
                "[models.prices.guide]\ninput = 1",
                "my.toml, line 2: `models.prices.guide.input` must be text, not a whole number",
            ),
            (
                "[models.prices.guide]\noutput = \"cheap\"",
                "my.toml, line 2: `models.prices.guide.output` is not accepted: a price of a million",
            ),
            (
                "[models.prices.guide]\nstreams_max = \"1\"",
                "my.toml, line 2: there is no setting `models.prices.guide.streams_max`",
            ),
            (
                "[usage]\ncurrency = \"dollars\"",
                "my.toml, line 2: `usage.currency` must be the three letters of a currency",
            ),
            (
                "[usage]\ndays_kept = 7",
                "my.toml, line 2: `usage.days_kept` must be between 31 and 3660, not 7",
            ),
            (
                "[limits.roles.service]\ncolour = 1",
                "my.toml, line 2: there is no setting `limits.roles.service.colour`",
            ),
        ] {
            let error = with_file(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{text:?} gave {error:?}");
        }
    }

    #[test]
    fn proxies_that_are_trusted_are_so_in_one_header() {
        let proxies = "[server]\ntrusted_proxies = [\"10.0.0.9\"]\n";
        let error = with_file(proxies).expect_err("no header is named").to_string();
        assert!(error.contains("`server.forwarded_header` must be \"x-forwarded-for\""), "{error}");
        with_file(&format!("{proxies}forwarded_header = \"forwarded\"")).expect("named");
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (origin, fits) in [
            ("https://app.example.org", true),
            ("http://localhost:3000", true),
            ("https://[::1]:8080", true),
            ("*", false),
            ("null", false),
            ("app.example.org", false),
            ("https://app.example.org/", false),
            ("https://App.example.org", false),
            ("https://app.example.org:443", false),
            ("http://app.example.org:80", false),
            ("https://*.example.org", false),
            ("https://", false),
            ("ftp://app.example.org", false),
        ] {
            let read = with_file(&format!("[server]\ncors_origins = [\"{origin}\"]"));
            assert_eq!(read.is_ok(), fits, "{origin}");
        }
    }

    #[test]
    fn unknown_variables_and_flags_are_refused() {
        assert!(Config::from_layers(None, &pair("STRONGROOM_SERVER_LISEN", "x"), &[]).is_err());
        assert!(Config::from_layers(None, &pair("STRONGROOM_SERVER_WORKERS", "x"), &[]).is_err());
        assert!(Config::from_layers(None, &[], &pair("server.lisen", "x")).is_err());
        let role = pair("limits.roles.janitor.concurrent", "1");
        assert!(Config::from_layers(None, &[], &role).is_err());
    }

    #[test]
    fn limits_and_aliases_can_be_set_for_a_model_whatever_its_name() {
        let file = "[models.limits.\"qwen3-4b.q4\"]\nstreams_max = 2\nload = \"demand\"\ndraft_file = \"\"\n\
            [models.aliases]\n\"gpt-4.1\" = \"qwen3-4b.q4\"\n";
        let config = with_file(file).expect("valid");
        let models = &config.settings().models;
        let limits = &models.limits["qwen3-4b.q4"];
        assert_eq!((limits.streams_max, limits.load), (Some(2), Some(LoadWhen::Demand)));
        assert_eq!(limits.draft_file.as_deref(), Some(Path::new("")));
        assert_eq!(limits.queue_max, None);
        assert_eq!(models.aliases["gpt-4.1"], "qwen3-4b.q4");
        let key = "models.limits.\"qwen3-4b.q4\".streams_max";
        assert_eq!(config.origin(key), Origin::File { name: "my.toml".into(), line: 2 });
        let flag = pair("models.limits.\"a.b\".idle_minutes", "7");
        let config = Config::from_layers(None, &[], &flag).expect("valid");
        assert_eq!(config.settings().models.limits["a.b"].idle_minutes, Some(7));
    }

    #[test]
    fn prices_can_be_set_for_a_model() {
        let file = "[models.prices.\"qwen3-4b.q4\"]\ninput = \"0.50\"\noutput = \"2\"\n";
        let config = with_file(file).expect("valid");
        let prices = config.settings().models.prices["qwen3-4b.q4"];
        assert_eq!(prices.input.map(Price::micros), Some(500_000));
        assert_eq!(prices.output.map(Price::micros), Some(2_000_000));
        assert_eq!(prices.cached_input, None);
        let flag = pair("models.prices.guide.cached_input", "0.05");
        let config = Config::from_layers(None, &[], &flag).expect("valid");
        assert!(config.settings().models.prices["guide"].cached_input.is_some());
    }

    #[test]
    fn limits_can_be_set_for_a_role() {
        let config = with_file(
            "[limits.roles.service]\nrequests_per_minute = 600\n[limits.weights]\nowner = 4\n",
        )
        .expect("valid");
        assert_eq!(config.settings().limits.weights["owner"], 4);
        let service = &config.settings().limits.roles["service"];
        assert_eq!(service.requests_per_minute, Some(600));
        assert_eq!(service.concurrent, None);
    }
}
