//! Products of whole matrices of bytes (Intel AMX): the standard library has no stable functions for
//! these instructions.
//!
//! Each call loads what it multiplies and stores what comes of it: no tile is kept from one to the next.
//!
//! A thread that used a tile once has a larger state from then on: at its first one the system takes some 11 KB
//! for it, and where its stack overflows, the standard library's word on that no longer has the room to be
//! said: the process ends by the signal alone.
#![expect(unsafe_code, reason = "instructions that the compiler does not know")]
#![expect(clippy::unused_self, reason = "who has it may use the instructions")]

use std::arch::asm;
use std::marker::PhantomData;
use std::num::NonZero;
use std::sync::OnceLock;

use super::room::Line;

/// Rows of activations that are multiplied at once.
pub(crate) const ROWS: usize = 16;
/// Columns of a row of activations.
pub(crate) const COLUMNS: usize = 32;

/// Proof that the machine has products of tiles of bytes (AMX-TILE, AMX-INT8), and that the system lets
/// this process use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amx(());

/// An instruction after which all tiles hold nothing.
macro_rules! empty_tiles {
    ($($instruction:tt)*) => {
        asm!(
            $($instruction)*,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
        )
    };
}

/// The products of all four matrices with one.
macro_rules! add_up_with {
    ($right:literal) => {
        concat!(
            "tileloadd tmm6, [{right} + {line}*1 + ",
            $right,
            "*1024]\n",
            "tileloadd tmm4, [{left} + {line}*1]\n",
            "tdpbusd tmm0, tmm4, tmm6\n",
            "tileloadd tmm5, [{left} + {line}*1 + 1024]\n",
            "tdpbusd tmm1, tmm5, tmm6\n",
            "tileloadd tmm4, [{left} + {line}*1 + 2048]\n",
            "tdpbusd tmm2, tmm4, tmm6\n",
            "tileloadd tmm5, [{left} + {line}*1 + 3072]\n",
            "tdpbusd tmm3, tmm5, tmm6",
        )
    };
}

impl Amx {
    /// None where the machine has them not, or the system does not allow them. Asks it once.
    pub(crate) fn detect() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        ALLOWED.get_or_init(|| has_tiles() && is_allowed()).then_some(Self(()))
    }

    /// Lays the tiles of this thread out for products of `QUADS` times four columns with sixteen rows.
    ///
    /// # Safety
    ///
    /// While what is given back lives, nothing else lays out the tiles of this thread.
    pub(crate) unsafe fn lay_out<const QUADS: usize>(self) -> Tiles<QUADS> {
        const { assert!(QUADS == 4 || QUADS == 8, "a group of 32 columns, or half of one") };
        let line = size_of::<Line>();
        // Sums, [rows, 16 outputs]; activations, [rows, columns]; weights, [quads of columns, 16 outputs × 4].
        // SAFETY: `self` proves that the instructions are there.
        unsafe { set(&[(ROWS, line), (ROWS, 4 * QUADS), (QUADS, line)]) };
        Tiles(PhantomData)
    }

    /// Adds up the products of each of four matrices of unsigned bytes, [16, 64], with each of four of
    /// signed ones, [64 / 4, 16 × 4], so many times over. One sum for each of the first four.
    ///
    /// # Safety
    ///
    /// The tiles of this thread are not laid out for something else.
    pub(crate) unsafe fn add_up(
        self,
        left: &[[u8; 1024]; 4],
        right: &[[Line; 16]; 4],
        times: NonZero<usize>,
    ) -> [Sums; 4] {
        let mut sums = [Sums::ZERO; 4];
        let own = Tiles::<16>(PhantomData);
        // SAFETY: `self` proves that the instructions are there; the tiles are laid out, and nobody else
        // does so meanwhile; the four matrices of either side are read, 1024 bytes each, and the four sums
        // are written.
        unsafe {
            set(&[(ROWS, size_of::<Line>()); 8]);
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                add_up_with!(0),
                add_up_with!(1),
                add_up_with!(2),
                add_up_with!(3),
                "sub {times}, 1",
                "jnz 2b",
                "tilestored [{sums} + {line}*1], tmm0",
                "tilestored [{sums} + {line}*1 + 1024], tmm1",
                "tilestored [{sums} + {line}*1 + 2048], tmm2",
                "tilestored [{sums} + {line}*1 + 3072], tmm3",
                left = in(reg) left.as_ptr(),
                right = in(reg) right.as_ptr(),
                sums = in(reg) sums.as_mut_ptr(),
                line = in(reg) size_of::<Line>(),
                times = inout(reg) times.get() => _,
                out("tmm0") _,
                out("tmm1") _,
                out("tmm2") _,
                out("tmm3") _,
                out("tmm4") _,
                out("tmm5") _,
                out("tmm6") _,
                options(nostack),
            );
        }
        drop(own);
        sums
    }
}

/// Lays out the tiles of this thread: rows, at most 16, and their bytes, at most 64.
///
/// # Safety
///
/// The instructions were detected.
unsafe fn set(tiles: &[(usize, usize)]) {
    let layout = Layout::of(tiles);
    // SAFETY: the layout is 64 bytes of palette 1 within its bounds. All tiles become nothing.
    unsafe {
        empty_tiles!(
            "ldtilecfg [{layout}]",
            layout = in(reg) &raw const layout,
            options(nostack, readonly, preserves_flags)
        );
    }
}

/// What `ldtilecfg` reads (Intel SDM, volume 1, 18.3).
#[repr(C, align(64))]
struct Layout {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Layout {
    fn of(tiles: &[(usize, usize)]) -> Self {
        let mut layout =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for (tile, (rows, bytes)) in tiles.iter().enumerate() {
            (layout.rows[tile], layout.row_bytes[tile]) = (*rows as u8, *bytes as u16);
        }
        layout
    }
}

/// The tiles of this thread, laid out; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Tiles<const QUADS: usize>(PhantomData<*const ()>);

/// Sums of products of sixteen rows with 16 outputs.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[i32; 16]; ROWS]);

impl Sums {
    pub(crate) const ZERO: Self = Self([[0; 16]; ROWS]);
}

impl<const QUADS: usize> Tiles<QUADS> {
    /// The products of the quads from `skipped` on of sixteen rows of 32 columns, with signed weights.
    #[inline]
    pub(crate) fn multiply(
        &self,
        weights: &[Line; QUADS],
        rows: &[[u8; COLUMNS]; ROWS],
        skipped: usize,
        into: &mut Sums,
    ) {
        assert!(skipped + QUADS <= COLUMNS / 4, "a row has eight quads");
        // SAFETY: `self` proves that the tiles are laid out: QUADS lines of weights are read, and of
        // each of sixteen rows QUADS quads from `skipped` on, which it has, as was checked; the sixteen
        // lines of `into` are written.
        unsafe {
            asm!(
                "tileloadd tmm2, [{weights} + {line}*1]",
                "tileloadd tmm1, [{rows} + {row}*1]",
                "tilezero tmm0",
                "tdpbssd tmm0, tmm1, tmm2",
                "tilestored [{into} + {line}*1], tmm0",
                weights = in(reg) weights.as_ptr(),
                rows = in(reg) rows.as_ptr().cast::<[u8; 4]>().add(skipped),
                into = in(reg) &raw mut *into,
                line = in(reg) size_of::<Line>(),
                row = in(reg) COLUMNS,
                out("tmm0") _,
                out("tmm1") _,
                out("tmm2") _,
                options(nostack, preserves_flags),
            );
        }
    }
}

impl<const QUADS: usize> Drop for Tiles<QUADS> {
    fn drop(&mut self) {
        // SAFETY: the instructions were detected; what the tiles hold is of no use any more.
        unsafe {
            empty_tiles!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }
}

/// Whether the processor has AMX-TILE and AMX-INT8 (Intel SDM, volume 2, CPUID leaf 7).
fn has_tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (TILE | INT8) == TILE | INT8
}

/// Asks the system for the tiles' room in each thread's state: Linux gives it to those alone who ask.
#[cfg(target_os = "linux")]
fn is_allowed() -> bool {
    use std::ffi::c_long;

    const ARCH_PRCTL: c_long = 158;
    const ARCH_REQ_XCOMP_PERM: c_long = 0x1023;
    const XFEATURE_XTILEDATA: c_long = 18;
    unsafe extern "C" {
        /// `long syscall(long number, ...)`, syscall(2).
        fn syscall(number: c_long, ...) -> c_long;
    }
    // SAFETY: arch_prctl(2) takes two numbers here, and writes nothing.
    unsafe { syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// How other systems are asked is not known here.
#[cfg(not(target_os = "linux"))]
fn is_allowed() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held<const QUADS: usize>(amx: Amx, skipped: usize) {
        let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 9) as u8;
        let mut weights = [Line::ZERO; QUADS];
        for (line, into) in weights.iter_mut().enumerate() {
            into.0 = std::array::from_fn(|at| byte(64 * line + at));
        }
        let rows: [[u8; COLUMNS]; ROWS] =
            std::array::from_fn(|row| std::array::from_fn(|at| byte(5_000 + COLUMNS * row + at)));
        let mut sums = Sums([[7; 16]; ROWS]);
        // SAFETY: the only layout of this thread.
        unsafe { amx.lay_out::<QUADS>() }.multiply(&weights, &rows, skipped, &mut sums);
        for (row, sums) in rows.iter().zip(&sums.0) {
            for (output, sum) in sums.iter().enumerate() {
                let product = |column: usize| {
                    let weight = weights[column / 4].0[4 * output + column % 4].cast_signed();
                    let x = row[4 * skipped + column].cast_signed();
                    i32::from(weight) * i32::from(x)
                };
                assert_eq!(*sum, (0..4 * QUADS).map(product).sum::<i32>(), "{QUADS} {output}");
            }
        }
    }

    /// Where the machine has no tiles, nothing is held here.
    #[test]
    fn products_of_tiles_are_those_of_the_loop() {
        let Some(amx) = Amx::detect() else { return };
        held::<8>(amx, 0);
        held::<4>(amx, 0);
        held::<4>(amx, 4);
        let broken = std::panic::catch_unwind(|| held::<8>(amx, 1));
        assert!(broken.is_err(), "beyond the row");
        held::<8>(amx, 0);
    }
}
