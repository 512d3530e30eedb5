//! Strongroom: an inference engine, and the controls around it.
//!
//! # The map
//!
//! | room | owns |
//! | --- | --- |
//! | `cli/` | one file a command |
//! | `app.rs` | builds every long-lived part in order of dependence, runs, shuts down |
//! | `routes.rs` | every route on one page |
//! | `web/` | HTTP machinery that knows no feature |
//! | `access/` | who is calling, and may they |
//! | `accounts/` | people, passwords, sessions, invitations |
//! | `keys/` | API keys |
//! | `groups/` | groups of people, and the budgets that each uses together |
//! | `gate/` | the one road of every generation |
//! | `chat/` | conversations of the web app |
//! | `prompts/` | system prompts that administrators keep for many |
//! | `openai/` | OpenAI wire formats to gate requests and back |
//! | `models/` | the library of model files |
//! | `evals/` | fairness suites, runs, reports |
//! | `speed/` | how fast a model answers here, beside what the machine could give |
//! | `monitor/` | alerts, posture, SBOM, advisories |
//! | `backup/` | sealed backups: create, verify, restore |
//! | `admin/` | pages and API that read across features |
//! | `audit/` | events, Merkle log, signed heads, verification |
//! | `limits/` | request rates, token budgets, concurrency |
//! | `usage/` | who used which model how much, and what it cost |
//! | `guard/` | detectors, policy, redaction, output watch |
//! | `engine/` | text and tokens in, tokens out |
//! | `db/` | SQLite: threads, transactions, migrations |
//! | `vault/` | keys and sealing |
//! | `config/`, `ids.rs`, `secret.rs`, `clock.rs`, `telemetry.rs` | ground: import nothing of ours |
//! | `reference.rs`, `testing.rs` | tests alone: the tables in `docs/`, and what several rooms' tests need |
//!
//! A room imports strictly below itself; `tests/architecture.rs` holds the map and the directions.

mod access;
mod accounts;
mod admin;
mod app;
mod chat;
mod evals;
mod gate;
mod groups;
mod keys;
mod limits;
mod models;
mod monitor;
mod openai;
mod prompts;
#[cfg(test)]
mod reference;
mod routes;
mod telemetry;
#[cfg(test)]
mod testing;
mod usage;

pub mod audit;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod engine;
pub mod guard;
pub mod ids;
pub mod secret;
pub mod speed;
pub mod vault;
pub mod web;

/// What the benchmarks of the controls and of the kernels need.
#[cfg(feature = "bench")]
pub mod bench {
    pub use crate::app::serve_engine;
    pub use crate::engine::{Race, races};
    pub use crate::gate::Generate;
}
