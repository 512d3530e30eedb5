//! A model that takes long to load. Stands beside the other helpers, as it is made with the library's own
//! writer of files.

use std::fs::{self, File};
use std::path::Path;

use strongroom::engine::gguf::testing::like;

use crate::common::guide_file;

/// The guide's shape.
const BLOCKS: usize = 6;
const WIDTH: usize = 256;
const VOCABULARY: usize = 4_096;
/// How wide the guide is inside.
pub const INNER: usize = 704;

/// A model of the guide's shape with a far wider inside, all of zeros: a file with holes, that takes
/// its whole size in memory and little on disk. Gives its size in MiB.
pub fn write_large(path: &Path, inner: usize) -> u64 {
    let guide = fs::read(guide_file()).expect("the guide is part of the repository");
    let mut tensors: Vec<(String, Vec<u64>)> = vec![
        ("token_embd.weight".to_owned(), vec![WIDTH as u64, VOCABULARY as u64]),
        ("output_norm.weight".to_owned(), vec![WIDTH as u64]),
    ];
    for block in 0..BLOCKS {
        let mut add = |name: &str, dims: &[usize]| {
            let dims = dims.iter().map(|size| *size as u64).collect();
            tensors.push((format!("blk.{block}.{name}.weight"), dims));
        };
        for norm in ["attn_norm", "ffn_norm"] {
            add(norm, &[WIDTH]);
        }
        for (name, rows) in [("attn_q", WIDTH), ("attn_k", WIDTH / 2), ("attn_v", WIDTH / 2)] {
            add(name, &[WIDTH, rows]);
        }
        add("attn_output", &[WIDTH, WIDTH]);
        add("ffn_gate", &[WIDTH, inner]);
        add("ffn_up", &[WIDTH, inner]);
        add("ffn_down", &[inner, WIDTH]);
    }
    let mut writer = like(&guide);
    let mut offset = 0;
    for (name, dims) in &tensors {
        writer = writer.directory_entry(name, dims, 0, offset);
        offset = (offset + dims.iter().product::<u64>() * 4).next_multiple_of(32);
    }
    let mut head = writer.finish();
    let key = b"llama.feed_forward_length";
    let at = head.windows(key.len()).position(|window| window == key).expect("the key is there");
    let value = at + key.len() + 4;
    assert_eq!(head[value..value + 4], (INNER as u32).to_le_bytes());
    head[value..value + 4].copy_from_slice(&(inner as u32).to_le_bytes());
    fs::write(path, &head).expect("the directory can be written");
    let file = File::options().write(true).open(path).expect("it is there");
    file.set_len(head.len() as u64 + offset).expect("it can have holes");
    offset >> 20
}
