//! What somebody can do to a log that no server watches, and what the next start and the next
//! verification make of it.

use super::*;
use crate::audit::fingerprint;

/// The lines of the file of heads, changed.
fn rewrite_heads(directory: &Path, change: impl FnOnce(Vec<String>) -> Vec<String>) {
    let file = directory.join(HEADS_FILE);
    let text = std::fs::read_to_string(&file).expect("read");
    let lines = change(text.lines().map(str::to_owned).collect());
    let text: String = lines.into_iter().map(|line| line + "\n").collect();
    std::fs::write(&file, text).expect("written");
}

#[test]
fn nothing_is_signed_on_top_of_a_forged_head() {
    let bench = Bench::filled(3);
    bench.tamper("UPDATE audit_heads SET signature = zeroblob(64) WHERE size = 3");
    let outcome = bench.restarted(|_| {});
    assert!(matches!(&outcome, Err(AuditError::Inconsistent(what)) if what.contains("signature")));

    // In the file, over as many events or over more that nobody has seen.
    for size in [3, 9] {
        let outcome = Bench::filled(3).restarted(|directory| {
            rewrite_heads(directory, |mut lines| {
                let forged = format!("{size} {} 1 {}", "0".repeat(64), "0".repeat(128));
                lines.truncate(2);
                lines.push(forged);
                lines
            });
        });
        assert!(
            matches!(&outcome, Err(AuditError::Inconsistent(what)) if what.contains("signature"))
        );
    }
}

#[test]
fn a_forged_head_is_refused_when_the_vault_opens_where_it_was_sealed_at_the_start() {
    let bench = Bench::filled(3);
    let phrase = crate::secret::SecretText::new("four quiet words here".into());
    bench.vault.move_to_passphrase(&phrase).expect("moved");
    bench.tamper("UPDATE audit_heads SET signature = zeroblob(64) WHERE size = 3");
    let Bench { directory, db, vault, log } = bench;
    drop((db, vault, log));
    let vault = Vault::load(&directory.path().join("keys")).expect("loads");
    let db = Db::open(&directory.path().join("t.db"), DbOptions::default()).expect("db");
    let log = open(&directory, &db, &vault).expect("opens sealed");
    vault.unseal(&phrase).expect("opens");
    assert!(log.record_blocking(event(4)).is_err());
    let bench = Bench { directory, db, vault, log };
    assert_eq!(bench.verify(&[]).size, 3, "nothing came on top");
}

#[test]
fn lines_that_the_file_of_heads_lost_are_found_told_and_added_again() {
    let lost = |kept: usize| {
        move |directory: &Path| {
            rewrite_heads(directory, |lines| lines.into_iter().take(kept).collect());
        }
    };
    let bench = Bench::filled(9);
    lost(6)(&bench.directory.path().join("audit"));
    bench.assert_found("the head over 7 events has no line in heads.log");
    type Meanwhile = Box<dyn FnOnce(&Path)>;
    let cases: [(Meanwhile, u64); 3] = [
        (Box::new(lost(6)), 6),
        (Box::new(lost(0)), 0),
        (Box::new(|directory| std::fs::remove_file(directory.join(HEADS_FILE)).expect("gone")), 0),
    ];
    for (meanwhile, left) in cases {
        let bench = Bench::filled(9).restarted(meanwhile).expect("opens");
        bench.log.record_blocking(event(10)).expect("recorded");
        let gaps = bench.gaps();
        assert_eq!(gaps.len(), 1);
        assert_eq!(gaps[0].field("detail")["file_size"], left);
        assert_eq!(gaps[0].field("detail")["database_size"], 9);
        let found = bench.verify(&[]);
        assert!(found.ok, "{:?}", found.problems);
    }
}

#[test]
fn a_line_that_is_missing_in_the_middle_is_found() {
    let bench = Bench::filled(9);
    rewrite_heads(&bench.directory.path().join("audit"), |mut lines| {
        lines.remove(3);
        lines
    });
    bench.assert_found("the head over 4 events has no line in heads.log");
    assert_eq!(bench.verify(&[]).problems.len(), 1);
}

#[tokio::test]
async fn a_log_that_was_signed_anew_with_another_key_is_found_by_who_knows_the_right_one() {
    let bench = Bench::filled(3);
    let own = bench.vault.audit_signing_key().expect("key").verifying_key();
    let right = bench.verify_by(&[], &Trust::Key(own));
    assert!(right.ok, "{:?}", right.problems);
    assert_eq!(right.key, Some(fingerprint(&own)));
    assert!(bench.log.verify().await.expect("verified").ok);

    let directory = bench.directory.path().join("audit");
    let other = SigningKey::from_bytes(&[5; 32]);
    let mut tree = Tree::default();
    let db = Connection::open(bench.db.path()).expect("opens");
    let mut lines = String::new();
    for (i, leaf) in store::leaves_after(&db, 0).expect("leaves").into_iter().enumerate() {
        tree.push(leaf);
        let head = Head::sign(&tree, Timestamp::from_ms(1_000 + i as i64), &other);
        db.execute(
            "UPDATE audit_heads SET signature = ?1, signed_at = ?2 WHERE size = ?3",
            (head.signature.as_slice(), head.signed_at, head.size as i64),
        )
        .expect("signed anew");
        lines += &head.line();
    }
    std::fs::write(directory.join(HEADS_FILE), lines).expect("written");
    let public = hex::encode(other.verifying_key().as_bytes());
    std::fs::write(directory.join("public.key"), public).expect("written");

    assert!(bench.verify(&[]).ok, "who believes the file finds nothing");
    for trust in [Trust::Key(own), Trust::Fingerprint(fingerprint(&own))] {
        let found = bench.verify_by(&[], &trust);
        let told = found.problems.iter().any(|one| one.contains("public.key was replaced"));
        assert!(!found.ok && told, "{:?}", found.problems);
    }
    let online = bench.log.verify().await.expect("verified");
    assert!(online.problems.iter().any(|one| one.contains("wrong signature")), "{online:?}");
    let refused = bench.restarted(|_| {});
    assert!(matches!(refused, Err(AuditError::Inconsistent(_))));
}

#[tokio::test]
async fn verifications_at_the_same_time_share_their_work() {
    let bench = Bench::filled(30);
    let running = (0..8).map(|_| {
        let log = bench.log.clone();
        tokio::spawn(async move { log.verify().await.expect("verified") })
    });
    for one in running.collect::<Vec<_>>() {
        assert!(one.await.expect("ends").ok);
    }
}
