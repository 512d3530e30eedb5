//! SQLite: connection threads, transactions, migrations. Knows no feature.
