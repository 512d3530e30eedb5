//! Every kernel against sums in f64 over candle's reading of the same blocks, and against each other.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;

use super::activations::Piece;
use super::portable::Portable;
use super::*;
use crate::engine::kernels::{Block, Iq4Nl, Iq4Xs, Mxfp4, Target};

const COLUMNS: usize = 512;
/// The last tile is not full.
const OUTPUTS: usize = 150;
const TYPES: [TensorType; 13] = [
    TensorType::Candle(GgmlDType::Q4_0),
    TensorType::Candle(GgmlDType::Q4_1),
    TensorType::Candle(GgmlDType::Q5_0),
    TensorType::Candle(GgmlDType::Q5_1),
    TensorType::Candle(GgmlDType::Q8_0),
    TensorType::Candle(GgmlDType::Q2K),
    TensorType::Candle(GgmlDType::Q3K),
    TensorType::Candle(GgmlDType::Q4K),
    TensorType::Candle(GgmlDType::Q5K),
    TensorType::Candle(GgmlDType::Q6K),
    TensorType::Iq4Nl,
    TensorType::Iq4Xs,
    TensorType::Mxfp4,
];

fn noise(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    }
}

/// Where a block has numbers of f16.
fn halves(kind: TensorType) -> &'static [usize] {
    match kind {
        TensorType::Candle(GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0)
        | TensorType::Iq4Nl
        | TensorType::Iq4Xs => &[0],
        TensorType::Candle(GgmlDType::Q2K) => &[80, 82],
        TensorType::Candle(GgmlDType::Q3K) => &[108],
        TensorType::Candle(GgmlDType::Q6K) => &[208],
        TensorType::Candle(_) => &[0, 2],
        TensorType::Mxfp4 => &[],
    }
}

/// What the bytes of blocks are.
#[derive(Clone, Copy, Debug)]
enum Blocks {
    Noise,
    /// All bytes the same, but for the scale.
    Every(u8),
    Zero,
}

/// A matrix [OUTPUTS, COLUMNS]; its scales are `scale` and half as much.
fn bytes(kind: TensorType, blocks: Blocks, scale: f32) -> Vec<u8> {
    let mut next = noise(7);
    let (size, width) = (kind.block_size(), kind.block_bytes());
    let mut bytes: Vec<u8> = (0..OUTPUTS * COLUMNS / size * width)
        .map(|_| match blocks {
            Blocks::Noise => (next() >> 8) as u8,
            Blocks::Every(byte) => byte,
            Blocks::Zero => 0,
        })
        .collect();
    for block in bytes.chunks_exact_mut(width) {
        for (at, factor) in halves(kind).iter().zip([1.0, 0.5]) {
            let sign = if matches!(blocks, Blocks::Noise) && next().is_multiple_of(3) {
                -1.0
            } else {
                1.0
            };
            let half = f16::from_f32(scale * factor * sign);
            block[*at..*at + 2].copy_from_slice(&half.to_le_bytes());
        }
        if kind == TensorType::Mxfp4 {
            block[0] = (scale.to_bits() >> 23) as u8; // its power of two
        }
    }
    bytes
}

fn packed(kind: TensorType, bytes: &[u8]) -> PackedMatrix {
    PackedMatrix::pack(kind, bytes, COLUMNS, &Rooms::default()).expect("a packed type")
}

/// The weights in full: by candle, or by the other reading of the types that it has not.
fn full(kind: TensorType, bytes: &[u8]) -> Vec<f32> {
    let TensorType::Candle(dtype) = kind else { return widened(kind, bytes) };
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype).expect("blocks");
    let tensor = QTensor::new(storage, (OUTPUTS, COLUMNS)).expect("a tensor");
    let full = tensor.dequantize(&Device::Cpu).expect("weights");
    full.flatten_all().and_then(|full| full.to_vec1()).expect("weights")
}

fn widened(kind: TensorType, bytes: &[u8]) -> Vec<f32> {
    fn of<const B: usize, W: Block + From<[u8; B]>>(bytes: &[u8]) -> Vec<f32> {
        let blocks: Vec<W> = bytes.as_chunks().0.iter().map(|block| W::from(*block)).collect();
        let mut wide = vec![f32::NAN; blocks.len() * W::COLUMNS];
        W::widen_all(&blocks, &mut wide);
        wide
    }
    match kind {
        TensorType::Iq4Nl => of::<_, Iq4Nl>(bytes),
        TensorType::Iq4Xs => of::<_, Iq4Xs>(bytes),
        _ => of::<_, Mxfp4>(bytes),
    }
}

fn rows(count: usize) -> Vec<f32> {
    let mut next = noise(3);
    let mut rows: Vec<f32> =
        (0..count * COLUMNS).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect();
    // Groups whose codes are all the largest, and groups of nothing.
    rows[..64].fill(1.5);
    rows[64..128].fill(-1e-3);
    rows[128..192].fill(0.0);
    rows
}

/// The rows as the kernels see them.
fn seen(rows: &Activations) -> Vec<f64> {
    let mut seen = vec![0.0; rows.count() * COLUMNS];
    for (panel, pieces) in rows.panels().enumerate() {
        let height = pieces.len() / (COLUMNS / GROUP);
        for (at, piece) in pieces.iter().enumerate() {
            let row = panel * activations::PANEL + at % height;
            let out = &mut seen[row * COLUMNS + at / height * GROUP..][..GROUP];
            for (out, code) in out.iter_mut().zip(piece.codes.as_flattened()) {
                *out = f64::from(code.cast_signed()) * f64::from(piece.scale);
            }
        }
    }
    seen
}

fn product(matrix: &PackedMatrix, rows: &[f32], instructions: Instructions) -> Vec<f32> {
    products(&[matrix], &Activations::quantize(rows, COLUMNS, instructions)).remove(0)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

fn check(kind: TensorType, blocks: Blocks, scale: f32) {
    let bytes = bytes(kind, blocks, scale);
    let (matrix, weights, rows) = (packed(kind, &bytes), full(kind, &bytes), rows(27));
    let seen = seen(&Activations::quantize(&rows, COLUMNS, Instructions::Portable));
    for instructions in Instructions::available() {
        let out = product(&matrix, &rows, instructions);
        for (at, got) in out.iter().enumerate() {
            let row = &seen[at / OUTPUTS * COLUMNS..][..COLUMNS];
            let weights = &weights[at % OUTPUTS * COLUMNS..][..COLUMNS];
            let terms = row.iter().zip(weights).map(|(a, b)| a * f64::from(*b));
            let (exact, size) =
                terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
            // Codes and minima are taken from one another inside.
            let allowed = size * 2e-6 + f64::from(scale) * 1e-4;
            assert!(
                (f64::from(*got) - exact).abs() <= allowed,
                "{kind:?}, {blocks:?}, {instructions:?}: {got}, not {exact}"
            );
        }
    }
}

#[test]
fn products_are_close_to_exact_ones_for_all_blocks() {
    for kind in TYPES {
        for scale in [0.01, 1.0, 60_000.0, 0.0, 6e-8] {
            check(kind, Blocks::Noise, scale);
        }
        for byte in [0xff, 0x80, 0x7f, 0x88, 0x01] {
            check(kind, Blocks::Every(byte), 0.5);
        }
        check(kind, Blocks::Zero, 0.0);
    }
}

#[test]
fn all_instructions_give_the_same_bits_where_multiplying_and_adding_is_one() {
    if Target::best() == Target::Portable {
        return;
    }
    for kind in TYPES {
        let matrix = packed(kind, &bytes(kind, Blocks::Noise, 0.01));
        let rows = rows(19);
        let plain = product(&matrix, &rows, Instructions::Portable);
        for instructions in Instructions::available() {
            let out = product(&matrix, &rows, instructions);
            assert!(bits(&out) == bits(&plain), "{kind:?}, {instructions:?}");
        }
    }
}

/// What the plain kernel makes of two tiles.
#[expect(unsafe_code, reason = "results are written to memory that holds nothing yet")]
fn in_plain_rust(target: Target, tiles: Tiles<'_>, pieces: &[Piece], count: usize) -> Vec<f32> {
    let mut out = Box::new_uninit_slice(count * 2 * LANES);
    let mut places: Vec<_> = out.chunks_exact_mut(2 * LANES).collect();
    target.run(Portable { tiles, pieces, out: &mut places });
    // SAFETY: the kernel writes all that it is given, and was given all.
    unsafe { out.assume_init() }.into_vec()
}

#[test]
fn rows_of_any_number_of_blocks_give_the_same_bits() {
    if Target::best() == Target::Portable {
        return;
    }
    // Eleven groups, which are no multiple of what the kernels take together, and the largest
    // activations that there are, so that no sum of products may be too narrow for them.
    let columns = 11 * GROUP;
    for kind in TYPES.into_iter().filter(|kind| kind.block_size() == GROUP) {
        for blocks in [Blocks::Noise, Blocks::Every(0xff), Blocks::Every(0x80), Blocks::Zero] {
            let bytes = bytes(kind, blocks, 0.5);
            let whole = OUTPUTS * kind.row_bytes(columns);
            let matrix = PackedMatrix::pack(kind, &bytes[..whole], columns, &Rooms::default());
            let matrix = matrix.expect("a packed type");
            for numbers in [rows(17), vec![1.0; 17 * columns], vec![-1.0; 17 * columns]] {
                let product = |instructions| {
                    let rows =
                        Activations::quantize(&numbers[..17 * columns], columns, instructions);
                    bits(&products(&[&matrix], &rows).remove(0))
                };
                let plain = product(Instructions::Portable);
                for instructions in Instructions::available() {
                    let is_same = product(instructions) == plain;
                    assert!(is_same, "{kind:?}, {blocks:?}, {instructions:?}");
                }
            }
        }
    }
}

#[test]
fn more_tiles_and_columns_than_are_taken_at_once_give_the_same_bits() {
    if Target::best() == Target::Portable {
        return;
    }
    // 72 groups and 18 tiles, the last with seven rows; two wide panels and a row.
    let (columns, outputs, count) = (2304, 17 * LANES + 7, 33);
    let numbers: Vec<f32> = rows(count * columns / COLUMNS + 1)[..count * columns].to_vec();
    for kind in TYPES {
        let bytes: Vec<u8> = bytes(kind, Blocks::Noise, 0.01)
            .into_iter()
            .cycle()
            .take(outputs * kind.row_bytes(columns))
            .collect();
        let matrix = PackedMatrix::pack(kind, &bytes, columns, &Rooms::default());
        let matrix = matrix.expect("a packed type");
        let plain = multiplied(&matrix, &numbers, Instructions::Portable);
        for instructions in Instructions::available() {
            let out = multiplied(&matrix, &numbers, instructions);
            assert!(bits(&out) == bits(&plain), "{kind:?}, {instructions:?}");
        }
    }
}

/// The products with all tiles in one piece.
#[expect(unsafe_code, reason = "results are written to memory that holds nothing yet")]
fn multiplied(matrix: &PackedMatrix, numbers: &[f32], instructions: Instructions) -> Vec<f32> {
    let rows = Activations::quantize(numbers, matrix.columns(), instructions);
    let mut out = Box::new_uninit_slice(rows.count() * matrix.outputs());
    let mut places: Vec<_> = out.chunks_exact_mut(matrix.outputs()).collect();
    Instructions::multiply_all(matrix.some(0..matrix.tiles()), &rows, &mut places);
    // SAFETY: the kernel writes all that it is given, and was given all.
    unsafe { out.assume_init() }.into_vec()
}

#[test]
fn plain_rust_without_fused_instructions_is_close_to_it_with_them() {
    for kind in TYPES {
        let matrix = packed(kind, &bytes(kind, Blocks::Noise, 0.01));
        let rows = Activations::quantize(&rows(3), COLUMNS, Instructions::Portable);
        let pieces = rows.panels().next().expect("a panel");
        let plain = in_plain_rust(Target::Portable, matrix.some(4..6), pieces, 3);
        let fused = in_plain_rust(Target::best(), matrix.some(4..6), pieces, 3);
        for (a, b) in plain.iter().zip(&fused) {
            assert!((a - b).abs() < 1e-3, "{kind:?}: {a}, {b}");
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_in_every_company_and_place() {
    let all = rows(40);
    for kind in TYPES {
        let matrix = packed(kind, &bytes(kind, Blocks::Noise, 0.01));
        for instructions in Instructions::available() {
            let whole = product(&matrix, &all, instructions);
            let parts =
                [(0, 1), (7, 1), (3, 2), (5, 3), (1, 5), (9, 6), (2, 7), (8, 8), (4, 17), (6, 33)];
            for (first, count) in parts.into_iter().chain([(0, 15), (1, 16), (2, 31), (3, 32)]) {
                let some = &all[first * COLUMNS..(first + count) * COLUMNS];
                let part = product(&matrix, some, instructions);
                let same = bits(&part) == bits(&whole[first * OUTPUTS..(first + count) * OUTPUTS]);
                assert!(same, "{kind:?}, {instructions:?}: {count} from {first}");
            }
        }
    }
}

#[test]
fn rows_are_read_exactly() {
    for kind in TYPES {
        for blocks in [Blocks::Noise, Blocks::Every(0xff), Blocks::Every(0x80)] {
            let bytes = bytes(kind, blocks, 0.37);
            let (matrix, full) = (packed(kind, &bytes), full(kind, &bytes));
            let mut row = [f32::NAN; COLUMNS];
            for (number, exact) in full.chunks_exact(COLUMNS).enumerate() {
                assert!(matrix.row(number, &mut row));
                assert!(row == *exact, "{kind:?}, {blocks:?}, row {number}");
            }
            assert!(!matrix.row(OUTPUTS, &mut row));
        }
    }
}

#[test]
fn what_is_no_number_stays_none_and_stays_where_it_is() {
    for kind in TYPES {
        let mut bytes = bytes(kind, Blocks::Noise, 0.01);
        let sound = packed(kind, &bytes);
        // A power of two is always a number.
        let unsound = halves(kind).first().map(|half| {
            let at = 5 * COLUMNS / kind.block_size() * kind.block_bytes() + half;
            bytes[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
            packed(kind, &bytes)
        });
        let rows = rows(26);
        for instructions in Instructions::available() {
            let products = unsound.as_ref().map(|matrix| product(matrix, &rows, instructions));
            for (at, x) in products.iter().flatten().enumerate() {
                assert_eq!(x.is_nan(), at % OUTPUTS == 5, "{kind:?}, {instructions:?}");
            }
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut rows = rows.clone();
                for row in [9, 20] {
                    rows[row * COLUMNS + 77] = bad;
                }
                for (at, x) in product(&sound, &rows, instructions).iter().enumerate() {
                    let is_bad = matches!(at / OUTPUTS, 9 | 20);
                    assert_eq!(x.is_nan(), is_bad, "{kind:?}, {instructions:?}");
                }
            }
        }
    }
}

#[test]
fn several_products_are_those_of_each() {
    let one = packed(
        TensorType::Candle(GgmlDType::Q4K),
        &bytes(TensorType::Candle(GgmlDType::Q4K), Blocks::Noise, 0.01),
    );
    let other = packed(
        TensorType::Candle(GgmlDType::Q6K),
        &bytes(TensorType::Candle(GgmlDType::Q6K), Blocks::Noise, 0.01),
    );
    let rows = rows(25);
    let best = Instructions::best();
    let all = products(&[&one, &other], &Activations::quantize(&rows, COLUMNS, best));
    assert!(all == [product(&one, &rows, best), product(&other, &rows, best)]);
}

#[test]
fn packed_weights_take_hardly_more_than_those_in_the_file() {
    for kind in TYPES {
        let rows = OUTPUTS / LANES * LANES;
        let bytes = bytes(kind, Blocks::Noise, 0.01);
        let bytes = &bytes[..bytes.len() / OUTPUTS * rows];
        let matrix = packed(kind, bytes);
        let taken = size_of_val(&*matrix.lines) + size_of_val(&*matrix.heads);
        assert_eq!(packed_bytes(kind, rows, COLUMNS), Some(taken));
        assert!(taken as f64 <= bytes.len() as f64 * 1.04, "{kind:?}: {taken}");
    }
}

#[test]
fn matrices_without_rows_or_columns_are_empty() {
    let rooms = Rooms::default();
    let none = |kind, columns| PackedMatrix::pack(TensorType::Candle(kind), &[], columns, &rooms);
    assert!(none(GgmlDType::F16, 64).is_none());
    let narrow = none(GgmlDType::Q8_0, 0).expect("a packed type");
    assert_eq!((narrow.outputs(), narrow.columns()), (0, 0));
    let none = none(GgmlDType::Q8_0, 64).expect("a packed type");
    assert_eq!((none.outputs(), none.columns()), (0, 64));
    for instructions in Instructions::available() {
        let rows = Activations::quantize(&[1.0; 18 * 64], 64, instructions);
        assert_eq!(products(&[&none], &rows), [vec![0.0_f32; 0]]);
        let rows = Activations::quantize(&[], 0, instructions);
        assert_eq!(products(&[&narrow], &rows), [vec![0.0_f32; 0]]);
    }
    assert_eq!(packed_bytes(TensorType::Candle(GgmlDType::F16), 1, 64), None);
}

#[test]
fn codes_are_the_nearest_and_scales_are_of_the_group() {
    let mut row = [0.0; 64];
    row[3] = -2.0;
    row[20] = 1.0;
    row[40] = 1e-42;
    let rows = Activations::quantize(&row, 64, Instructions::Portable);
    let pieces: Vec<Piece> = rows.panels().flatten().copied().collect();
    let codes: Vec<i8> =
        pieces[0].codes.as_flattened().iter().map(|code| code.cast_signed()).collect();
    assert_eq!((codes[3], codes[20], codes[0]), (-127, 64, 0));
    assert_eq!((pieces[0].half_less, pieces[0].less), ([127, -64], 63));
    assert_eq!((pieces[0].scale, pieces[1].scale), (2.0 / 127.0, 0.0));
}
