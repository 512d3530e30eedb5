//! The shapes of what is answered here, for the specification.

use schemars::SchemaGenerator;

use super::answer::{MessageView, StopView, UsageView};
use super::models::{ModelPage, ModelView};
use crate::web::anthropic::AnthropicError;

/// Adds them.
pub(in crate::openai) fn add(shapes: &mut SchemaGenerator) {
    shapes.subschema_for::<MessageView<'_>>();
    shapes.subschema_for::<StopView<'_>>();
    shapes.subschema_for::<UsageView>();
    shapes.subschema_for::<AnthropicError>();
    shapes.subschema_for::<ModelView>();
    shapes.subschema_for::<ModelPage>();
}
