//! Pages and API that read across features.

pub(crate) mod api;
pub(crate) mod audit_api;
pub(crate) mod guard_api;
