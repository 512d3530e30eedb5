//! The shapes of what is answered here, for the specification.

use schemars::SchemaGenerator;

use super::answer::Response;
use super::items::{Item, Part};
use super::listing::Items;

/// Adds them.
pub(in crate::openai) fn add(shapes: &mut SchemaGenerator) {
    shapes.subschema_for::<Response<'_>>();
    shapes.subschema_for::<Items>();
    shapes.subschema_for::<Item>();
    shapes.subschema_for::<Part>();
}
