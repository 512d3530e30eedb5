//! The tokens of a model: names, bytes and attributes, and those with a part to play.

use std::collections::HashMap;

use super::TokenizerError;
use super::bpe::byte_of;
use super::words::Words;
use crate::engine::gguf::File;

/// What a token is, by `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Normal,
    Unknown,
    Control,
    /// Added to the vocabulary after training; found in a text before anything else.
    Added,
    Unused,
    /// One byte, named `<0x..>`.
    Byte,
}

/// The kinds of tokenizer models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Spm,
    Bpe,
    WordPiece,
    Unigram,
}

/// The tokens of a model.
#[derive(Debug)]
pub(super) struct Vocabulary {
    kind: Kind,
    names: Vec<Box<str>>,
    attributes: Vec<Attribute>,
    /// What every token stands for, one after another; `starts` says where each begins.
    bytes: Vec<u8>,
    starts: Vec<u32>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) adds_bos: bool,
    pub(super) adds_eos: bool,
    /// In front of a text, for BERT and its like.
    pub(super) class: Option<u32>,
    /// Behind a text, for BERT and its like.
    pub(super) separator: Option<u32>,
    /// Ascending.
    pub(super) ends: Vec<u32>,
}

impl Vocabulary {
    pub(super) fn from_gguf(file: &File) -> Result<Self, TokenizerError> {
        let kind = match file.required_string("tokenizer.ggml.model")? {
            "llama" => Kind::Spm,
            "gpt2" => Kind::Bpe,
            "bert" => Kind::WordPiece,
            "t5" => Kind::Unigram,
            other => return Err(TokenizerError::Kind(other.to_owned())),
        };
        let names = file.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        check_names(&names)?;
        let mut attributes = attributes(file, kind, &names)?;
        let named = |key: &str, name: &str| -> Result<Option<u32>, TokenizerError> {
            Ok(match id(file, key, names.len())? {
                // SentencePiece has these three unless it is told otherwise, and files that do not say
                // it mean that.
                None if kind == Kind::Spm => {
                    names.iter().take(3).position(|known| *known == name).map(|at| at as u32)
                }
                found => found,
            })
        };
        let bos = named("tokenizer.ggml.bos_token_id", "<s>")?;
        let eos = named("tokenizer.ggml.eos_token_id", "</s>")?;
        let unknown = named("tokenizer.ggml.unknown_token_id", "<unk>")?;
        let mut ends = ends(file, &names, eos)?;
        // Some converters leave the tokens that end an answer as added or even normal ones.
        for &token in &ends {
            attributes[token as usize] = Attribute::Control;
        }
        ends.extend(file_ends(file, &names)?);
        ends.sort_unstable();
        ends.dedup();
        let adds_bos = file.bool("tokenizer.ggml.add_bos_token")?;
        let adds_eos = file.bool("tokenizer.ggml.add_eos_token")?;
        // The format spells it so; some writers do not.
        let separator = match id(file, "tokenizer.ggml.seperator_token_id", names.len())? {
            None => id(file, "tokenizer.ggml.separator_token_id", names.len())?,
            found => found,
        };
        let class = id(file, "tokenizer.ggml.cls_token_id", names.len())?;
        let words = file.string("tokenizer.ggml.pre")?.unwrap_or_default();
        let mut vocabulary = Self {
            kind,
            names: names.into_iter().map(Box::from).collect(),
            attributes,
            bytes: Vec::new(),
            starts: vec![0],
            bos,
            eos,
            unknown,
            adds_bos: adds_bos.unwrap_or(kind == Kind::Spm || Words::adds_bos(words)),
            adds_eos: adds_eos.unwrap_or(false),
            class,
            separator,
            ends,
        };
        vocabulary.spell();
        Ok(vocabulary)
    }

    /// Works out the bytes of every token.
    fn spell(&mut self) {
        for (name, attribute) in self.names.iter().zip(&self.attributes) {
            match (attribute, self.kind) {
                (Attribute::Control | Attribute::Unknown | Attribute::Unused, _) => {}
                (Attribute::Byte, _) => self.bytes.extend(byte_named(name)),
                (Attribute::Added, Kind::Bpe) => self.bytes.extend(name.bytes()),
                (_, Kind::Bpe) => match name.chars().map(byte_of).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => self.bytes.extend(bytes),
                    // Not spelled in the alphabet of bytes: the name is the text.
                    None => self.bytes.extend(name.bytes()),
                },
                (_, Kind::Spm | Kind::WordPiece | Kind::Unigram) => {
                    self.bytes.extend(name.replace('\u{2581}', " ").bytes());
                }
            }
            // At most TOKENS_MAX times TOKEN_BYTES_MAX: below 2^32.
            self.starts.push(self.bytes.len() as u32);
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, token: u32) -> Option<&str> {
        self.names.get(token as usize).map(Box::as_ref)
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.names.iter().position(|known| known.as_ref() == name).map(|at| at as u32)
    }

    pub(super) fn bytes(&self, token: u32) -> &[u8] {
        let at = token as usize;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start as usize..end as usize],
            _ => &[],
        }
    }

    pub(super) fn is_control(&self, token: u32) -> bool {
        matches!(self.attribute(token), Some(Attribute::Control | Attribute::Unknown))
    }

    /// An added token that looks like markup: models use `<think>` and its like to give a
    /// conversation its form, so people's text must not become one.
    pub(super) fn is_markup(&self, token: u32) -> bool {
        let Some(name) = self.name(token) else { return false };
        let framed = |open: char, close: char| name.starts_with(open) && name.ends_with(close);
        self.attribute(token) == Some(Attribute::Added)
            && name.len() > 2
            && (framed('<', '>') || framed('[', ']'))
    }

    pub(super) fn attribute(&self, token: u32) -> Option<Attribute> {
        self.attributes.get(token as usize).copied()
    }

    /// Tokens that are found in a text before anything else, control tokens among them.
    pub(super) fn added(&self) -> impl Iterator<Item = (u32, &str)> {
        let names = self.names.iter().zip(&self.attributes).enumerate();
        names.filter_map(|(token, (name, attribute))| {
            let added =
                matches!(attribute, Attribute::Control | Attribute::Unknown | Attribute::Added);
            (added && !name.is_empty()).then_some((token as u32, name.as_ref()))
        })
    }

    /// The tokens that text may be merged into, by name: never control tokens or markup. Where a
    /// name stands twice, the last counts.
    pub(super) fn mergeable(&self) -> HashMap<&str, u32> {
        let tokens = (0..self.len() as u32).filter(|&token| {
            !self.is_control(token)
                && !self.is_markup(token)
                && self.attribute(token) != Some(Attribute::Unused)
        });
        tokens.map(|token| (self.names[token as usize].as_ref(), token)).collect()
    }
}

fn check_names(names: &[&str]) -> Result<(), TokenizerError> {
    if names.is_empty() {
        return Err(TokenizerError::Damaged("it has no tokens".into()));
    }
    if names.len() > TOKENS_MAX {
        let problem = format!("it has {} tokens, above the limit of {TOKENS_MAX}", names.len());
        return Err(TokenizerError::Damaged(problem));
    }
    match names.iter().position(|name| name.len() > TOKEN_BYTES_MAX) {
        Some(at) => Err(TokenizerError::Damaged(format!(
            "token {at} is {} bytes long, above the limit of {TOKEN_BYTES_MAX}",
            names[at].len()
        ))),
        None => Ok(()),
    }
}

fn attributes(file: &File, kind: Kind, names: &[&str]) -> Result<Vec<Attribute>, TokenizerError> {
    let Some(codes) = file.i64s("tokenizer.ggml.token_type")? else {
        let byte = |name: &&str| kind == Kind::Spm && byte_named(name).is_some();
        let of = |name| if byte(name) { Attribute::Byte } else { Attribute::Normal };
        return Ok(names.iter().map(of).collect());
    };
    if codes.len() != names.len() {
        let problem = format!("{} tokens, but {} token types", names.len(), codes.len());
        return Err(TokenizerError::Damaged(problem));
    }
    let attribute = |(at, &code): (usize, &i64)| {
        Ok(match code {
            1 => Attribute::Normal,
            2 => Attribute::Unknown,
            3 => Attribute::Control,
            4 => Attribute::Added,
            5 => Attribute::Unused,
            6 if byte_named(names[at]).is_some() => Attribute::Byte,
            _ => {
                let problem = format!("token {at} has the impossible type {code}");
                return Err(TokenizerError::Damaged(problem));
            }
        })
    };
    codes.iter().enumerate().map(attribute).collect()
}

/// A token number in the metadata. Numbers outside the vocabulary count as absent: converters
/// write them for models that lack the token.
fn id(file: &File, key: &str, tokens: usize) -> Result<Option<u32>, TokenizerError> {
    let ids = file.i64s(key)?.unwrap_or_default();
    let id = ids.first().and_then(|&id| u32::try_from(id).ok());
    Ok(id.filter(|&id| (id as usize) < tokens))
}

/// The tokens that end an answer.
fn ends(file: &File, names: &[&str], eos: Option<u32>) -> Result<Vec<u32>, TokenizerError> {
    let mut ends: Vec<u32> = eos.into_iter().collect();
    for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
        ends.extend(id(file, key, names.len())?);
    }
    // Where a model has several of one kind, some converters list them.
    for id in file.i64s("tokenizer.ggml.eos_token_ids")?.unwrap_or_default() {
        ends.extend(u32::try_from(id).ok().filter(|&id| (id as usize) < names.len()));
    }
    // The harmony format ends every message with `<|end|>`, and the answer with one of these.
    let harmony = names.contains(&"<|return|>") && names.contains(&"<|call|>");
    for (at, name) in names.iter().enumerate() {
        if END_NAMES.contains(name) && !(harmony && *name == "<|end|>") {
            ends.push(at as u32);
        }
    }
    Ok(ends)
}

/// The tokens with which a model for code goes over to another file, or fills up after one: an answer
/// ends there too. Prompts write them, so they stay what they are.
fn file_ends(file: &File, names: &[&str]) -> Result<Vec<u32>, TokenizerError> {
    let mut ends = Vec::new();
    for part in ["pad", "rep", "sep"] {
        ends.extend(id(file, &format!("tokenizer.ggml.fim_{part}_token_id"), names.len())?);
    }
    let is_named = |(_, name): &(usize, &&str)| FILE_END_NAMES.contains(name);
    ends.extend(names.iter().enumerate().filter(is_named).map(|(at, _)| at as u32));
    Ok(ends)
}

/// The byte that a name like `<0x0A>` means.
pub(super) fn byte_named(name: &str) -> Option<u8> {
    let hex = name.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() != 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(hex, 16).ok()
}

/// Names under which published models end an answer.
const END_NAMES: [&str; 19] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|endofturn|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "<EOT>",
    "<|user_end|>",
    "<|eot|>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "[EOT]",
];

/// Names under which published models for code begin another file, or fill up after one.
const FILE_END_NAMES: [&str; 8] = [
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<fim-repo>",
    "<|repo_name|>",
    "<reponame>",
    "<|file_sep|>",
];

/// Tokens in a vocabulary; the largest published ones have under 300,000.
const TOKENS_MAX: usize = 1 << 20;
/// Bytes in a token's name; the longest published ones have under 600.
const TOKEN_BYTES_MAX: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gguf::testing::Writer;

    const NAMES: [&str; 6] = ["<unk>", "<s>", "</s>", "a", "<|user|>", "<|observation|>"];

    fn vocabulary(model: &str, change: impl FnOnce(Writer) -> Writer) -> Vocabulary {
        let writer = Writer::new()
            .string("tokenizer.ggml.model", model)
            .strings("tokenizer.ggml.tokens", &NAMES);
        let file = change(writer).open().expect("a sound file");
        Vocabulary::from_gguf(&file).expect("a vocabulary")
    }

    #[test]
    fn sentencepiece_has_its_own_three_where_a_file_does_not_say_them() {
        let spm = vocabulary("llama", |writer| writer);
        assert_eq!((spm.unknown, spm.bos, spm.eos), (Some(0), Some(1), Some(2)));
        assert_eq!((spm.ends.as_slice(), spm.adds_bos), (&[2][..], true));
        let said = vocabulary("llama", |writer| writer.u32("tokenizer.ggml.eos_token_id", 4));
        assert_eq!((said.bos, said.eos), (Some(1), Some(4)));
        let bpe = vocabulary("gpt2", |writer| writer);
        assert_eq!((bpe.unknown, bpe.bos, bpe.eos), (None, None, None));
    }

    #[test]
    fn an_answer_ends_where_another_file_begins_and_a_prompt_may_say_so() {
        let names = ["a", "<|endoftext|>", "<|file_sep|>", "<|fim_pad|>", "<|x_sep|>"];
        let file = Writer::new()
            .string("tokenizer.ggml.model", "gpt2")
            .strings("tokenizer.ggml.tokens", &names)
            .i32s("tokenizer.ggml.token_type", &[1, 3, 4, 4, 4])
            .u32("tokenizer.ggml.fim_sep_token_id", 4);
        let read = Vocabulary::from_gguf(&file.open().expect("a sound file")).expect("sound");
        assert_eq!(read.ends, [1, 2, 3, 4]);
        assert_eq!([1, 2, 3, 4].map(|token| read.is_control(token)), [true, false, false, false]);
        assert_eq!(read.bytes(2), b"<|file_sep|>");
    }

    #[test]
    fn every_token_that_a_file_calls_an_end_is_one() {
        let ends = vocabulary("gpt2", |writer| {
            writer
                .u32("tokenizer.ggml.eos_token_id", 2)
                .u32("tokenizer.ggml.eot_token_id", 4)
                .i32s("tokenizer.ggml.eos_token_ids", &[2, 5, -1, 99])
        });
        assert_eq!(ends.ends, [2, 4, 5]);
        assert!([2, 4, 5].iter().all(|&token| ends.is_control(token)));
    }
}
