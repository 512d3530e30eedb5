//! Request rates, token budgets and concurrency. Knows no HTTP.
