//! The shapes of what is answered here, for the specification.

use schemars::SchemaGenerator;

use super::answer::Page;

/// Adds them.
pub(in crate::openai) fn add(shapes: &mut SchemaGenerator) {
    shapes.subschema_for::<Page>();
}
