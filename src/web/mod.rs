//! HTTP machinery that knows no feature.

pub mod answer;
pub mod anthropic;
pub mod arrival;
pub mod assets;
pub mod body;
pub mod coding;
pub mod connections;
mod cors;
pub mod error;
pub mod events;
mod fields;
mod forwarded;
mod frames;
pub mod network;
pub mod patience;
mod pipelining;
mod presence;
pub mod programs;
pub mod serve;
pub mod shell;
pub mod tls;

pub use answer::{Answer, Empty};
pub use body::Body;
pub use error::{ApiError, ErrorCode};
