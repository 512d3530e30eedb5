//! Sums of rows, each multiplied with a number: what attention spends its time with. The plain form is the
//! twin; left to itself the compiler finds vectors in it in one build, and none in the next.
#![expect(clippy::inline_always, reason = "see `Kernel`")]
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "vectors are read from memory and written to it")
)]

use super::bring::Ahead;
use super::target::{Kernel, Target, multiply_add};

/// Columns of a sum.
pub(crate) const WIDE: usize = 32;

/// `sums[i] += Σ weights[i][k] * rows[k]`, in the order of the rows: a product of small matrices of numbers.
/// A sum does not depend on the others.
pub(crate) struct Mix<'a> {
    /// [sums, `count`], so many numbers apart.
    pub(crate) weights: Apart<&'a [f32]>,
    /// Rows that are added up.
    pub(crate) count: usize,
    /// [`count`, `columns`], so many numbers apart.
    pub(crate) rows: Apart<&'a [f32]>,
    /// Columns of a row, and of a sum.
    pub(crate) columns: usize,
    /// Asked for on the way: a line for each row and every `WIDE` columns.
    pub(crate) next: Ahead<'a>,
    /// The first of those lines.
    pub(crate) line: usize,
    /// [sums, `columns`], so many numbers apart: added to.
    pub(crate) sums: Apart<&'a mut [f32]>,
}

/// Rows of a matrix that lie so many numbers apart; behind the last one there may be less.
#[derive(Clone, Copy)]
pub(crate) struct Apart<T> {
    /// The first begins here.
    pub(crate) numbers: T,
    /// From the beginning of one to that of the next.
    pub(crate) stride: usize,
}

/// So many sums are made at once where there are no more registers.
const FEW: usize = 4;

/// So many, where they and what is added to them have room in the registers.
const MANY: usize = 8;

impl Target {
    fn sums_at_once(self) -> usize {
        match self {
            // Of 32 registers, two for each sum.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Amx => MANY,
            _ => FEW,
        }
    }
}

impl Mix<'_> {
    /// Computes them with the instructions of a target.
    pub(crate) fn run(self, target: Target) {
        let Self { weights, count, rows, columns, mut next, line, sums } = self;
        let most = target.sums_at_once();
        let mut weights = weights.numbers.chunks(weights.stride.max(1));
        let mut sums = sums.numbers.chunks_mut(sums.stride.max(1));
        loop {
            let (weights, sums) = (&mut weights, &mut sums);
            let common = Common { count, rows, columns, next, line };
            match weights.len().min(sums.len()).min(most) {
                0 => return,
                1 => common.add::<1>(weights, sums, target),
                2 => common.add::<2>(weights, sums, target),
                3 => common.add::<3>(weights, sums, target),
                MANY.. => common.add::<MANY>(weights, sums, target),
                _ => common.add::<FEW>(weights, sums, target),
            }
            next = Ahead::NOTHING;
        }
    }
}

/// What several sums share.
struct Common<'a> {
    count: usize,
    rows: Apart<&'a [f32]>,
    columns: usize,
    next: Ahead<'a>,
    line: usize,
}

impl Common<'_> {
    /// Adds to the next `R` sums.
    #[inline]
    fn add<'a, const R: usize>(
        self,
        weights: &mut impl Iterator<Item = &'a [f32]>,
        sums: &mut impl Iterator<Item = &'a mut [f32]>,
        target: Target,
    ) {
        let Self { count, rows, columns, next, line } = self;
        let weights = std::array::from_fn(|_| &weights.next().unwrap_or_default()[..count]);
        let sums = std::array::from_fn(|_| &mut sums.next().unwrap_or_default()[..columns]);
        let panel = Panel::<'_, R> { weights, rows, next, line, sums };
        match target {
            // SAFETY: the target is listed only where the instructions were detected.
            #[cfg(target_arch = "x86_64")]
            Target::Avx512 | Target::Amx => unsafe { x86::in_512_bits(panel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Target::Avx2 => unsafe { x86::in_256_bits(panel) },
            other => other.run(Plain(panel)),
        }
    }
}

/// `R` sums, which are made together.
struct Panel<'a, const R: usize> {
    weights: [&'a [f32]; R],
    rows: Apart<&'a [f32]>,
    next: Ahead<'a>,
    line: usize,
    sums: [&'a mut [f32]; R],
}

impl<const R: usize> Panel<'_, R> {
    /// How many rows are added up: as many weights has each sum.
    #[inline(always)]
    fn count(&self) -> usize {
        self.weights.iter().map(|weights| weights.len()).min().unwrap_or(0)
    }

    #[inline(always)]
    fn columns(&self) -> usize {
        self.sums.iter().map(|sums| sums.len()).min().unwrap_or(0)
    }

    /// Where the first row has its columns from one on. Panics where a row has less than so many there.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn rows_from(&self, column: usize, width: usize) -> *const f32 {
        let Apart { numbers, stride } = self.rows;
        if let Some(last) = self.count().checked_sub(1) {
            let end = last.checked_mul(stride).and_then(|at| at.checked_add(column + width));
            assert!(end.is_some_and(|end| end <= numbers.len()), "rows end too early");
        }
        numbers[column.min(numbers.len())..].as_ptr()
    }

    /// Asks for the line of a row, on the way over it from some column on.
    #[inline(always)]
    fn bring(&self, column: usize, at: usize) {
        self.next.bring(self.line + column / WIDE * self.count() + at);
    }

    /// The columns from one on, `WIDE` at most, in plain Rust.
    #[inline(always)]
    fn add_plainly<const FUSED: bool>(&mut self, column: usize) {
        let (count, columns) = (self.count(), self.columns());
        let width = WIDE.min(columns - column);
        let mut wide = [[0.0; WIDE]; R];
        for (wide, sums) in wide.iter_mut().zip(&self.sums) {
            wide[..width].copy_from_slice(&sums[column..column + width]);
        }
        let weights = self.weights.map(|weights| &weights[..count]);
        for at in 0..count {
            let row = &self.rows.numbers[at * self.rows.stride + column..];
            self.bring(column, at);
            if let (WIDE, Some(row)) = (width, row.first_chunk::<WIDE>()) {
                for (wide, weights) in wide.iter_mut().zip(weights) {
                    for (sum, x) in wide.iter_mut().zip(row) {
                        *sum = multiply_add::<FUSED>(weights[at], *x, *sum);
                    }
                }
            } else {
                for (wide, weights) in wide.iter_mut().zip(weights) {
                    for (sum, x) in wide[..width].iter_mut().zip(&row[..width]) {
                        *sum = multiply_add::<FUSED>(weights[at], *x, *sum);
                    }
                }
            }
        }
        for (wide, sums) in wide.iter().zip(&mut self.sums) {
            sums[column..column + width].copy_from_slice(&wide[..width]);
        }
    }
}

struct Plain<'a, const R: usize>(Panel<'a, R>);

impl<const R: usize> Kernel for Plain<'_, R> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(mut self) {
        for column in (0..self.0.columns()).step_by(WIDE) {
            self.0.add_plainly::<FUSED>(column);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::Panel;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    pub(super) fn in_512_bits<const R: usize>(mut panel: Panel<'_, R>) {
        let (mut column, columns) = (0, panel.columns());
        while column < columns {
            match columns - column {
                32.. => column += add_512::<R, 2>(&mut panel, column),
                16.. => column += add_512::<R, 1>(&mut panel, column),
                _ => return panel.add_plainly::<true>(column),
            }
        }
    }

    /// Adds `V` times 16 columns, from one on; says how many these are.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    #[inline]
    fn add_512<const R: usize, const V: usize>(panel: &mut Panel<'_, R>, column: usize) -> usize {
        let (count, rows) = (panel.count(), panel.rows_from(column, 16 * V));
        let weights = panel.weights.map(<[f32]>::as_ptr);
        let mut wide = [[_mm512_setzero_ps(); V]; R];
        for (wide, sums) in wide.iter_mut().zip(&panel.sums) {
            for (wide, sums) in wide.iter_mut().zip(sums[column..].as_chunks::<16>().0) {
                // SAFETY: sixteen numbers are read.
                *wide = unsafe { _mm512_loadu_ps(sums.as_ptr()) };
            }
        }
        for at in 0..count {
            panel.bring(column, at);
            // SAFETY: `rows_from` has seen that all rows have `V` times sixteen numbers here.
            let row = unsafe { rows.add(at * panel.rows.stride) };
            // SAFETY: as above.
            let parts = std::array::from_fn::<_, V, _>(|part| unsafe {
                _mm512_loadu_ps(row.add(16 * part))
            });
            for (wide, weights) in wide.iter_mut().zip(weights) {
                // SAFETY: there are `count` weights of each sum.
                let weight = _mm512_set1_ps(unsafe { *weights.add(at) });
                for (wide, part) in wide.iter_mut().zip(parts) {
                    *wide = _mm512_fmadd_ps(weight, part, *wide);
                }
            }
        }
        for (wide, sums) in wide.iter().zip(&mut panel.sums) {
            for (wide, sums) in wide.iter().zip(sums[column..].as_chunks_mut::<16>().0) {
                // SAFETY: sixteen numbers are written.
                unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), *wide) };
            }
        }
        16 * V
    }

    /// Half as many columns at a time: the sums of more do not fit the registers.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn in_256_bits<const R: usize>(mut panel: Panel<'_, R>) {
        let (mut column, columns) = (0, panel.columns());
        while column < columns {
            match columns - column {
                16.. => column += add_256::<R, 2>(&mut panel, column),
                8.. => column += add_256::<R, 1>(&mut panel, column),
                _ => return panel.add_plainly::<true>(column),
            }
        }
    }

    /// Adds `V` times 8 columns, from one on; says how many these are.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add_256<const R: usize, const V: usize>(panel: &mut Panel<'_, R>, column: usize) -> usize {
        let (count, rows) = (panel.count(), panel.rows_from(column, 8 * V));
        let weights = panel.weights.map(<[f32]>::as_ptr);
        let mut wide = [[_mm256_setzero_ps(); V]; R];
        for (wide, sums) in wide.iter_mut().zip(&panel.sums) {
            for (wide, sums) in wide.iter_mut().zip(sums[column..].as_chunks::<8>().0) {
                // SAFETY: eight numbers are read.
                *wide = unsafe { _mm256_loadu_ps(sums.as_ptr()) };
            }
        }
        for at in 0..count {
            if column.is_multiple_of(super::WIDE) {
                panel.bring(column, at);
            }
            // SAFETY: `rows_from` has seen that all rows have `V` times eight numbers here.
            let row = unsafe { rows.add(at * panel.rows.stride) };
            // SAFETY: as above.
            let parts = std::array::from_fn::<_, V, _>(|part| unsafe {
                _mm256_loadu_ps(row.add(8 * part))
            });
            for (wide, weights) in wide.iter_mut().zip(weights) {
                // SAFETY: there are `count` weights of each sum.
                let weight = _mm256_set1_ps(unsafe { *weights.add(at) });
                for (wide, part) in wide.iter_mut().zip(parts) {
                    *wide = _mm256_fmadd_ps(weight, part, *wide);
                }
            }
        }
        for (wide, sums) in wide.iter().zip(&mut panel.sums) {
            for (wide, sums) in wide.iter().zip(sums[column..].as_chunks_mut::<8>().0) {
                // SAFETY: eight numbers are written.
                unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), *wide) };
            }
        }
        8 * V
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * step) % 101) as f32 / 20.0 - 2.5).collect()
    }

    /// How many sums, rows and columns, and how many numbers more lie between rows.
    #[derive(Clone, Copy, Debug)]
    struct Measures(usize, usize, usize, usize);

    /// What is where no sum is.
    const LEFT: f32 = -7.0;

    fn mixed(target: Target, Measures(many, count, columns, between): Measures) -> Vec<f32> {
        let stride = columns + between;
        let (rows, weights) = (noise(count * stride, 37), noise(many * (count + between), 53));
        let mut sums: Vec<f32> =
            (0..many * stride).map(|at| if at % stride < columns { 0.5 } else { LEFT }).collect();
        Mix {
            weights: Apart { numbers: &weights, stride: count + between },
            count,
            rows: Apart { numbers: &rows, stride },
            columns,
            next: Ahead::NOTHING,
            line: 0,
            sums: Apart { numbers: &mut sums, stride },
        }
        .run(target);
        sums
    }

    fn hold(measures: Measures) {
        let Measures(_, count, columns, between) = measures;
        let stride = columns + between;
        let (rows, weights) =
            (noise(count * stride, 37), noise(measures.0 * (count + between), 53));
        for target in Target::available() {
            let found = mixed(target, measures);
            for (at, found) in found.iter().enumerate() {
                let (sum, column) = (at / stride, at % stride);
                let product = |k: usize| {
                    let weight = weights[sum * (count + between) + k];
                    f64::from(weight) * f64::from(rows[k * stride + column])
                };
                let exact = if column < columns {
                    0.5 + (0..count).map(product).sum::<f64>()
                } else {
                    f64::from(LEFT)
                };
                let what = format!("{target:?}, {measures:?}, {at}");
                assert!((f64::from(*found) - exact).abs() < 1e-3, "{what}: {found}, {exact}");
            }
            if target != Target::Portable {
                assert_eq!(found, mixed(Target::best(), measures), "{target:?}: other bits");
            }
            // Each sum is what it is alone.
            let alone = mixed(target, Measures(1, count, columns, between));
            assert_eq!(found[..stride], alone, "{target:?}, {measures:?}");
        }
    }

    #[test]
    fn every_target_adds_up_the_same() {
        for many in [1, 2, 3, 4, 5, 8, 9, 12, 15, 23] {
            for (count, columns) in [(1, 32), (32, 32), (31, 64), (128, 32), (7, 128), (3, 5)] {
                for between in [0, 3] {
                    hold(Measures(many, count, columns, between));
                }
            }
            for columns in [1, 7, 8, 15, 16, 17, 24, 31, 48, 49, 80, 96, 112] {
                hold(Measures(many, 9, columns, 1));
            }
        }
    }

    /// Whether two sums of three rows can be made where the rows are so many numbers, so many apart.
    fn can_mix(target: Target, numbers: usize, stride: usize, columns: usize) -> bool {
        let (rows, weights) = (noise(numbers, 37), noise(2 * 3, 53));
        let mut sums = vec![0.5; 2 * columns];
        let mix = Mix {
            weights: Apart { numbers: &weights, stride: 3 },
            count: 3,
            rows: Apart { numbers: &rows, stride },
            columns,
            next: Ahead::NOTHING,
            line: 0,
            sums: Apart { numbers: &mut sums, stride: columns },
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mix.run(target))).is_ok()
    }

    #[test]
    fn nothing_behind_the_last_row_is_read() {
        for target in Target::available() {
            for columns in [1, 8, 16, 24, 32, 40, 48, 64, 72] {
                assert!(can_mix(target, 3 * columns, columns, columns), "{target:?}, {columns}");
                assert!(!can_mix(target, 3 * columns - 1, columns, columns), "{target:?}");
                // Twice as much is nothing, where a product is cut off.
                assert!(!can_mix(target, 3 * columns, 1 << (usize::BITS - 1), columns));
            }
        }
    }

    #[test]
    fn no_rows_and_no_columns_leave_all_as_it_is() {
        for target in Target::available() {
            assert_eq!(mixed(target, Measures(3, 0, 4, 1)), [0.5, 0.5, 0.5, 0.5, LEFT].repeat(3));
            assert_eq!(mixed(target, Measures(3, 4, 0, 1)), [LEFT; 3]);
        }
    }
}
