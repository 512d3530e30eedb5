//! The parts of an answer that was taken apart, each with where it stood.

use std::ops::Range;

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Said to the reader.
    Content(String),
    /// Thought before.
    Reasoning(String),
    /// A call of this function begins.
    Call(String),
    /// A piece of the arguments of the call that began last: JSON.
    Arguments(String),
}

impl Said {
    /// Takes in what follows, where that is of the same kind; says whether it did.
    pub(super) fn absorb(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Content(before), Self::Content(text))
            | (Self::Reasoning(before), Self::Reasoning(text))
            | (Self::Arguments(before), Self::Arguments(text)) => {
                before.push_str(text);
                true
            }
            _ => false,
        }
    }
}

/// A part of an answer, and which bytes of the answer it was made of, as that came: with all marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// The part.
    pub said: Said,
    /// Where it stood.
    pub at: Range<usize>,
}

/// Pieces of one kind that stood side by side as one.
pub(super) fn joined(parts: Vec<Spoken>) -> Vec<Spoken> {
    let mut out: Vec<Spoken> = Vec::new();
    for part in parts {
        if let Some(last) = out.last_mut()
            && last.at.end == part.at.start
            && last.said.absorb(&part.said)
        {
            last.at.end = part.at.end;
        } else {
            out.push(part);
        }
    }
    out
}
