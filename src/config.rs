//! Configuration: defaults, file, environment, flags, in that order.
