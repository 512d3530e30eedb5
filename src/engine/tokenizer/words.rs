//! How BPE models cut a text into words, by the name in `tokenizer.ggml.pre`.
//!
//! Each way is a row of patterns: the first cuts the text, the next cuts the pieces, and so on;
//! what lies between two matches is a piece as well. The patterns are those of the published
//! tokenizers.

use tokenizers::utils::SysRegex;

use super::TokenizerError;

/// A way to cut a text into words.
#[derive(Debug)]
pub(super) struct Words {
    patterns: Vec<SysRegex>,
    takes_whole_words: bool,
}

impl Words {
    /// The way of that name; files from before the names get the one they were made with.
    pub(super) fn named(name: Option<&str>) -> Result<Self, TokenizerError> {
        let (_, patterns, whole) = WAYS
            .iter()
            .find(|(names, ..)| names.contains(&name.unwrap_or("default")))
            .ok_or_else(|| TokenizerError::Words(name.unwrap_or_default().to_owned()))?;
        let compiled: Result<Vec<SysRegex>, _> =
            patterns.iter().map(|pattern| SysRegex::new(pattern)).collect();
        let patterns =
            compiled.map_err(|error| TokenizerError::Words(format!("{name:?}: {error}")))?;
        Ok(Self { patterns, takes_whole_words: *whole })
    }

    /// Whether texts of that kind begin with the token for it where the file does not say.
    pub(super) fn adds_bos(name: &str) -> bool {
        let family = |known: &str| WAYS.iter().find(|(names, ..)| names.contains(&known));
        name == "tekken"
            || name == "chameleon"
            || family("llama-bpe").is_some_and(|(names, ..)| names.contains(&name))
    }

    /// Whether a word that is a token is that token, whatever the merges make of it.
    pub(super) fn takes_whole_words(&self) -> bool {
        self.takes_whole_words
    }

    /// Cuts a text into words.
    pub(super) fn cut<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut pieces = vec![text];
        for pattern in &self.patterns {
            let mut cut = Vec::with_capacity(pieces.len());
            for piece in pieces {
                cut_by(pattern, piece, &mut cut);
            }
            pieces = cut;
        }
        pieces
    }
}

fn cut_by<'a>(pattern: &SysRegex, mut text: &'a str, pieces: &mut Vec<&'a str>) {
    while !text.is_empty() {
        let mut rest = 0;
        for (start, end) in pattern.find_iter(text) {
            if start > rest {
                pieces.push(&text[rest..start]);
            }
            if end > start {
                pieces.push(&text[start..end]);
            }
            rest = end;
        }
        text = &text[rest..];
        // Patterns that look ahead are bounded in steps, and a run of a million blanks exceeds
        // them: the iterator just ends. A short rest is simply what no pattern matches.
        let mut end = text.len().min(FORCED_PIECE_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        if end > 0 {
            pieces.push(&text[..end]);
        }
        text = &text[end..];
    }
}

/// How much is taken as one piece where a pattern gives up.
const FORCED_PIECE_BYTES: usize = 64 << 10;

pub(super) type Way = (&'static [&'static str], &'static [&'static str], bool);

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA_3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_35: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Blanks are cut into pieces of 512 at most, and no end of a line follows those that were cut already: without
/// the look behind, each piece would be followed by a look at all of the rest.
const JAIS_2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|(?<![^\S\r\n])\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const YOUTU: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const KIMI_K2: &str = r"\p{Han}+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const UFAKZEKA: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const MINICPM_5: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
const DEEPSEEK_3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Letters of scripts with upper and lower case.
const CASED: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ\x{1F5F}-\x{1F7D}ᾀ-ᾴᾶ-ᾼ\x{1FBE}ῂ-ῄῆ-ῌ\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\x{2126}ℨ\x{212A}-\x{212D}ℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const PORO: &str = " ?[^(\\s|.,!?…。，、।۔،)]+";

/// Names, patterns, and whether whole words are taken.
pub(super) const WAYS: &[Way] = &[
    (
        &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
        ],
        &[GPT_2],
        false,
    ),
    (
        &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        &[LLAMA_3],
        true,
    ),
    (&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], &[LLAMA_3], false),
    (&["jais-2"], &[JAIS_2], false),
    (&["minicpm5"], &[r"\p{N}{1,3}", MINICPM_5], true),
    (
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "kormo",
            "f2llmv2",
            "grok-2",
            "solar-open",
        ],
        &[QWEN_2],
        false,
    ),
    (&["laguna"], &[r"[^\n]+|[\n]+", QWEN_2], false),
    (&["ufakzeka"], &[UFAKZEKA], false),
    (&["seed-coder"], &[SEED_CODER], false),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], &[BAILING], false),
    (&["exaone-moe"], &[EXAONE_MOE], false),
    (&["qwen35"], &[QWEN_35], false),
    (&["tekken"], &[TEKKEN], true),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], &[GPT_4O], false),
    (&["granite-embed-multi-97m"], &[GPT_4O], true),
    (&["kimi-k2"], &[KIMI_K2], false),
    (
        &["youtu"],
        &["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+", YOUTU],
        true,
    ),
    (
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        &[r"\p{N}", GPT_2],
        false,
    ),
    (
        &["deepseek-llm"],
        &[
            r"[\r\n]",
            CASED,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            "[一-龥ࠀ-一가-\u{d7ff}]+",
            r"\p{N}+",
        ],
        false,
    ),
    (
        &["deepseek-coder"],
        &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\u{d7ff}]+", r"\p{N}"],
        false,
    ),
    (
        &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK_3],
        false,
    ),
    (&["spark2_5"], &[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", SPARK, r"\p{N}"], false),
    (
        &["chameleon"],
        &[
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            "([\\t\\n]|    |  )",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            GPT_2,
        ],
        false,
    ),
    (&["falcon"], &[r"[\p{P}\$\+<=>\^~\|`]+", GPT_2, "[0-9][0-9][0-9]"], false),
    (&["poro-chat", "bloom", "gpt3-finnish"], &[PORO], false),
    (&["viking"], &[PORO, r"\p{N}"], false),
    (&["default"], &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", "[0-9][0-9][0-9]"], false),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_loses_nothing() {
        let text = "I'll say: 12345 Grüße, 我想 \t\n\n  ok…   \u{1f680}!  ";
        for (names, ..) in WAYS {
            for name in *names {
                let words = Words::named(Some(name)).expect(name);
                assert_eq!(words.cut(text).concat(), text, "{name}");
                assert!(words.cut(text).iter().all(|word| !word.is_empty()), "{name}");
            }
        }
    }

    #[test]
    fn every_name_stands_once_and_what_is_not_cut_in_words_of_bytes_is_refused_by_name() {
        let names: Vec<&str> = WAYS.iter().flat_map(|(names, ..)| *names).copied().collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{name}");
        }
        // Merged without an alphabet of bytes, or cut by rules that take time squared in patterns.
        for name in [
            "gemma4",
            "granite-embed-multi-311m",
            "sarvam-moe",
            "whitespace",
            "afmoe",
            "superbpe",
            "tiny_aya",
            "cohere2moe",
        ] {
            let error = Words::named(Some(name)).expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn words_are_cut_as_the_published_tokenizers_cut_them() {
        for (name, text, expected) in [
            ("gpt-2", "I'll 12ab  x", &["I", "'ll", " 12", "ab", " ", " x"][..]),
            ("llama-bpe", "I'LL 1234  x", &["I", "'LL", " ", "123", "4", " ", " x"]),
            ("qwen2", "a12\r\n\r\nb", &["a", "1", "2", "\r\n\r\n", "b"]),
            ("ufakzeka", "Ali'ye", &["Ali", "'ye"]),
            ("tekken", "HelloWorld don't 12", &["Hello", "World", " don", "'t", " ", "1", "2"]),
            ("gpt-4o", "HelloWorld don't 1234", &["Hello", "World", " don't", " ", "123", "4"]),
            ("kimi-k2", "ab我想cd 1234", &["ab", "我想", "cd", " ", "123", "4"]),
            ("jais-2", "a     b", &["a", "    ", " b"]),
            ("laguna", "a\n\nb", &["a", "\n\n", "b"]),
            ("minicpm5", "12345", &["123", "45"]),
            ("chameleon", "a  b1", &["a", "  ", "b", "1"]),
            ("exaone-moe", "a b c.\nd", &["a b c", ".\n", "d"]),
        ] {
            assert_eq!(Words::named(Some(name)).expect(name).cut(text), expected, "{name}");
        }
    }

    #[test]
    fn an_unknown_way_is_an_error_that_names_it() {
        let error = Words::named(Some("of-tomorrow")).expect_err("unknown");
        assert!(error.to_string().contains("of-tomorrow"));
    }

    #[test]
    fn a_run_that_exhausts_a_pattern_is_still_cut() {
        let blanks = " ".repeat(3 << 20) + "x";
        for name in ["gpt-2", "llama-bpe", "qwen2", "gpt-4o", "deepseek-llm", "default"] {
            let words = Words::named(Some(name)).expect(name);
            assert_eq!(words.cut(&blanks).concat().len(), blanks.len(), "{name}");
        }
    }
}
