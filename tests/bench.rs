//! `strongroom bench`, as somebody runs it who looks for a machine: with a small model, since what is
//! looked at is what it prints, and never how long anything took.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::damaged::{find, header_cases};
use common::{Home, both, guide_file, text};
use serde_json::Value;

/// Runs it where nothing belongs to a server, and holds it to leaving nothing behind.
fn bench(home: &Home, arguments: &[&str]) -> Output {
    let folder = home.path("tmp");
    fs::create_dir_all(&folder).expect("the directory can be written");
    let output = Command::new(env!("CARGO_BIN_EXE_strongroom"))
        .arg("bench")
        .args(arguments)
        .current_dir(&folder)
        .env_clear()
        .env("TMPDIR", &folder)
        .output()
        .expect("the binary can be started");
    let left: Vec<_> = fs::read_dir(&folder).expect("a directory").collect();
    assert!(left.is_empty(), "it leaves {left:?} behind");
    output
}

fn measured(home: &Home, arguments: &[&str]) -> Value {
    let output = bench(home, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", both(&output));
    serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else")
}

fn is_sound(value: &Value, fields: &[&str]) {
    for field in fields {
        let number = value[field].as_f64().unwrap_or(f64::NAN);
        assert!(number.is_finite() && number > 0.0, "{field} of {value}");
    }
}

/// A model of 0.2 MB, with a context of 512.
fn small() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/golden/llama.gguf")
}

fn column(rows: &Value, field: &str) -> Vec<u64> {
    let rows = rows.as_array().expect("a list");
    rows.iter().map(|row| row[field].as_u64().expect("a whole number")).collect()
}

#[test]
fn each_figure_stands_beside_its_limit() {
    let home = Home::empty();
    let model = small();
    let found = measured(
        &home,
        &[
            "--model",
            text(&model),
            "--threads",
            "2",
            "--prompts",
            "16,100",
            "--streams",
            "1,3",
            "--runs",
            "2",
        ],
    );
    is_sound(&found["limits"], &["read_gb_s", "int8_gop_s"]);
    is_sound(&found, &["load_s", "peak_rss_bytes"]);
    let rows = ["prefill", "decode"].map(|list| found[list].as_array().expect("a list"));
    for row in rows.into_iter().flatten() {
        is_sound(row, &["tok_s", "limit_tok_s", "of_limit", "runs"]);
        let share = row["tok_s"].as_f64().expect("one") / row["limit_tok_s"].as_f64().expect("one");
        assert!((row["of_limit"].as_f64().expect("one") - share).abs() < 1e-6 * share, "{row}");
    }
    assert_eq!(column(&found["prefill"], "tokens"), [16, 100]);
    assert_eq!(column(&found["decode"], "streams"), [1, 3, 1]);
    assert_eq!(column(&found["decode"], "context"), [0, 0, 100]);
    assert_eq!(found["notes"].as_array().map(Vec::len), Some(0), "{found}");
    assert_eq!(found["machine"]["threads"], 2);
    assert_eq!(found["model"]["file_bytes"], fs::metadata(&model).expect("it is there").len());
    assert_eq!(found["model"]["is_chance"], false);
}

#[test]
fn what_the_context_does_not_hold_is_left_out_and_said() {
    let home = Home::empty();
    let model = small();
    let arguments = ["--model", text(&model), "--streams", "1", "--runs", "1"];
    let found = measured(&home, &arguments);
    // Neither prompt leaves room for an answer.
    assert_eq!(column(&found["prefill"], "tokens"), [256]);
    let notes = found["notes"].to_string();
    for left_out in ["a prompt of 512 tokens is left out", "a prompt of 4096 tokens is left out"] {
        assert!(notes.contains(left_out), "{notes}");
    }
    let shown = bench(&home, &arguments);
    let table = String::from_utf8(shown.stdout).expect("text");
    for words in ["GB/s", "Gop/s", "of limit", "a prompt of 256 tokens", "1 answer", "is left out"]
    {
        assert!(table.contains(words), "no `{words}` in\n{table}");
    }
    // What goes on is told beside it.
    assert!(String::from_utf8_lossy(&shown.stderr).contains("a prompt of 256 tokens"));
}

#[test]
fn without_a_model_one_is_made_and_gone_afterwards() {
    let home = Home::empty();
    let found = measured(
        &home,
        &["--layers", "1", "--type", "q8_0", "--prompts", "8", "--streams", "1", "--runs", "1"],
    );
    assert_eq!(found["model"]["is_chance"], true);
    assert_eq!(found["model"]["architecture"], "qwen3");
    assert_eq!(found["model"]["quantization"], "Q8_0");
    // Where it is to lie can be said.
    let missing = home.path("missing");
    let refused = bench(&home, &["--layers", "1", "--dir", text(&missing)]);
    assert_eq!(refused.status.code(), Some(1), "{}", both(&refused));
    let other = home.path("other");
    fs::create_dir(&other).expect("made");
    let small = ["--layers", "1", "--prompts", "8", "--streams", "1", "--runs", "1"];
    let shown = bench(&home, &[&small[..], &["--dir", text(&other)]].concat());
    assert!(shown.status.success(), "{}", both(&shown));
    assert!(String::from_utf8_lossy(&shown.stderr).contains(text(&other)), "{}", both(&shown));
    assert_eq!(fs::read_dir(&other).expect("a directory").count(), 0);
}

#[test]
fn a_model_is_written_to_a_new_file_alone() {
    let home = Home::empty();
    let path = home.path("made.gguf");
    let arguments = ["--layers", "1", "--type", "q4_0", "--write", text(&path)];
    let output = bench(&home, &arguments);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", both(&output));
    let size = fs::metadata(&path).expect("it is there").len();
    assert!(size > 1 << 20);
    let again = bench(&home, &arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(both(&again).contains("made.gguf cannot be made"), "{}", both(&again));
    assert_eq!(fs::metadata(&path).expect("it is there").len(), size);
    let nowhere = home.path("no folder/made.gguf");
    let refused = bench(&home, &["--layers", "1", "--write", text(&nowhere)]);
    assert!(both(&refused).contains("cannot be made"), "{}", both(&refused));
}

#[test]
fn a_disk_that_is_full_leaves_no_half_file() {
    let home = Home::empty();
    let path = home.path("made.gguf");
    // A file may become 8 MiB large here; the program is told so by an error.
    let script = "trap '' XFSZ; ulimit -f 16384; exec \"$0\" bench --layers 1 --write \"$1\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_strongroom"), text(&path)])
        .output()
        .expect("a shell");
    assert_eq!(output.status.code(), Some(1), "{}", both(&output));
    assert!(both(&output).contains("made.gguf cannot be made"), "{}", both(&output));
    let folder = path.parent().expect("a folder");
    let left = fs::read_dir(folder).expect("a directory").map(|one| one.expect("one").path());
    let left: Vec<_> =
        left.filter(|path| path.display().to_string().contains("made.gguf")).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

#[test]
fn a_bad_file_is_refused_with_what_is_wrong() {
    let home = Home::empty();
    let whole = fs::read(guide_file()).expect("the guide is part of the repository");
    let check = |path: &Path, says: &str| {
        let output = bench(&home, &["--model", text(path), "--json"]);
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        assert!(output.stdout.is_empty() && both(&output).contains(says), "{}", both(&output));
        assert!(!both(&output).contains("broke off"), "{}", both(&output));
    };
    for case in header_cases(&whole).iter().take(6) {
        check(&home.write(&format!("{}.gguf", case.name), &case.bytes), case.says);
    }
    let cut = find(&whole, "token_embd.weight") + 30;
    check(&home.write("cut.gguf", &whole[..cut]), "early");
    check(&home.path("missing.gguf"), "missing.gguf cannot be measured");
    let vectors =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/embeddings/bert-mean.gguf");
    check(&vectors, "this model makes vectors");
}

#[test]
fn a_text_is_judged_in_whole_windows() {
    let home = Home::empty();
    let (model, path) =
        (small(), home.write("text.txt", "one two, buckle my shoe; ".repeat(400).as_bytes()));
    let judge = |more: &[&str]| {
        let found =
            measured(&home, &[&["--model", text(&model), "--text", text(&path)], more].concat());
        is_sound(&found, &["perplexity", "tokens", "window"]);
        found
    };
    let found = judge(&[]);
    assert_eq!(found["window"], 512);
    assert_eq!(found["tokens"].as_u64().expect("a number") % 255, 0, "{found}");
    let in_bytes = judge(&["--kv", "q8_0"]);
    assert_eq!(in_bytes["tokens"], found["tokens"]);
    let [bytes, halves] = [&in_bytes, &found].map(|one| one["perplexity"].as_f64().expect("one"));
    assert!(bytes != halves && (bytes / halves - 1.0).abs() < 0.02, "{bytes} and {halves}");
    let shown = bench(&home, &["--model", text(&model), "--text", text(&path)]);
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.starts_with(&format!("perplexity {halves:.4}, over ")), "{shown}");
    for (name, bytes, says) in [
        ("short.txt", &b"one two"[..], "are the least that is judged"),
        ("binary.txt", &[0xff, 0xfe, 0x80][..], "binary.txt cannot be read"),
    ] {
        let path = home.write(name, bytes);
        let output = bench(&home, &["--model", text(&model), "--text", text(&path)]);
        assert_eq!(output.status.code(), Some(1), "{}", both(&output));
        assert!(both(&output).contains(says), "{}", both(&output));
    }
    let large = home.path("large.txt");
    fs::File::create(&large).and_then(|file| file.set_len((16 << 20) + 1)).expect("is made");
    let output = bench(&home, &["--model", text(&model), "--text", text(&large)]);
    assert!(both(&output).contains("is longer than 16 MiB"), "{}", both(&output));
}

#[test]
fn wrong_usage_is_told_from_failure() {
    let home = Home::empty();
    for arguments in [
        &["--text", "a.txt"][..],
        &["--model", "a.gguf", "--text", "a.txt", "--runs", "2"],
        &["--kv", "q4_0"],
        &["--threads", "0"],
        &["--runs", "0"],
        &["--streams", "1,0"],
        &["--prompts", "many"],
        &["--shape", "9b"],
        &["--type", "q9"],
        &["--model", "a.gguf", "--shape", "1b"],
        &["--model", "a.gguf", "--dir", "."],
    ] {
        assert_eq!(bench(&home, arguments).status.code(), Some(2), "{arguments:?}");
    }
}
