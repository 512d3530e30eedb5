//! How fast this machine multiplies bytes and reads memory: the limits that what the engine does is
//! held beside. Knows no model.
#![expect(unsafe_code, reason = "the instructions that multiply bytes are not in safe Rust")]
#![expect(clippy::inline_always, reason = "see `Kernel`")]

use std::hint::black_box;
use std::io;
use std::sync::{Barrier, OnceLock};
use std::thread::Builder;
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
use super::amx::Amx;
#[cfg(target_arch = "aarch64")]
use super::arm::{Dotprod, I8mm};
use super::target::{Kernel, Target};

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

/// How long one measurement of the multiplication takes.
const MULTIPLY_FOR: Duration = Duration::from_millis(200);
/// So often either is measured; the best counts.
const TRIES: usize = 4;
/// Products between two looks at the clock, in tiles: many, for what is laid out before them.
const TILES_A_LOOK: usize = 1_024;

/// Bytes that the best instructions that are computed with multiply and add in a second, with so many threads;
/// a product and its sum are two operations. And what these instructions are called. An error where
/// the system does not give the threads.
pub fn multiply_rate(threads: usize) -> io::Result<(f64, &'static str)> {
    let allowed = |multiply: &&Multiply| multiply.is_allowed_by(Target::best());
    let available = Multiply::available();
    let best = available.iter().rev().find(allowed).copied().unwrap_or(Multiply::Portable);
    let mut rate = 0.0_f64;
    for _ in 0..TRIES {
        rate = rate.max(multiply_once(best, threads.max(1))?);
    }
    Ok((rate, best.name()))
}

fn multiply_once(multiply: Multiply, threads: usize) -> io::Result<f64> {
    let work = |begin: &Barrier| {
        let tile = Tile::new();
        begin.wait();
        let (begun, mut tiles) = (Instant::now(), 0);
        while begun.elapsed() < MULTIPLY_FOR {
            black_box(multiply.sum(&tile, TILES_A_LOOK));
            tiles += TILES_A_LOOK;
        }
        let products = tiles * ROWS * COLUMNS * DEPTH * multiply.surplus();
        2.0 * products as f64 / begun.elapsed().as_secs_f64()
    };
    Ok(together(threads, named, work)?.into_iter().sum())
}

/// Has so many threads do the same work, at whose beginning they wait for each other. An error where
/// they cannot all be had: then none of them does any.
fn together<T: Send>(
    threads: usize,
    builder: impl Fn(usize) -> Builder,
    work: impl Fn(&Barrier) -> T + Sync,
) -> io::Result<Vec<T>> {
    let (begin, is_whole) = (Barrier::new(threads), OnceLock::<bool>::new());
    // Those that are there would wait for ever for one that does not come.
    let run = || is_whole.wait().then(|| work(&begin));
    std::thread::scope(|scope| {
        let start = |number| builder(number).spawn_scoped(scope, run);
        let started: io::Result<Vec<_>> = (0..threads).map(start).collect();
        // Nobody else has set it.
        let _ = is_whole.set(started.is_ok());
        let broke_off = || io::Error::other("a thread that measures broke off");
        let ended = started?.into_iter().map(|one| one.join().ok().flatten());
        ended.map(|done| done.ok_or_else(broke_off)).collect::<io::Result<Vec<T>>>()
    })
}

fn named(number: usize) -> Builder {
    Builder::new().name(format!("probe-{number}"))
}

/// Bytes that so many threads read in a second from `bytes` of memory together. Much more than the
/// caches hold, or it is their speed. An error where the system does not give the threads.
pub fn read_rate(threads: usize, bytes: usize) -> io::Result<f64> {
    let threads = threads.max(1);
    let share = (bytes / threads / size_of::<u64>()).max(1);
    let work = |begin: &Barrier| {
        // Each touches its own first, so that it lies near the core that reads it.
        let numbers = vec![1_u64; share];
        let once = |_| {
            begin.wait();
            let begun = Instant::now();
            black_box(Target::best().run(Sum(black_box(&numbers))));
            (begun, Instant::now())
        };
        (0..TRIES).map(once).collect::<Vec<_>>()
    };
    let times: Vec<Vec<(Instant, Instant)>> = together(threads, named, work)?;
    let rate = |number: usize| {
        let begun = times.iter().map(|of_thread| of_thread[number].0).min()?;
        let ended = times.iter().map(|of_thread| of_thread[number].1).max()?;
        let seconds = ended.duration_since(begun).as_secs_f64();
        Some((threads * share * size_of::<u64>()) as f64 / seconds)
    };
    Ok((0..TRIES).filter_map(rate).fold(0.0, f64::max))
}

/// Adds all numbers up: the least that can be done with what was read.
struct Sum<'a>(&'a [u64]);

impl Kernel for Sum<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<const FUSED: bool>(self) -> u64 {
        let (pieces, rest) = self.0.as_chunks::<64>();
        let mut sums = [0_u64; 64];
        for piece in pieces {
            for (sum, number) in sums.iter_mut().zip(piece) {
                *sum = sum.wrapping_add(*number);
            }
        }
        sums.iter().chain(rest).fold(0, |sum, number| sum.wrapping_add(*number))
    }
}

const ROWS: usize = 4;
const COLUMNS: usize = 4;
/// Rows and columns together lie in the smallest cache.
const DEPTH: usize = 1_024;

/// Small matrices to multiply: unsigned bytes with signed ones, as the instructions want them.
#[derive(Clone, Debug)]
struct Tile {
    rows: [[u8; DEPTH]; ROWS],
    columns: [[i8; DEPTH]; COLUMNS],
}

impl Tile {
    /// Bytes of all sizes that do not overflow the sum of two products in 16 bits.
    fn new() -> Self {
        let byte = |at: usize, of: usize| ((at.wrapping_mul(2_654_435_761) >> 7) ^ (of * 37)) as u8;
        let row = |row| std::array::from_fn(|at| byte(at, row) & 0x7f);
        let column = |column| std::array::from_fn(|at| (byte(at, 9 + column) & 0x7f) as i8 - 64);
        Self { rows: std::array::from_fn(row), columns: std::array::from_fn(column) }
    }
}

/// A way to multiply bytes and add the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Multiply {
    /// What the compiler makes of a loop.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    Amx(Amx),
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "aarch64")]
    Dotprod(Dotprod),
    #[cfg(target_arch = "aarch64")]
    I8mm(I8mm),
}

impl Multiply {
    /// All that this machine has, the best last.
    fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self::Avx2);
                if is_x86_feature_detected!("avxvnni") {
                    all.push(Self::AvxVnni);
                }
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
                all.push(Self::Avx512Vnni);
            }
            all.extend(Amx::detect().map(Self::Amx));
        }
        #[cfg(target_arch = "aarch64")]
        {
            all.push(Self::Neon);
            all.extend(Dotprod::detect().map(Self::Dotprod));
            all.extend(I8mm::detect().map(Self::I8mm));
        }
        all
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "no instructions of their own",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => "AVX-VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => "AVX-512 VNNI",
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => "AMX",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "NEON",
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod(_) => "NEON with dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::I8mm(_) => "NEON with i8mm",
        }
    }

    /// Whether it is of a target, or of less.
    fn is_allowed_by(self, target: Target) -> bool {
        match (self, target) {
            (_, Target::Portable) => self == Self::Portable,
            #[cfg(target_arch = "x86_64")]
            (Self::Amx(_), _) => target == Target::Amx,
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512Vnni, _) => target != Target::Avx2,
            #[cfg(target_arch = "aarch64")]
            (Self::Dotprod(_), _) => target != Target::Neon,
            #[cfg(target_arch = "aarch64")]
            (Self::I8mm(_), _) => target == Target::I8mm,
            _ => true,
        }
    }

    /// How many products are added up for one that is in the sum.
    fn surplus(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx(_) => amx::SURPLUS,
            _ => 1,
        }
    }

    /// The sum of all products of a row with a column, of every pair of them, so many times over.
    fn sum(self, tile: &Tile, times: usize) -> i32 {
        match self {
            Self::Portable => sum_portable(tile, times),
            // SAFETY: `available` lists it only where AVX2 was detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { sum_avx2(tile, times) },
            // SAFETY: `available` lists it only where AVX2 and AVX-VNNI were detected.
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => unsafe { sum_avx_vnni(tile, times) },
            // SAFETY: `available` lists it only where AVX-512F and AVX-512 VNNI were detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => unsafe { sum_avx512_vnni(tile, times) },
            #[cfg(target_arch = "x86_64")]
            Self::Amx(amx) => amx::sum(amx, tile, times),
            // SAFETY: NEON is part of 64-bit ARM.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { arm::sum_neon(tile, times) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::Dotprod(dotprod) => unsafe { arm::sum_dotprod(dotprod, tile, times) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::I8mm(i8mm) => unsafe { arm::sum_i8mm(i8mm, tile, times) },
        }
    }
}

/// The twin of the others.
fn sum_portable(tile: &Tile, times: usize) -> i32 {
    let mut sum = 0_i32;
    for _ in 0..times {
        let tile = black_box(tile);
        for row in &tile.rows {
            for column in &tile.columns {
                let products = row.iter().zip(column).map(|(&a, &b)| i32::from(a) * i32::from(b));
                sum = sum.wrapping_add(products.sum());
            }
        }
    }
    sum
}

#[cfg(target_arch = "x86_64")]
use x86::{sum_avx_vnni, sum_avx2, sum_avx512_vnni};

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_instruction_gives_the_sum_of_the_loop() {
        let tile = Tile::new();
        for times in [0, 1, 3] {
            let expected = sum_portable(&tile, times);
            assert_eq!(expected == 0, times == 0, "the tile has products to add");
            for multiply in Multiply::available() {
                assert_eq!(multiply.sum(&tile, times), expected, "{multiply:?}");
            }
        }
    }

    #[test]
    fn every_number_is_read() {
        for count in [0, 1, 63, 64, 65, 200] {
            let numbers: Vec<u64> = (1..=count).collect();
            for target in Target::available() {
                assert_eq!(target.run(Sum(&numbers)), count * (count + 1) / 2, "{target:?}");
            }
        }
    }

    #[test]
    fn rates_are_numbers_whatever_is_asked_for() {
        for (threads, bytes) in [(0, 0), (1, 1), (3, 1 << 20)] {
            let rate = read_rate(threads, bytes).expect("threads");
            assert!(rate.is_finite() && rate > 0.0, "{threads} {bytes}: {rate}");
        }
        let (rate, name) = multiply_rate(1).expect("a thread");
        assert!(rate.is_finite() && rate > 0.0 && !name.is_empty());
    }

    #[test]
    fn threads_that_cannot_all_be_had_are_an_error_and_nobody_waits_for_them() {
        let done = AtomicUsize::new(0);
        let work = |begin: &Barrier| {
            begin.wait();
            done.fetch_add(1, Ordering::SeqCst)
        };
        // No machine has the memory for the stack of the third.
        let scarce = |number: usize| {
            let builder = named(number);
            if number < 2 { builder } else { builder.stack_size(usize::MAX / 16) }
        };
        assert!(together(4, scarce, work).is_err());
        assert_eq!(done.load(Ordering::SeqCst), 0);
        assert_eq!(together(4, named, work).expect("threads").len(), 4);
    }
}
