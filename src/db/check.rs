//! A database file that comes from elsewhere, held against what this program can use.

use std::path::Path;

use super::{Access, DbError, connect, migrations};

/// Reads a whole database file and says whether it is sound: its structure, its references, and
/// a schema that this program knows. Changes nothing.
pub fn check_file(path: &Path) -> Result<(), DbError> {
    let connection = connect(path, Access::Read)?;
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(DbError::Unusable("its pages do not fit together".to_owned()));
    }
    let mut references = connection.prepare("PRAGMA foreign_key_check")?;
    if references.exists([])? {
        return Err(DbError::Unusable("a row refers to one that is not there".to_owned()));
    }
    migrations::check(&connection, migrations::ALL).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, DbOptions};

    #[test]
    fn sound_files_pass_and_broken_ones_do_not() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("t.db");
        drop(Db::open(&path, DbOptions::default()).expect("made"));
        check_file(&path).expect("sound");
        let newer = rusqlite::Connection::open(&path).expect("opens");
        newer
            .execute("INSERT INTO schema_steps VALUES (9999, 'future', x'00', 0)", [])
            .expect("marked");
        drop(newer);
        assert!(matches!(check_file(&path), Err(DbError::Newer { found: 9999, .. })));
        std::fs::write(&path, vec![7; 8192]).expect("written");
        assert!(check_file(&path).is_err());
        assert!(check_file(&directory.path().join("missing.db")).is_err());
    }
}
