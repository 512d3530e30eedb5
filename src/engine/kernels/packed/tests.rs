//! Every kernel against sums in f64 over candle's reading of the same blocks, and against each other.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{QStorage, QTensor};
use half::f16;

use super::activations::Piece;
use super::portable::Portable;
use super::*;
use crate::engine::kernels::Target;

const COLUMNS: usize = 512;
/// The last tile is not full.
const OUTPUTS: usize = 150;
const TYPES: [GgmlDType; 10] = [
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

fn noise(seed: u32) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    }
}

/// Where a block has numbers of f16.
fn halves(dtype: GgmlDType) -> &'static [usize] {
    match dtype {
        GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => &[0],
        GgmlDType::Q2K => &[80, 82],
        GgmlDType::Q3K => &[108],
        GgmlDType::Q6K => &[208],
        _ => &[0, 2],
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
fn bytes(dtype: GgmlDType, blocks: Blocks, scale: f32) -> Vec<u8> {
    let mut next = noise(7);
    let (size, width) = (dtype.block_size(), dtype.type_size());
    let mut bytes: Vec<u8> = (0..OUTPUTS * COLUMNS / size * width)
        .map(|_| match blocks {
            Blocks::Noise => (next() >> 8) as u8,
            Blocks::Every(byte) => byte,
            Blocks::Zero => 0,
        })
        .collect();
    for block in bytes.chunks_exact_mut(width) {
        for (at, factor) in halves(dtype).iter().zip([1.0, 0.5]) {
            let sign = if matches!(blocks, Blocks::Noise) && next().is_multiple_of(3) {
                -1.0
            } else {
                1.0
            };
            let half = f16::from_f32(scale * factor * sign);
            block[*at..*at + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

fn packed(dtype: GgmlDType, bytes: &[u8]) -> PackedMatrix {
    PackedMatrix::pack(dtype, bytes, COLUMNS).expect("a packed type")
}

/// The weights in full, by candle.
fn full(dtype: GgmlDType, bytes: &[u8]) -> Vec<f32> {
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype).expect("blocks");
    let tensor = QTensor::new(storage, (OUTPUTS, COLUMNS)).expect("a tensor");
    let full = tensor.dequantize(&Device::Cpu).expect("weights");
    full.flatten_all().and_then(|full| full.to_vec1()).expect("weights")
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
    products(&[matrix], &Activations::quantize(rows, COLUMNS), instructions).remove(0)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

fn check(dtype: GgmlDType, blocks: Blocks, scale: f32) {
    let bytes = bytes(dtype, blocks, scale);
    let (matrix, weights, rows) = (packed(dtype, &bytes), full(dtype, &bytes), rows(11));
    let seen = seen(&Activations::quantize(&rows, COLUMNS));
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
                "{dtype:?}, {blocks:?}, {instructions:?}: {got}, not {exact}"
            );
        }
    }
}

#[test]
fn products_are_close_to_exact_ones_for_all_blocks() {
    for dtype in TYPES {
        for scale in [0.01, 1.0, 60_000.0, 0.0, 6e-8] {
            check(dtype, Blocks::Noise, scale);
        }
        for byte in [0xff, 0x80, 0x7f, 0x88, 0x01] {
            check(dtype, Blocks::Every(byte), 0.5);
        }
        check(dtype, Blocks::Zero, 0.0);
    }
}

#[test]
fn all_instructions_give_the_same_bits_where_multiplying_and_adding_is_one() {
    if Target::best() == Target::Portable {
        return;
    }
    for dtype in TYPES {
        let matrix = packed(dtype, &bytes(dtype, Blocks::Noise, 0.01));
        let rows = rows(19);
        let plain = product(&matrix, &rows, Instructions::Portable);
        for instructions in Instructions::available() {
            let out = product(&matrix, &rows, instructions);
            assert!(bits(&out) == bits(&plain), "{dtype:?}, {instructions:?}");
        }
    }
}

#[test]
fn plain_rust_without_fused_instructions_is_close_to_it_with_them() {
    for dtype in TYPES {
        let matrix = packed(dtype, &bytes(dtype, Blocks::Noise, 0.01));
        let rows = Activations::quantize(&rows(3), COLUMNS);
        let pieces = rows.panels().next().expect("a panel");
        let mut scratch = Scales::default();
        let tile = matrix.tile(4, &mut scratch, Instructions::Portable);
        let [mut plain, mut fused] = [[Lanes::ZERO; 3]; 2];
        Target::Portable.run(Portable { tile, pieces, out: &mut plain });
        Target::best().run(Portable { tile, pieces, out: &mut fused });
        for (a, b) in plain.iter().flat_map(|x| x.0).zip(fused.iter().flat_map(|x| x.0)) {
            assert!((a - b).abs() < 1e-3, "{dtype:?}: {a}, {b}");
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_in_every_company_and_place() {
    let all = rows(40);
    for dtype in TYPES {
        let matrix = packed(dtype, &bytes(dtype, Blocks::Noise, 0.01));
        for instructions in Instructions::available() {
            let whole = product(&matrix, &all, instructions);
            for (first, count) in
                [(0, 1), (7, 1), (3, 2), (5, 3), (1, 5), (9, 6), (2, 7), (8, 8), (4, 17), (6, 33)]
            {
                let some = &all[first * COLUMNS..(first + count) * COLUMNS];
                let part = product(&matrix, some, instructions);
                let same = bits(&part) == bits(&whole[first * OUTPUTS..(first + count) * OUTPUTS]);
                assert!(same, "{dtype:?}, {instructions:?}: {count} from {first}");
            }
        }
    }
}

#[test]
fn rows_are_read_exactly() {
    for dtype in TYPES {
        for blocks in [Blocks::Noise, Blocks::Every(0xff), Blocks::Every(0x80)] {
            let bytes = bytes(dtype, blocks, 0.37);
            let (matrix, full) = (packed(dtype, &bytes), full(dtype, &bytes));
            let mut scratch = Scales::default();
            let mut row = [f32::NAN; COLUMNS];
            for (number, exact) in full.chunks_exact(COLUMNS).enumerate() {
                assert!(matrix.row(number, &mut scratch, &mut row));
                assert!(row == *exact, "{dtype:?}, {blocks:?}, row {number}");
            }
            assert!(!matrix.row(OUTPUTS, &mut scratch, &mut row));
        }
    }
}

#[test]
fn what_is_no_number_stays_none_and_stays_where_it_is() {
    for dtype in TYPES {
        let mut bytes = bytes(dtype, Blocks::Noise, 0.01);
        let sound = packed(dtype, &bytes);
        let at = 5 * COLUMNS / dtype.block_size() * dtype.type_size() + halves(dtype)[0];
        bytes[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
        let unsound = packed(dtype, &bytes);
        let rows = rows(10);
        for instructions in Instructions::available() {
            for (at, x) in product(&unsound, &rows, instructions).iter().enumerate() {
                assert_eq!(x.is_nan(), at % OUTPUTS == 5, "{dtype:?}, {instructions:?}");
            }
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut rows = rows.clone();
                rows[9 * COLUMNS + 77] = bad;
                for (at, x) in product(&sound, &rows, instructions).iter().enumerate() {
                    assert_eq!(x.is_nan(), at / OUTPUTS == 9, "{dtype:?}, {instructions:?}");
                }
            }
        }
    }
}

#[test]
fn several_products_are_those_of_each() {
    let one = packed(GgmlDType::Q4K, &bytes(GgmlDType::Q4K, Blocks::Noise, 0.01));
    let other = packed(GgmlDType::Q6K, &bytes(GgmlDType::Q6K, Blocks::Noise, 0.01));
    let rows = rows(9);
    let activations = Activations::quantize(&rows, COLUMNS);
    let best = Instructions::best();
    let all = products(&[&one, &other], &activations, best);
    assert!(all == [product(&one, &rows, best), product(&other, &rows, best)]);
}

#[test]
fn packed_weights_take_hardly_more_than_those_in_the_file() {
    for dtype in TYPES {
        let rows = OUTPUTS / LANES * LANES;
        let bytes = bytes(dtype, Blocks::Noise, 0.01);
        let bytes = &bytes[..bytes.len() / OUTPUTS * rows];
        let matrix = packed(dtype, bytes);
        let taken = size_of_val(&matrix.lines[..]) + matrix.heads.len();
        assert_eq!(packed_bytes(dtype, rows, COLUMNS), Some(taken));
        assert!(taken as f64 <= bytes.len() as f64 * 1.04, "{dtype:?}: {taken}");
    }
}

#[test]
fn matrices_without_rows_or_columns_are_empty() {
    let none = PackedMatrix::pack(GgmlDType::Q8_0, &[], 64).expect("a packed type");
    assert_eq!((none.outputs(), none.columns()), (0, 64));
    let activations = Activations::quantize(&[1.0; 128], 64);
    assert_eq!(products(&[&none], &activations, Instructions::best()), [vec![0.0_f32; 0]]);
    let narrow = PackedMatrix::pack(GgmlDType::Q8_0, &[], 0).expect("a packed type");
    assert_eq!((narrow.outputs(), narrow.columns()), (0, 0));
    assert!(PackedMatrix::pack(GgmlDType::F16, &[], 64).is_none());
    assert_eq!(packed_bytes(GgmlDType::F16, 1, 64), None);
}

#[test]
fn codes_are_the_nearest_and_scales_are_of_the_group() {
    let mut row = [0.0; 64];
    row[3] = -2.0;
    row[20] = 1.0;
    row[40] = 1e-42;
    let rows = Activations::quantize(&row, 64);
    let pieces: Vec<Piece> = rows.panels().flatten().copied().collect();
    let codes: Vec<i8> =
        pieces[0].codes.as_flattened().iter().map(|code| code.cast_signed()).collect();
    assert_eq!((codes[3], codes[20], codes[0]), (-127, 64, 0));
    assert_eq!((pieces[0].half_less, pieces[0].less), ([127, -64], 63));
    assert_eq!((pieces[0].scale, pieces[1].scale), (2.0 / 127.0, 0.0));
}
