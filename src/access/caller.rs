//! Who is calling: what the authenticator found out, and nothing that the caller said.

use std::net::IpAddr;

use super::permission::{BuiltinRole, Permission, PermissionSet};
use crate::audit::Actor;
use crate::config::LimitSet;
use crate::ids::{KeyId, RequestId, SessionId, UserId};

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The person or service account.
    pub(crate) user: UserId,
    /// The names of the roles held.
    pub(crate) roles: Vec<String>,
    /// What the caller may do: the roles' permissions, narrowed by a key's scopes.
    pub(crate) permissions: PermissionSet,
    /// How the caller came in.
    pub(crate) via: Via,
    /// Where the request came from.
    pub(crate) address: Option<IpAddr>,
    /// The request at hand.
    pub(crate) request: RequestId,
}

/// How a caller came in.
#[derive(Clone, Debug)]
pub(crate) enum Via {
    /// A browser with a session cookie.
    Session(SessionId),
    /// A program with an API key.
    Key(KeyContext),
    /// The server itself: scheduled evaluations and the command line.
    System,
}

/// What an API key adds to its owner.
#[derive(Clone, Debug)]
pub(crate) struct KeyContext {
    /// The key.
    pub(crate) id: KeyId,
    /// The models that the key may use; none means all that its owner may.
    pub(crate) models: Option<Vec<String>>,
    /// The limits that it was made with.
    pub(crate) limits: LimitSet,
}

impl Caller {
    /// The server itself, or its operator at the console where nobody's account is acted on.
    pub(crate) fn system() -> Self {
        Self {
            user: UserId::parse("usr_00000000000000000000000000000000")
                .expect("thirty-two digits after the prefix"),
            roles: Vec::new(),
            permissions: BuiltinRole::Operator.permissions(),
            via: Via::System,
            address: None,
            request: RequestId::new(),
        }
    }

    /// The operator at the console, acting on a person's account with these roles.
    pub(crate) fn operator(user: UserId, roles: &[BuiltinRole]) -> Self {
        let none = PermissionSet::default();
        Self {
            user,
            roles: roles.iter().map(|role| role.name().to_owned()).collect(),
            permissions: roles.iter().fold(none, |sum, role| sum.or(role.permissions())),
            via: Via::System,
            address: None,
            request: RequestId::new(),
        }
    }

    /// Whether the caller may do this.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.permissions.has(permission)
    }

    /// How the audit log names the caller.
    pub(crate) fn actor(&self) -> Actor {
        match &self.via {
            Via::Session(_) => Actor::Person(self.user),
            Via::Key(key) => Actor::Key { user: self.user, key: key.id },
            Via::System => Actor::System,
        }
    }

    /// The session, where a browser called.
    pub(crate) fn session(&self) -> Option<SessionId> {
        match &self.via {
            Via::Session(session) => Some(*session),
            Via::Key(_) | Via::System => None,
        }
    }

    /// The key, where one was used.
    pub(crate) fn key(&self) -> Option<&KeyContext> {
        match &self.via {
            Via::Key(key) => Some(key),
            Via::Session(_) | Via::System => None,
        }
    }
}
