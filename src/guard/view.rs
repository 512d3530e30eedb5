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
        Self { raw, plain: OnceCell::new(), folded: OnceCell::new() }
    }

    /// The text as it came.
    pub fn raw(&self) -> &'t str {
        self.raw
    }

    /// The text in compatibility form (NFKC by segment) without invisible characters. Case is
    /// kept. For ASCII this is the raw text.
    pub fn plain(&self) -> &str {
        if self.raw.is_ascii() { self.raw } else { &self.plain_mapped().text }
    }

    /// The plain text in lower case, with look-alike letters replaced by the Latin ones that they
    /// imitate: for comparing with words.
    pub fn folded(&self) -> &str {
        &self.folded_mapped().text
    }

    /// The raw bytes behind a range of [`View::plain`].
    pub fn raw_of_plain(&self, range: Range<usize>) -> Range<usize> {
        if self.raw.is_ascii() { range } else { self.plain_mapped().raw_range(range) }
    }

    /// The raw bytes behind a range of [`View::folded`].
    pub fn raw_of_folded(&self, range: Range<usize>) -> Range<usize> {
        self.folded_mapped().raw_range(range)
    }

    fn plain_mapped(&self) -> &Mapped {
        self.plain.get_or_init(|| Mapped::of(self.raw, |c, out| out.push(c)))
    }

    fn folded_mapped(&self) -> &Mapped {
        self.folded.get_or_init(|| Mapped::of(self.raw, unicode::fold))
    }
}

impl Mapped {
    fn of(raw: &str, write: impl Fn(char, &mut String)) -> Self {
        let mut mapped =
            Self { text: String::with_capacity(raw.len()), pieces: Vec::with_capacity(4) };
        let mut rest = raw;
        while !rest.is_empty() {
            let ascii = ascii_run(rest);
            let taken = if ascii > 0 { ascii } else { segment(rest) };
            let (run, tail) = rest.split_at(taken);
            let raw_start = raw.len() - rest.len();
            let at = mapped.text.len();
            if ascii > 0 {
                run.chars().for_each(|c| write(c, &mut mapped.text));
            } else {
                let visible = run.chars().filter(|c| !unicode::is_invisible(*c));
                visible.nfkc().for_each(|c| write(c, &mut mapped.text));
            }
            // Folding ASCII changes no length, so positions inside the run stay true.
            let same = ascii > 0 && mapped.text.len() - at == taken;
            mapped.pieces.push(Piece { at, raw_start, raw_end: raw_start + taken, same });
            rest = tail;
        }
        mapped
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

/// The length of the ASCII run at the start, less its last character when a combining mark
/// follows it: the two are normalised together.
fn ascii_run(text: &str) -> usize {
    let run = text.bytes().take_while(u8::is_ascii).count();
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
    }

    #[test]
    fn folding_sees_through_look_alikes() {
        let view = View::new("Ѕесrеt ѕyѕtеm");
        assert_eq!(view.folded(), "secret system");
        assert_eq!(&view.raw()[view.raw_of_folded(7..13)], "ѕyѕtеm");
    }

    proptest::proptest! {
        #[test]
        fn every_range_maps_to_character_boundaries(raw in "\\PC{0,60}", a in 0usize..80, b in 0usize..80) {
            let view = View::new(&raw);
            let clamp = |len: usize| a.min(b).min(len)..a.max(b).min(len);
            let plain = view.raw_of_plain(clamp(view.plain().len()));
            proptest::prop_assert!(raw.get(plain).is_some());
            let folded = view.raw_of_folded(clamp(view.folded().len()));
            proptest::prop_assert!(raw.get(folded).is_some());
        }
    }
}
