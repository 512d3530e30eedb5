//! Models in several files: put together, and refused where a part is missing or a stranger.

use std::fs;
use std::path::PathBuf;

use super::testing::Writer;
use super::*;

/// Parts of a model with a tensor of one number each, in a folder.
struct Parts {
    folder: tempfile::TempDir,
}

impl Parts {
    fn new(parts: &[Writer]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let parts_of = Self { folder };
        for (at, part) in parts.iter().enumerate() {
            fs::write(parts_of.path(at + 1, parts.len()), part.finish()).expect("write");
        }
        parts_of
    }

    fn path(&self, number: usize, count: usize) -> PathBuf {
        self.folder.path().join(format!("model-{number:05}-of-{count:05}.gguf"))
    }

    /// Why it is refused.
    fn refused(&self, count: usize) -> String {
        File::open(&self.path(1, count)).expect_err("refused").to_string()
    }
}

fn part(number: u16, count: u16) -> Writer {
    let writer = Writer::new().part(number, count, 3);
    let writer = if number == 0 { writer.string("general.architecture", "llama") } else { writer };
    writer.tensor_f32(&format!("t{number}"), &[1], &[f32::from(number)])
}

fn three() -> Vec<Writer> {
    (0..3).map(|number| part(number, 3)).collect()
}

#[test]
fn parts_are_one_model_whichever_is_named() {
    let parts = Parts::new(&three());
    for named in 1..=3 {
        let file = File::open(&parts.path(named, 3)).expect("whole");
        assert_eq!(file.required_string("general.architecture").expect("text"), "llama");
        for number in 0..3_u8 {
            assert_eq!(file.numbers(&format!("t{number}")).expect("there"), [f32::from(number)]);
        }
        let sizes = (1..=3).map(|part| fs::metadata(parts.path(part, 3)).expect("there").len());
        assert_eq!(file.file_bytes(), sizes.sum::<u64>());
        file.check_unchanged().expect("nobody wrote to it");
        let cut = fs::File::options().append(true).open(parts.path(2, 3)).expect("open");
        let bytes = cut.metadata().expect("there").len();
        cut.set_len(bytes - 1).expect("cut");
        assert!(matches!(file.check_unchanged(), Err(GgufError::Changed)));
        assert!(parts.refused(3).contains("early"));
        fs::write(parts.path(2, 3), part(1, 3).finish()).expect("write");
    }
    // The first may have metadata alone, as with `--no-tensor-first-split`.
    let first = Writer::new().part(0, 2, 1).string("general.architecture", "llama");
    let second = Writer::new().part(1, 2, 1).tensor_f32("t", &[1], &[5.0]);
    let parts = Parts::new(&[first, second]);
    let file = File::open(&parts.path(1, 2)).expect("whole");
    assert_eq!(file.numbers("t").expect("there"), [5.0]);
}

#[test]
fn the_bytes_of_all_parts_are_read_in_their_order() {
    let parts = Parts::new(&three());
    let mut found = Vec::new();
    let files = ModelFiles::open(&parts.path(2, 3)).expect("opens");
    files.read_through(|bytes| found.extend_from_slice(bytes)).expect("reads");
    let expected: Vec<u8> =
        (1..=3).flat_map(|part| fs::read(parts.path(part, 3)).expect("there")).collect();
    assert!(found == expected);
}

#[test]
fn a_missing_part_is_named() {
    let parts = Parts::new(&three());
    fs::remove_file(parts.path(2, 3)).expect("removed");
    let error = parts.refused(3);
    assert!(error.contains("\"model-00002-of-00003.gguf\" cannot be opened"), "{error}");
    assert!(!error.contains(&*parts.folder.path().to_string_lossy()), "{error}");
}

#[test]
fn parts_that_do_not_belong_together_are_refused_by_name() {
    let check = |changed: usize, writer: Writer, says: &str| {
        let mut all = three();
        all[changed] = writer;
        let error = Parts::new(&all).refused(3);
        assert!(error.contains(says), "{error}");
        let name = format!("model-{:05}-of-00003.gguf", changed + 1);
        assert!(error.contains(&name), "{error}");
    };
    check(1, part(1, 4), "is one of 4 parts, not of 3");
    check(2, part(1, 3), "is part 2 by what it says, and part 3 by its name");
    check(2, Writer::new().tensor_f32("t2", &[1], &[2.0]), "does not say that it is a part");
    let no_number = Writer::new().u32("split.count", 3).tensor_f32("t2", &[1], &[2.0]);
    check(2, no_number, "does not say which part");
    check(2, Writer::new().part(2, 3, 3).tensor_f32("t1", &[1], &[2.0]), "\"t1\" of another part");
    check(0, Writer::new().part(0, 3, 4).tensor_f32("t0", &[1], &[0.0]), "announces 4 tensors");
}

#[test]
fn a_part_under_another_name_says_how_to_name_it() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("renamed.gguf");
    fs::write(&path, part(1, 3).finish()).expect("write");
    let error = File::open(&path).expect_err("refused").to_string();
    assert!(error.contains("is one of 3 parts: name them NAME-00001-of-00003.gguf"), "{error}");
    // A model in one part is whole, under whatever name.
    fs::write(&path, Writer::new().part(0, 1, 0).finish()).expect("write");
    File::open(&path).expect("whole");
}

#[test]
fn more_parts_than_any_model_has_are_refused_before_they_are_opened() {
    let parts = Parts::new(&[]);
    let error = parts.refused(99_999);
    assert!(error.contains("the number of parts in the file's name is 99999"), "{error}");
}
