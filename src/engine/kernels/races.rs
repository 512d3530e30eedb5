//! How much faster loops run in their best build than in the portable one. Whether the compiler finds
//! vectors in a plain loop can change with code elsewhere, and no test of its results would see it. That it
//! found narrower ones than there are is not always seen.

use std::hint::black_box;
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
use candle_core::quantized::GgmlDType;

#[cfg(target_arch = "x86_64")]
use super::Rooms;
use super::packed::{Activations, Instructions};
#[cfg(target_arch = "x86_64")]
use super::packed::{PackedMatrix, products};
use super::{
    Ahead, Apart, ExpSum, FloatProduct, GateSilu, Gelu, GeluErf, Highest, Mix, SHARED, Sum,
    SumOfSquares, Target, ToBytes,
};
#[cfg(target_arch = "x86_64")]
use crate::engine::gguf::TensorType;

/// Numbers that a loop goes over: they lie in the nearest cache.
const COUNT: usize = 2_048;
/// How long one side runs at a time.
const TURN: Duration = Duration::from_millis(4);
/// So often both sides take turns; the best of each counts.
const TURNS: usize = 25;

/// A loop beside its portable twin.
#[derive(Clone, Debug)]
pub struct Race {
    /// The loop.
    pub name: &'static str,
    /// How many times as fast as its twin it is.
    pub ratio: f64,
    /// A loop without vectors, or with narrow ones, is below this.
    pub least: f64,
}

/// Loops that the engine leaves to the compiler, sums of weighed rows, and products by tiles of bytes beside
/// those without. None where there is but one build: on ARM, and where a setting asks for the portable one.
pub fn races() -> Vec<Race> {
    if cfg!(target_arch = "aarch64") || Target::best() == Target::Portable {
        return Vec::new();
    }
    let row: Vec<f32> = (0..COUNT).map(|at| ((at * 37) % 101) as f32 / 20.0 - 2.5).collect();
    let best = Target::best();
    let mut all = Vec::new();
    let mut race = |name, least, work: &mut dyn FnMut(Target)| {
        all.push(Race { name, ratio: ratio(best, work), least });
    };
    let mut gate = row.clone();
    race("silu and its gate", 1.5, &mut |target| {
        gate.copy_from_slice(&row);
        target.run(GateSilu { gate: &mut gate, up: &row });
    });
    race("gelu", 1.5, &mut |target| {
        gate.copy_from_slice(&row);
        target.run(Gelu { gate: &mut gate });
    });
    race("gelu by the error function", 1.5, &mut |target| {
        gate.copy_from_slice(&row);
        target.run(GeluErf { gate: &mut gate });
    });
    // These two wait for one addition after the other, whatever the width.
    race("sum", 0.8, &mut |target| {
        black_box(target.run(Sum(&row)));
    });
    race("sum of squares", 0.8, &mut |target| {
        black_box(target.run(SumOfSquares { row: &row, less: 0.5 }));
    });
    race("highest", 1.5, &mut |target| {
        black_box(target.run(Highest(&row)));
    });
    race("sum of powers", 1.5, &mut |target| {
        black_box(target.run(ExpSum { row: &row, highest: 2.6, least: -80.0 }));
    });
    let (mut codes, mut scales) = (vec![0; COUNT], vec![0; COUNT / SHARED]);
    race("numbers to bytes", 1.5, &mut |target| {
        target.run(ToBytes { numbers: &row, codes: &mut codes, scales: &mut scales });
    });
    // As these: most of it is largest numbers and sums of a few.
    race("rows to bytes", 0.8, &mut |target| {
        black_box(Activations::quantize_by(target, &row, COUNT, Instructions::Portable));
    });
    let (rows, mut out) = (row.repeat(4), [0.0; 16 * 4]);
    race("product of numbers", 1.5, &mut |target| {
        let (rows, weights) = (&rows[..], &row[..]);
        target.run(FloatProduct { rows, weights, columns: COUNT / 4, out: &mut out });
    });
    let (columns, mut sums) = (COUNT / 32, [0.0; 8 * COUNT / 32]);
    race("sum of weighed rows", 1.5, &mut |target| {
        Mix {
            weights: Apart { numbers: &row[..8 * 32], stride: 32 },
            count: 32,
            rows: Apart { numbers: &row, stride: columns },
            columns,
            next: Ahead::NOTHING,
            line: 0,
            sums: Apart { numbers: &mut sums, stride: columns },
        }
        .run(target);
    });
    all.extend(race_of_tiles());
    all
}

/// Products with 512 rows by tiles of bytes; its twin is the kernel without them.
#[cfg(target_arch = "x86_64")]
fn race_of_tiles() -> Option<Race> {
    let Instructions::Amx(_) = Instructions::best() else { return None };
    let (columns, outputs, count) = (1_024, 256, 512);
    let bytes: Vec<u8> = (0..outputs * columns / 32)
        .flat_map(|block| {
            (0..18).map(move |at| if at == 1 { 0x20 } else { (block * 7 + at) as u8 })
        })
        .collect();
    let kind = TensorType::Candle(GgmlDType::Q4_0);
    let matrix = PackedMatrix::pack(kind, &bytes, columns, &Rooms::default())?;
    let numbers: Vec<f32> =
        (0..count * columns).map(|at| ((at * 37) % 101) as f32 / 20.0 - 2.5).collect();
    let rows = [Instructions::Avx512Vnni, Instructions::best()]
        .map(|instructions| Activations::quantize(&numbers, columns, instructions));
    let ratio = ratio(Target::best(), &mut |target| {
        let rows = &rows[usize::from(target != Target::Portable)];
        black_box(products(&[&matrix], rows));
    });
    Some(Race { name: "products by tiles", ratio, least: 1.1 })
}

#[cfg(not(target_arch = "x86_64"))]
fn race_of_tiles() -> Option<Race> {
    None
}

/// How many times as fast some work is with a target as with the portable one. They take turns: the
/// machine may be slower at one time than at another.
fn ratio(target: Target, work: &mut dyn FnMut(Target)) -> f64 {
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        for (fastest, target) in fastest.iter_mut().zip([Target::Portable, target]) {
            let (begun, mut count) = (Instant::now(), 0.0);
            while begun.elapsed() < TURN {
                for _ in 0..16 {
                    work(target);
                }
                count += 16.0;
            }
            *fastest = fastest.min(begun.elapsed().as_secs_f64() / count);
        }
    }
    fastest[0] / fastest[1]
}
