//! Products of whole matrices of bytes (Intel AMX): the standard library has no stable functions for
//! these instructions.
//!
//! Each call loads what it multiplies and stores what comes of it: no tile is kept from one to the next.
#![expect(unsafe_code, reason = "instructions that the compiler does not know")]

use std::arch::asm;
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

impl Amx {
    /// None where the machine has them not, or the system does not allow them. Asks it once.
    pub(crate) fn detect() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        ALLOWED.get_or_init(|| has_tiles() && is_allowed()).then_some(Self(()))
    }

    /// Lays the tiles of this thread out for products of `QUADS` times four columns with sixteen rows.
    pub(crate) fn lay_out<const QUADS: usize>(self) -> Tiles<QUADS> {
        const { assert!(QUADS == 4 || QUADS == 8, "a group of 32 columns, or half of one") };
        let layout = Layout::of(QUADS);
        // SAFETY: the instructions were detected, and the layout is 64 bytes of palette 1 within its bounds.
        unsafe {
            asm!("ldtilecfg [{layout}]", layout = in(reg) &raw const layout, options(nostack, readonly));
        }
        Tiles(std::marker::PhantomData)
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
    /// Tile 0 holds sums, [rows, 16 outputs]; 1 activations, [rows, columns]; 2 weights, [quads of
    /// columns, 16 outputs × 4].
    fn of(quads: usize) -> Self {
        let mut layout =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let line = size_of::<Line>();
        let tiles = [(ROWS, line), (ROWS, 4 * quads), (quads, line)];
        for (tile, (rows, bytes)) in tiles.into_iter().enumerate() {
            (layout.rows[tile], layout.row_bytes[tile]) = (rows as u8, bytes as u16);
        }
        layout
    }
}

/// The tiles of this thread, laid out; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Tiles<const QUADS: usize>(std::marker::PhantomData<*const ()>);

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
            asm!("tilerelease", options(nomem, nostack, preserves_flags));
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
