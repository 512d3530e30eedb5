//! HTTP machinery that knows no feature.

pub mod error;

pub use error::{ApiError, ErrorCode};
