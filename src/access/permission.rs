//! Permissions and the built-in roles: one table, from which all else is derived.

use std::fmt;

macro_rules! permissions {
    ($($marker:ident $name:literal [$($role:ident),*] $meaning:literal;)+) => {
        /// A thing that a person or key may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Permission { $(#[doc = $meaning] $marker,)+ }

        impl Permission {
            /// Every permission.
            pub(crate) const ALL: &'static [Permission] = &[$(Permission::$marker,)+];

            /// The name, as configuration, API and audit write it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Permission::$marker => $name,)+ }
            }

            /// What it allows, in words.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Permission::$marker => $meaning,)+ }
            }

            /// The built-in roles that hold it.
            const fn holders(self) -> &'static [BuiltinRole] {
                match self { $(Permission::$marker => &[$(BuiltinRole::$role),*],)+ }
            }
        }

        $(
            #[doc = $meaning]
            #[derive(Debug)]
            pub(crate) enum $marker {}
            impl PermissionMarker for $marker {
                const PERMISSION: Permission = Permission::$marker;
            }
        )+
    };
}

/// A permission at the level of types, for `Grant<P>`.
pub(crate) trait PermissionMarker: 'static {
    /// The permission that the marker stands for.
    const PERMISSION: Permission;
}

permissions! {
    Chat "chat" [Owner, Admin, Operator, Member] "Talk to the models in the web app, and keep conversations.";
    UseApi "api.use" [Owner, Admin, Operator, Member, Service] "Use the models through the API.";
    ManageOwnKeys "keys.own" [Owner, Admin, Operator, Member] "Make, change and revoke API keys of one's own.";
    ManagePeople "people.manage" [Owner, Admin] "Invite, disable and change the roles of people.";
    ReadPeople "people.read" [Owner, Admin, Auditor] "See who has an account, and with which roles.";
    ReadModels "models.read" [Owner, Admin, Operator, Auditor] "See every model, where it came from and who may use it.";
    ManageModels "models.manage" [Owner, Admin, Operator] "Load and unload models, name them, and say who may use which.";
    ManagePrompts "prompts.manage" [Owner, Admin] "Keep system prompts that many share, and say for whom they are.";
    ReadAudit "audit.read" [Owner, Auditor] "Read and verify the audit log.";
    ReadMetrics "metrics.read" [Owner, Admin, Operator, Auditor] "Read metrics.";
    ReadUsage "usage.read" [Owner, Admin, Auditor] "See who used which models how much, and what it cost.";
    ReadPosture "posture.read" [Owner, Admin, Operator, Auditor] "Read the posture page and alerts.";
    ManageAlerts "alerts.manage" [Owner, Admin, Operator] "Acknowledge alerts.";
    ReadGuard "guard.read" [Owner, Admin, Auditor] "See the guard's policy and try texts against it.";
    ReadEvals "evals.read" [Owner, Admin, Operator, Auditor] "Read evaluations and their reports.";
    RunEvals "evals.run" [Owner, Admin, Operator] "Start evaluations.";
}

/// A role that every server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum BuiltinRole {
    /// Holds everything; made at first start.
    Owner,
    /// Runs the organisation's side: people, models, guard. Cannot read the audit log.
    Admin,
    /// Runs the machine's side: models, metrics, posture.
    Operator,
    /// Reads everything that is not people's text, and changes nothing.
    Auditor,
    /// Uses the models.
    Member,
    /// A program: uses the API and nothing else.
    Service,
}

impl BuiltinRole {
    /// Every role.
    pub(crate) const ALL: &'static [BuiltinRole] =
        &[Self::Owner, Self::Admin, Self::Operator, Self::Auditor, Self::Member, Self::Service];

    /// The name, as configuration, API and audit write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Member => "member",
            Self::Service => "service",
        }
    }

    /// Reads a name; unknown names are refused.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }

    /// What the role may do.
    pub(crate) fn permissions(self) -> PermissionSet {
        Permission::ALL.iter().copied().filter(|one| one.holders().contains(&self)).collect()
    }
}

impl fmt::Display for BuiltinRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Permission {
    /// Reads a name; unknown names are refused.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.name() == name)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PermissionSet(u64);

impl PermissionSet {
    /// Whether the set holds the permission.
    pub(crate) const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u64) != 0
    }

    /// What both sets hold: how a key's scopes narrow what its owner may do.
    #[must_use]
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either set holds: how several roles add up.
    #[must_use]
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The permissions in the set, in the table's order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.has(*permission))
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self(0), |set, one| Self(set.0 | (1 << one as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_holds_every_permission() {
        for permission in Permission::ALL {
            assert!(BuiltinRole::Owner.permissions().has(*permission), "{permission:?}");
        }
    }

    #[test]
    fn duties_are_separate() {
        let admin = BuiltinRole::Admin.permissions();
        let auditor = BuiltinRole::Auditor.permissions();
        assert!(!admin.has(Permission::ReadAudit));
        for changing in [
            Permission::ManagePeople,
            Permission::ManageModels,
            Permission::RunEvals,
            Permission::Chat,
        ] {
            assert!(!auditor.has(changing), "{changing:?}");
        }
        assert_eq!(
            BuiltinRole::Service.permissions().iter().collect::<Vec<_>>(),
            [Permission::UseApi]
        );
    }

    #[test]
    fn limits_can_be_set_for_every_role() {
        let names: Vec<&str> = BuiltinRole::ALL.iter().map(|role| role.name()).collect();
        assert_eq!(names, crate::config::ROLES);
    }

    #[test]
    fn names_are_unique_and_read_back() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.name()), Some(*permission));
        }
        assert_eq!(Permission::parse("root"), None);
        assert_eq!(BuiltinRole::parse("root"), None);
    }
}
