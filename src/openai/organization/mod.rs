//! How much was used, in the form of OpenAI's usage API: pages of buckets of time.

mod answer;
pub(crate) mod api;
mod query;
pub(super) mod shapes;
#[cfg(test)]
mod tests;
