//! People: accounts, passwords, sessions, invitations.
