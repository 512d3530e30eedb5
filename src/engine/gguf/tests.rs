//! Good files are read, and every kind of broken one is refused by name.

use proptest::prelude::*;

use super::testing::Writer;
use super::*;

fn sound() -> Writer {
    Writer::new()
        .string("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .f32("llama.rope.freq_base", 10_000.0)
        .bool("tokenizer.ggml.add_bos_token", true)
        .strings("tokenizer.ggml.tokens", &["a", "b", ""])
        .f32s("tokenizer.ggml.scores", &[0.0, -1.0, -2.0])
        .i32s("tokenizer.ggml.token_type", &[1, 1, 3])
        .tensor_f32("output_norm.weight", &[4], &[1.0, 2.0, 3.0, 4.0])
        .tensor("blk.0.attn_q.weight", &[2, 32], 8, &[0; 68])
}

fn refused(writer: &Writer) -> String {
    writer.open().expect_err("refused").to_string()
}

#[test]
fn a_sound_file_reads_as_it_was_written() {
    let file = sound().open().expect("sound");
    assert_eq!(file.required_u32("llama.block_count").expect("number"), 2);
    assert_eq!(file.f32("llama.rope.freq_base").expect("decimal"), Some(10_000.0));
    assert_eq!(file.string("general.architecture").expect("text"), Some("llama"));
    assert_eq!(file.bool("tokenizer.ggml.add_bos_token").expect("truth"), Some(true));
    assert_eq!(file.strings("tokenizer.ggml.tokens").expect("texts"), Some(vec!["a", "b", ""]));
    assert_eq!(file.i64s("tokenizer.ggml.token_type").expect("list"), Some(vec![1, 1, 3]));
    assert_eq!(file.u32s("llama.block_count").expect("list of one"), Some(vec![2]));
    assert_eq!(file.u32("absent").expect("absent"), None);
    let tensor = file.required_tensor("blk.0.attn_q.weight").expect("tensor");
    assert_eq!((tensor.shape.as_slice(), tensor.bytes), (&[2, 32][..], 68));
    assert_eq!(file.numbers("output_norm.weight").expect("numbers"), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_file_on_disk_reads_as_one_in_memory() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, sound().finish()).expect("write");
    let file = File::open(&path).expect("sound");
    assert_eq!(file.tensors(), sound().open().expect("sound").tensors());
    assert_eq!(file.file_bytes(), sound().finish().len() as u64);
    assert_eq!(file.numbers("output_norm.weight").expect("numbers"), [1.0, 2.0, 3.0, 4.0]);
    file.check_unchanged().expect("nobody wrote to it");
    let cut = std::fs::File::options().write(true).open(&path).expect("open");
    cut.set_len(10).expect("cut");
    assert!(matches!(file.numbers("output_norm.weight"), Err(GgufError::Changed)));
    assert!(matches!(file.check_unchanged(), Err(GgufError::Changed)));
}

#[test]
fn tensors_load_from_any_address() {
    let bytes = sound().finish();
    for shift in 0..16 {
        let mut moved = vec![0; shift];
        moved.extend(&bytes);
        let file = File::from_static(&moved.leak()[shift..]).expect("sound");
        for name in ["output_norm.weight", "blk.0.attn_q.weight"] {
            file.numbers(name).expect(name);
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let bytes: &'static [u8] = sound().finish().leak();
    for length in 0..bytes.len() {
        let error = File::from_static(&bytes[..length]).expect_err("cut");
        assert!(
            matches!(error, GgufError::NotGguf | GgufError::Truncated { .. }),
            "{length}: {error}"
        );
    }
}

#[test]
fn no_byte_of_the_header_can_make_it_panic() {
    let sound = sound().finish();
    for at in 0..sound.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff, sound[at] ^ 1, sound[at] ^ 0x80] {
            let mut bytes = sound.clone();
            bytes[at] = value;
            read_all(bytes);
        }
        for run in [4, 8] {
            for value in [0x00, 0xff, 0x7f] {
                let mut bytes = sound.clone();
                let end = (at + run).min(bytes.len());
                bytes[at..end].fill(value);
                read_all(bytes);
            }
        }
    }
}

/// Opens a file and reads everything in it, whatever it is.
fn read_all(bytes: Vec<u8>) {
    let Ok(file) = File::from_bytes(bytes) else { return };
    let keys: Vec<String> = file.metadata.keys().cloned().collect();
    for key in &keys {
        let _ = file.u32(key);
        let _ = file.f32(key);
        let _ = file.bool(key);
        let _ = file.string(key);
        let _ = file.strings(key);
        let _ = file.f32s(key);
        let _ = file.i64s(key);
        let _ = file.u32s(key);
        let _ = file.bools(key);
    }
    for tensor in file.tensors() {
        let numbers = file.numbers(&tensor.name).expect("a checked tensor loads");
        assert_eq!(numbers.len(), tensor.elements());
    }
    let _ = crate::engine::tokenizer::Tokenizer::from_gguf(&file);
}

#[test]
fn versions_and_byte_orders_are_told_apart() {
    assert!(sound().version(2).open().is_ok());
    assert!(refused(&sound().version(1)).contains("version 1"));
    assert!(refused(&sound().version(4)).contains("version 4"));
    assert!(refused(&sound().version(3_u32.swap_bytes())).contains("big-endian"));
    let not = File::from_static(b"PK\x03\x04 and more").expect_err("not one");
    assert!(matches!(not, GgufError::NotGguf));
}

#[test]
fn counts_and_lengths_beyond_their_limits_are_refused() {
    for (at, name) in [(8, "the number of tensors"), (16, "the number of metadata keys")] {
        for value in [u64::MAX, 1 << 63, 65_537] {
            let mut bytes = sound().finish();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            let error = File::from_static(bytes.leak()).expect_err("too many").to_string();
            assert!(error.contains(name), "{error}");
        }
    }
    let text = |length: u64| Writer::new().raw("k", 8, &length.to_le_bytes());
    assert!(refused(&text(u64::MAX)).contains("above the limit"));
    assert!(refused(&text(1 << 20)).contains("ends 1.0 MB early"));
    let list = |kind: u32, count: u64| {
        let mut raw = kind.to_le_bytes().to_vec();
        raw.extend(count.to_le_bytes());
        Writer::new().raw("k", 9, &raw)
    };
    assert!(refused(&list(4, u64::MAX)).contains("above the limit"));
    assert!(refused(&list(10, 1 << 61)).contains("above the limit"));
    assert!(refused(&list(10, 1 << 20)).contains("early"));
    assert!(refused(&list(8, 1 << 20)).contains("early"));
    assert!(refused(&list(9, 1)).contains("holds arrays"));
    assert!(refused(&list(13, 1)).contains("unknown type 13"));
    assert!(refused(&Writer::new().raw("k", 99, &[])).contains("unknown type 99"));
    assert!(refused(&Writer::new().raw("k", 7, &[2])).contains("neither true nor false"));
}

#[test]
fn alignment_is_a_power_of_two_within_bounds() {
    for bad in [0, 3, 24, 1 << 17, u32::MAX] {
        let error = refused(&Writer::new().u32("general.alignment", bad));
        assert!(error.contains("not a power of two"), "{error}");
    }
    let error = refused(&Writer::new().string("general.alignment", "32"));
    assert!(error.contains("whole number"), "{error}");
    for good in [1, 8, 64, 4_096] {
        let writer = Writer::new().alignment(good);
        let file = writer.tensor_f32("t", &[2], &[1.0, 2.0]).tensor_f32("u", &[1], &[3.0]);
        let file = file.open().expect("sound");
        file.numbers("u").expect("loads");
    }
}

#[test]
fn impossible_tensors_are_refused() {
    let one = |dims: &[u64], code, offset| {
        Writer::new().directory_entry("t", dims, code, offset).raw("pad", 8, &[0; 8])
    };
    for dims in [
        &[0][..],
        &[u64::MAX],
        &[1 << 32, 1 << 32],
        &[1 << 63, 2],
        &[3, 0x5555_5555_5555_5556],
        &[32, 1 << 59],
    ] {
        assert!(refused(&one(dims, 0, 0)).contains("impossible shape"), "{dims:?}");
    }
    assert!(refused(&one(&[], 0, 0)).contains("0 dimensions"));
    assert!(refused(&one(&[1; 5], 0, 0)).contains("5 dimensions"));
    assert!(refused(&one(&[33, 32], 8, 0)).contains("blocks of 32"));
    assert!(refused(&one(&[128], 12, 0)).contains("blocks of 256"));
    for (code, name) in [
        (4, "Q4_2"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (21, "IQ3_S"),
        (31, "Q4_0_4_4"),
        (34, "TQ1_0"),
        (40, "NVFP4"),
        (99, "number 99"),
    ] {
        let said = refused(&one(&[256], code, 0));
        assert!(said.contains(&format!("the type {name}, which is not supported")), "{said}");
        assert!(said.contains("(supported are F32, F16, Q4_0,") && said.contains("MXFP4)"));
    }
    assert!(refused(&one(&[4], 0, 8)).contains("multiple of 32"));
    assert!(refused(&one(&[4], 0, !31)).contains("beyond the file"));
    assert!(refused(&one(&[4], 0, 1 << 62)).contains("early"));
    assert!(refused(&one(&[1 << 30], 0, 0)).contains("ends 4.3 GB early"));
}

#[test]
fn doubled_and_overlapping_things_are_refused() {
    assert!(refused(&Writer::new().u32("k", 1).u32("k", 1)).contains("\"k\" stands there twice"));
    let twice = Writer::new().tensor_f32("t", &[1], &[1.0]).tensor_f32("t", &[1], &[1.0]);
    assert!(refused(&twice).contains("\"t\" stands there twice"));
    let over = Writer::new().tensor_f32("t", &[16], &[0.0; 16]).directory_entry("u", &[4], 0, 32);
    assert!(refused(&over).contains("overlaps"));
    let mut raw = Writer::new().u32("kk", 1).finish();
    raw[32] = 0xff;
    assert!(File::from_static(raw.leak()).expect_err("bytes").to_string().contains("UTF-8"));
}

#[test]
fn a_key_of_another_type_is_named_with_what_was_found() {
    let file = sound().open().expect("sound");
    let error = file.required_u32("absent").expect_err("absent").to_string();
    assert!(error.contains("\"absent\""), "{error}");
    let error = file.u32("general.architecture").expect_err("text").to_string();
    assert!(error.contains("a text"), "{error}");
    let error = file.strings("llama.block_count").expect_err("number").to_string();
    assert!(error.contains("it is 2"), "{error}");
    let error = file.u32("tokenizer.ggml.tokens").expect_err("list").to_string();
    assert!(error.contains("a list of 3"), "{error}");
    let infinite = Writer::new().f32("k", f32::INFINITY).open().expect("sound");
    assert!(infinite.f32("k").is_err());
    let negative = Writer::new().raw("k", 5, &(-1_i32).to_le_bytes()).open().expect("sound");
    assert!(negative.u32("k").expect_err("negative").to_string().contains("-1"));
}

/// The file is made by tests/engine/make_types.py; beside each tensor lies what the `gguf` package
/// makes of it.
#[test]
fn weights_of_every_type_are_those_of_the_reference_to_the_bit() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/types.gguf");
    let file = File::open(Path::new(path)).expect("a sound file");
    let mut failures = Vec::new();
    for (_, name, kind) in types::TYPES {
        let tensor = file.required_tensor(name).expect("every type is there");
        assert_eq!((tensor.kind, tensor.kind.name(), tensor.elements()), (kind, name, 1_024));
        let bits = |name: &str| -> Vec<u32> {
            file.numbers(name).expect("numbers").into_iter().map(f32::to_bits).collect()
        };
        let (ours, theirs) = (bits(name), bits(&format!("{name}.f32")));
        // Zero has two signs, and the difference is none.
        let differ = |(a, b): &(&u32, &u32)| a != b && (**a | **b) << 1 != 0;
        let count = ours.iter().zip(&theirs).filter(differ).count();
        if count > 0 {
            failures.push(format!("{name}: {count} of {} differ", ours.len()));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

proptest! {
    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        read_all(tail.clone());
        let mut bytes = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
        bytes.extend(tail);
        read_all(bytes);
    }

    #[test]
    fn random_changes_never_panic(changes in prop::collection::vec(any::<(u16, u8)>(), 1..8)) {
        let mut bytes = sound().finish();
        for (at, value) in changes {
            let at = at as usize % bytes.len();
            bytes[at] = value;
        }
        read_all(bytes);
    }
}
