//! Encryption at rest: key sources, hierarchy, sealing. Knows bytes and keys alone.
