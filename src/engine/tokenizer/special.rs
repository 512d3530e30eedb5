//! Finds added tokens in a text: control tokens, and words added after training.

use aho_corasick::{AhoCorasick, MatchKind};

use super::vocabulary::{Attribute, Vocabulary};
use super::{Special, TokenizerError};
use crate::engine::gguf::File;

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Fragment<'a> {
    /// Text without added tokens; never empty.
    Text(&'a str),
    /// An added token.
    Token(u32),
}

/// The added tokens of a model.
#[derive(Debug)]
pub(super) struct Added {
    all: Finder,
    plain: Finder,
    unmarked: Finder,
}

#[derive(Debug)]
struct Finder {
    find: Option<AhoCorasick>,
    tokens: Vec<Pattern>,
}

#[derive(Clone, Copy, Debug)]
struct Pattern {
    token: u32,
    /// Whether the token swallows the white space behind it.
    strips_right: bool,
}

impl Added {
    pub(super) fn new(vocabulary: &Vocabulary, file: &File) -> Result<Self, TokenizerError> {
        // The tokenizer of Phi-3 swallows white space behind most of its added tokens; GGUF has no
        // field for that, so llama.cpp goes by the name, and its vectors do too.
        let name = file.string("general.name")?.unwrap_or_default().to_lowercase();
        let strips = name.contains("phi-3") || name.contains("phi3");
        let keeps = ["<unk>", "<s>", "<|endoftext|>"];
        let every: Vec<(Pattern, &str)> = vocabulary
            .added()
            .map(|(token, name)| {
                (Pattern { token, strips_right: strips && !keeps.contains(&name) }, name)
            })
            .collect();
        let bytes: usize = every.iter().map(|(_, name)| name.len()).sum();
        if bytes > ADDED_BYTES_MAX {
            let problem = format!("its added tokens have {bytes} bytes, over {ADDED_BYTES_MAX}");
            return Err(TokenizerError::Damaged(problem));
        }
        let is_added = |token| vocabulary.attribute(token) == Some(Attribute::Added);
        let plain: Vec<_> =
            every.iter().filter(|(pattern, _)| is_added(pattern.token)).copied().collect();
        let unmarked = plain.iter().filter(|(pattern, _)| !vocabulary.is_markup(pattern.token));
        Ok(Self {
            unmarked: Finder::new(unmarked.copied().collect())?,
            plain: Finder::new(plain)?,
            all: Finder::new(every)?,
        })
    }

    /// Cuts a text at the added tokens in it, in linear time.
    pub(super) fn split<'a>(&self, text: &'a str, special: Special) -> Vec<Fragment<'a>> {
        let finder = match special {
            Special::Plain => &self.plain,
            Special::Parse => &self.all,
        };
        finder.split(text)
    }

    /// Cuts a text at the added tokens that are neither control tokens nor markup.
    pub(super) fn split_unmarked<'a>(&self, text: &'a str) -> Vec<Fragment<'a>> {
        self.unmarked.split(text)
    }
}

impl Finder {
    fn new(patterns: Vec<(Pattern, &str)>) -> Result<Self, TokenizerError> {
        let tokens = patterns.iter().map(|(pattern, _)| *pattern).collect();
        if patterns.is_empty() {
            return Ok(Self { find: None, tokens });
        }
        let find = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns.iter().map(|(_, name)| name))
            .map_err(|error| TokenizerError::Damaged(format!("its added tokens: {error}")))?;
        Ok(Self { find: Some(find), tokens })
    }

    fn split<'a>(&self, text: &'a str) -> Vec<Fragment<'a>> {
        let mut fragments = Vec::new();
        let mut rest = 0;
        for found in self.find.iter().flat_map(|find| find.find_iter(text)) {
            let pattern = self.tokens[found.pattern().as_usize()];
            // A token before this one may have swallowed white space up to and into it.
            if found.start() < rest {
                continue;
            }
            if found.start() > rest {
                fragments.push(Fragment::Text(&text[rest..found.start()]));
            }
            fragments.push(Fragment::Token(pattern.token));
            rest = found.end();
            if pattern.strips_right {
                rest = text.len() - text[rest..].trim_start().len();
            }
        }
        if rest < text.len() {
            fragments.push(Fragment::Text(&text[rest..]));
        }
        fragments
    }
}

/// Bytes in the names of all added tokens together; the most published has under 100,000.
const ADDED_BYTES_MAX: usize = 4 << 20;
