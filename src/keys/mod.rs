//! API keys: making, authenticating, revoking.
