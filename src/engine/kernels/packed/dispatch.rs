//! What the kernels for the processors share: the ways from a layout and a number of rows to the code that was
//! compiled for them, and how far ahead they ask for memory.

use super::activations::PANEL;
use crate::engine::kernels::bring_behind;

/// How far ahead of its use memory is asked for, in bytes.
const AHEAD: usize = 4096;

/// Calls `$by_rows::<LAYOUT>` with the layout of a tile as a constant.
macro_rules! for_layout {
    ($layout:expr, $by_rows:ident($($given:expr),*)) => {
        for_layout!(@each $layout, $by_rows, ($($given),*),
            Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs Mxfp4)
    };
    (@each $layout:expr, $by_rows:ident, $given:tt, $($name:ident)*) => {
        match $layout {
            $(Layout::$name => for_layout!(@call $by_rows, { Layout::$name as usize }, $given),)*
        }
    };
    (@call $by_rows:ident, $number:block, ($($given:expr),*)) => {
        $by_rows::<$number>($($given),*)
    };
}

/// Calls `$rows::<$layout, ROWS>` with the number of rows as a constant: at most eight.
macro_rules! for_rows {
    ($count:expr, $rows:ident::<$layout:ident>($($given:expr),*)) => {
        match $count {
            1 => $rows::<$layout, 1>($($given),*),
            2 => $rows::<$layout, 2>($($given),*),
            3 => $rows::<$layout, 3>($($given),*),
            4 => $rows::<$layout, 4>($($given),*),
            5 => $rows::<$layout, 5>($($given),*),
            6 => $rows::<$layout, 6>($($given),*),
            7 => $rows::<$layout, 7>($($given),*),
            _ => $rows::<$layout, 8>($($given),*),
        }
    };
}

pub(super) use {for_layout, for_rows};

/// Asks for what lies ahead of a part of a tile, where so many rows are multiplied with it. Many rows use a
/// tile several times; few wait for it to come from memory.
#[inline]
pub(super) fn bring_for_few<T, const ROWS: usize>(part: &[T]) {
    bring_for(ROWS, part);
}

/// The same, where the number of rows is no constant.
#[inline]
pub(super) fn bring_for<T>(rows: usize, part: &[T]) {
    if rows < PANEL {
        bring_behind(part, AHEAD);
    }
}
