//! Builds every long-lived part in order of dependence, runs the server, shuts it down.
