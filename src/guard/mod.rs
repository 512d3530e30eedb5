//! Detectors, policy, redaction and the watch over streamed output.
