//! Who is calling, and may they: the permission table, the caller, the one authenticator, and the
//! extractors that make a permission part of a handler's signature.

pub(crate) mod authenticate;
pub(crate) mod binding;
pub(crate) mod caller;
pub(crate) mod changes;
pub(crate) mod grant;
pub(crate) mod networks;
pub(crate) mod permission;
pub(crate) mod refusals;
pub(crate) mod registry;
pub(crate) mod route;
pub(crate) mod token;

pub(crate) use authenticate::Authenticator;
pub(crate) use binding::Binder;
pub(crate) use caller::{Caller, KeyContext, Via};
pub(crate) use changes::{Changes, Withdrawn};
pub(crate) use grant::{Grant, Public, SignedIn};
pub(crate) use networks::{Networks, NetworksError};
pub(crate) use refusals::Refusals;
pub(crate) use registry::{Registry, Revocation};
pub(crate) use route::Routes;
