//! A text as detectors read it: raw, and without the tricks that Unicode allows, with a way back
//! from every position of the second to the first.

use std::cell::OnceCell;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::canonical_combining_class;

use super::unicode;

/// One text under inspection.
pub struct View<'t> {
    raw: &'t str,
    /// Nothing but ASCII that shows, or parts words.
    is_simple: bool,
    plain: OnceCell<Mapped>,
    folded: OnceCell<Mapped>,
}

/// A rewritten text and where its pieces came from.
struct Mapped {
    text: String,
    pieces: Vec<Piece>,
}

/// A run of the rewritten text that came from a run of the raw one.
#[derive(Clone, Copy)]
struct Piece {
    at: usize,
    raw_start: usize,
    raw_end: usize,
    /// Byte for byte the same as the raw run, so that positions inside it map one to one.
    same: bool,
}

impl<'t> View<'t> {
    /// Looks at a text; nothing is computed until a detector asks for it.
    pub fn new(raw: &'t str) -> Self {
        let is_simple = raw.bytes().all(is_simple);
        Self { raw, is_simple, plain: OnceCell::new(), folded: OnceCell::new() }
    }

    /// The text as it came.
    pub fn raw(&self) -> &'t str {
        self.raw
    }

    /// The text in compatibility form (NFKC by segment) without invisible and control characters.
    /// Case and marks are kept. For plain ASCII this is the raw text.
    pub fn plain(&self) -> &str {
        if self.is_simple { self.raw } else { &self.plain_mapped().text }
    }

    /// The plain text in lower case and decomposed (NFKD), without marks that spell nothing, with
    /// look-alike letters replaced by the Latin ones that they imitate: for comparing with words.
    pub fn folded(&self) -> &str {
        &self.folded_mapped().text
    }

    /// The raw bytes behind a range of [`View::plain`].
    pub fn raw_of_plain(&self, range: Range<usize>) -> Range<usize> {
        if self.is_simple { range } else { self.plain_mapped().raw_range(range) }
    }

    /// The raw bytes behind a range of [`View::folded`].
    pub fn raw_of_folded(&self, range: Range<usize>) -> Range<usize> {
        self.folded_mapped().raw_range(range)
    }

    fn plain_mapped(&self) -> &Mapped {
        self.plain.get_or_init(|| Mapped::of(self.raw, Form::Plain))
    }

    fn folded_mapped(&self) -> &Mapped {
        self.folded.get_or_init(|| Mapped::of(self.raw, Form::Folded))
    }
}

/// How a text is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Folded,
}

impl Mapped {
    fn of(raw: &str, form: Form) -> Self {
        let mut mapped =
            Self { text: String::with_capacity(raw.len()), pieces: Vec::with_capacity(4) };
        // The letter that a mark stands on; it may be in the run before.
        let mut base = None;
        let mut rest = raw;
        while !rest.is_empty() {
            let ascii = ascii_run(rest);
            let taken = if ascii > 0 { ascii } else { segment(rest) };
            let (run, tail) = rest.split_at(taken);
            let raw_start = raw.len() - rest.len();
            let at = mapped.text.len();
            let visible = run.chars().filter(|c| !unicode::is_nothing(*c));
            match form {
                Form::Plain if ascii > 0 => mapped.text.push_str(run),
                Form::Plain => mapped.text.extend(visible.nfkc()),
                Form::Folded => mapped.fold(visible.nfkd(), &mut base),
            }
            // Folding ASCII changes no length, so positions inside the run stay true.
            let same = ascii > 0 && mapped.text.len() - at == taken;
            mapped.pieces.push(Piece { at, raw_start, raw_end: raw_start + taken, same });
            rest = tail;
        }
        mapped
    }

    fn fold(&mut self, decomposed: impl Iterator<Item = char>, base: &mut Option<char>) {
        for c in decomposed {
            if !unicode::is_mark(c) {
                *base = Some(c);
                unicode::fold(c, &mut self.text);
            } else if unicode::spells(c, *base) {
                self.text.push(c);
            }
        }
    }

    fn raw_range(&self, range: Range<usize>) -> Range<usize> {
        if range.start >= range.end {
            let here = self.piece(range.start).map_or(0, |piece| piece.raw_of(range.start, false));
            return here..here;
        }
        let start = self.piece(range.start).map_or(0, |piece| piece.raw_of(range.start, false));
        let end = self.piece(range.end - 1).map_or(start, |piece| piece.raw_of(range.end, true));
        start..end.max(start)
    }

    /// The piece that holds the byte at `position`: the last one that starts at or before it.
    fn piece(&self, position: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.at <= position);
        self.pieces.get(after.checked_sub(1)?)
    }
}

impl Piece {
    fn raw_of(&self, position: usize, is_end: bool) -> usize {
        match (self.same, is_end) {
            (true, _) => (self.raw_start + (position - self.at)).min(self.raw_end),
            (false, true) => self.raw_end,
            (false, false) => self.raw_start,
        }
    }
}

/// Whether a byte is ASCII and either shows or is white space.
fn is_simple(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\t'..=b'\r')
}

/// The length of the run of simple ASCII at the start, less its last character when a combining
/// mark follows it: the two are normalised together.
fn ascii_run(text: &str) -> usize {
    let run = text.bytes().take_while(|byte| is_simple(*byte)).count();
    match text[run..].chars().next() {
        Some(next) if run > 0 && canonical_combining_class(next) != 0 => run - 1,
        _ => run,
    }
}

/// The length of one starter and the combining marks after it. Longer runs of marks than any
/// script writes are cut, so that the work per segment stays bounded.
fn segment(text: &str) -> usize {
    const MARKS_MAX: usize = 32;
    let mut chars = text.char_indices();
    chars.next();
    chars
        .enumerate()
        .find(|(index, (_, c))| *index >= MARKS_MAX || canonical_combining_class(*c) == 0)
        .map_or(text.len(), |(_, (at, _))| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, plain: &str, needle: &str, behind: &str) {
        let view = View::new(raw);
        assert_eq!(view.plain(), plain);
        let at = plain.find(needle).expect("the needle is in the plain text");
        assert_eq!(&raw[view.raw_of_plain(at..at + needle.len())], behind);
    }

    #[test]
    fn the_plain_text_maps_back_to_the_raw_one() {
        check("hello world", "hello world", "world", "world");
        check("４１１１ 1111", "4111 1111", "4111", "４１１１");
        check("se\u{200b}cret key", "secret key", "secret", "se\u{200b}cret");
        check("ab e\u{301}f", "ab éf", "é", "e\u{301}");
        check("ﬁne ﬁg", "fine fig", "fi", "ﬁ");
        check("x\u{a0}y", "x y", "x y", "x\u{a0}y");
        check("a\u{1}b\u{7f}c\td\r\n", "abc\td\r\n", "abc", "a\u{1}b\u{7f}c");
        check(
            "se\u{fffa}cr\u{1d173}et\u{600}\u{85}",
            "secret\u{85}",
            "secret",
            "se\u{fffa}cr\u{1d173}et",
        );
    }

    #[test]
    fn folding_sees_through_look_alikes() {
        let view = View::new("Ѕесrеt ѕyѕtеm");
        assert_eq!(view.folded(), "secret system");
        assert_eq!(&view.raw()[view.raw_of_folded(7..13)], "ѕyѕtеm");
    }

    #[test]
    fn folding_sees_through_marks_and_controls() {
        for raw in [
            "proj\u{332}ect",
            "projéct",
            "proje\u{301}ct",
            "PROJĔCT",
            "proj\u{1}ect",
            "p\u{1}\u{301}roject",
            "proj\u{20dd}ect",
            "proj\u{941}ect",
            "proj\u{fff9}ect",
        ] {
            assert_eq!(View::new(raw).folded(), "project", "{raw:?}");
        }
        let view = View::new("a proj\u{332}ect b");
        assert_eq!(&view.raw()[view.raw_of_folded(2..9)], "proj\u{332}ect");
        assert_eq!(View::new("İ").folded(), "i");
        assert_eq!(View::new("שָׁלוֹם").folded(), View::new("שלום").folded());
    }

    #[test]
    fn marks_that_spell_are_kept() {
        for (one, other) in [("कल", "कुल"), ("か", "が"), ("ขา", "ขี")] {
            assert_ne!(View::new(one).folded(), View::new(other).folded(), "{one} {other}");
        }
        assert_eq!(View::new("が").folded(), View::new("か\u{3099}").folded());
    }

    proptest::proptest! {
        #[test]
        fn every_range_maps_to_character_boundaries(raw in "(?s).{0,60}", a in 0usize..80, b in 0usize..80) {
            let view = View::new(&raw);
            let clamp = |len: usize| a.min(b).min(len)..a.max(b).min(len);
            let plain = view.raw_of_plain(clamp(view.plain().len()));
            proptest::prop_assert!(raw.get(plain).is_some());
            let folded = view.raw_of_folded(clamp(view.folded().len()));
            proptest::prop_assert!(raw.get(folded).is_some());
        }
    }
}
