//! The rotary embedding of a file: its base, how many elements turn, and how it was stretched.

use super::reader::Reader;
use crate::engine::error::LoadError;
use crate::engine::layers::{Rope, RopeKind, Stretch, YarnBorders};

/// Reads what the file says. `context` is what will be used: some models have other factors for
/// short contexts than for long ones.
pub(super) fn read(
    read: &Reader<'_>,
    (kind, borders): (RopeKind, YarnBorders),
    head_dim: usize,
    context: usize,
) -> Result<Rope, LoadError> {
    let base = base(read, "rope.freq_base")?.unwrap_or(BASE);
    let dimensions = dimensions(read, head_dim)?;
    let original = read.optional("rope.scaling.original_context_length", 1, 1 << 24)?;
    // A file that names no kind means the linear one.
    let stretch = match read.file.string(&read.key("rope.scaling.type"))? {
        Some("none" | "longrope") => Stretch::None,
        None | Some("linear") => factor(read)?.map_or(Stretch::None, Stretch::Linear),
        Some("yarn") => {
            let missing = || read.bad("rope.scaling.factor", "it is missing".into());
            let factor = factor(read)?.ok_or_else(missing)?;
            // As llama.cpp has it: a file that does not say it means its own context.
            let original = match original {
                Some(original) => original,
                None => read.number("context_length", 1, 1 << 24)?,
            };
            let fast = read.scale("rope.scaling.yarn_beta_fast")?.unwrap_or(YARN_FAST);
            let slow = read.scale("rope.scaling.yarn_beta_slow")?.unwrap_or(YARN_SLOW);
            Stretch::Yarn { factor, original, turns: (fast, slow), borders }
        }
        Some(other) => {
            let name: String = other.chars().filter(char::is_ascii_graphic).take(32).collect();
            return Err(LoadError::Unsupported(format!("the rope scaling \"{name}\"")));
        }
    };
    let is_long = original.is_some_and(|original| context > original);
    let by_context = if is_long { "rope_factors_long.weight" } else { "rope_factors_short.weight" };
    let factors = match factors(read, "rope_freqs.weight", dimensions)? {
        Some(factors) => Some(factors),
        None => factors(read, by_context, dimensions)?,
    };
    // On top of what the stretch multiplies with. Converters of OLMo 3 write that itself here, which it
    // is trained with once (`attention_factor` of its configuration).
    let is_own = |told: &f32| (told - stretch.attention()).abs() < 1e-4;
    let attention = read.scale("rope.scaling.attn_factor")?.filter(|told| !is_own(told));
    let rope = Rope::new(kind, base, dimensions, stretch).divided(factors.as_deref());
    Ok(rope.scaled(attention.unwrap_or(1.0)))
}

/// The embedding without a stretch, for layers with a window; with this base, or that of the others,
/// where the file does not say it.
pub(super) fn plain(
    read: &Reader<'_>,
    kind: RopeKind,
    head_dim: usize,
    own: Option<f32>,
) -> Result<Rope, LoadError> {
    let base = match (base(read, "rope.freq_base_swa")?, own) {
        (Some(base), _) | (None, Some(base)) => base,
        (None, None) => base(read, "rope.freq_base")?.unwrap_or(BASE),
    };
    Ok(Rope::new(kind, base, dimensions(read, head_dim)?, Stretch::None))
}

/// The base that stands under a key.
fn base(read: &Reader<'_>, name: &str) -> Result<Option<f32>, LoadError> {
    match read.file.f32(&read.key(name))? {
        Some(base) if !(1.0..=1e12).contains(&base) => {
            Err(read.bad(name, format!("{base} is not between 1 and 10^12")))
        }
        base => Ok(base),
    }
}

/// The base where a file does not say it (Su et al., 2021).
const BASE: f32 = 10_000.0;
/// Turns within the original context from which on a pair counts as fast, and as slow, where a file
/// does not say it (Peng et al., 2023).
const YARN_FAST: f32 = 32.0;
const YARN_SLOW: f32 = 1.0;

/// How many elements of a head turn.
fn dimensions(read: &Reader<'_>, head_dim: usize) -> Result<usize, LoadError> {
    let dimensions = read.optional("rope.dimension_count", 2, head_dim)?.unwrap_or(head_dim);
    if dimensions.is_multiple_of(2) {
        Ok(dimensions)
    } else {
        Err(read.bad("rope.dimension_count", format!("{dimensions} is odd")))
    }
}

/// By how much the positions were stretched; older files have another name for it.
fn factor(read: &Reader<'_>) -> Result<Option<f32>, LoadError> {
    match read.scale("rope.scaling.factor")? {
        Some(factor) => Ok(Some(factor)),
        None => read.scale("rope.scale_linear"),
    }
}

/// Divisors of the frequencies, which stand in a tensor.
fn factors(
    read: &Reader<'_>,
    name: &str,
    dimensions: usize,
) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(tensor) = read.file.tensor(name) else { return Ok(None) };
    let bad = |problem: &str| LoadError::Number { key: name.to_owned(), problem: problem.into() };
    if tensor.elements() != dimensions / 2 {
        return Err(bad("it does not have one factor for each pair"));
    }
    let factors = read.file.numbers(name)?;
    if factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
        Ok(Some(factors))
    } else {
        Err(bad("a factor is not a positive number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gguf::testing::Writer;

    fn rope(writer: &Writer) -> String {
        let file = writer.open().expect("a sound file");
        let read_from = Reader { file: &file, family: "llama" };
        let kind = (RopeKind::HalfSplit, YarnBorders::Whole);
        format!("{:?}", read(&read_from, kind, 64, 4_096).expect("a known rope"))
    }

    #[test]
    fn yarn_without_an_original_context_means_the_context_of_the_file() {
        let yarn = || {
            Writer::new()
                .u32("llama.context_length", 4_096)
                .string("llama.rope.scaling.type", "yarn")
                .f32("llama.rope.scaling.factor", 4.0)
        };
        let said = |original| yarn().u32("llama.rope.scaling.original_context_length", original);
        assert_eq!(rope(&yarn()), rope(&said(4_096)));
        assert_ne!(rope(&yarn()), rope(&said(1_024)));
    }

    #[test]
    fn what_a_file_says_of_yarn_is_taken() {
        let yarn = || {
            Writer::new()
                .u32("llama.context_length", 4_096)
                .string("llama.rope.scaling.type", "yarn")
                .f32("llama.rope.scaling.factor", 4.0)
        };
        let said = |fast, slow| {
            let writer = yarn().f32("llama.rope.scaling.yarn_beta_fast", fast);
            rope(&writer.f32("llama.rope.scaling.yarn_beta_slow", slow))
        };
        assert_eq!(said(32.0, 1.0), rope(&yarn()));
        assert_ne!(said(16.0, 1.0), rope(&yarn()));
        assert_ne!(said(32.0, 2.0), rope(&yarn()));
    }

    #[test]
    fn what_yarn_multiplies_with_is_not_multiplied_with_twice() {
        let stretched = |name| {
            Writer::new()
                .u32("llama.context_length", 4_096)
                .string("llama.rope.scaling.type", name)
                .f32("llama.rope.scaling.factor", 8.0)
        };
        let said = |name, told| rope(&stretched(name).f32("llama.rope.scaling.attn_factor", told));
        // Files of OLMo 3.
        assert_eq!(said("yarn", 1.207_944_2), rope(&stretched("yarn")));
        assert_eq!(said("yarn", 1.0), rope(&stretched("yarn")));
        for told in [0.5, 1.19, 1.4] {
            assert_ne!(said("yarn", told), rope(&stretched("yarn")), "{told}");
        }
        assert_ne!(said("linear", 1.207_944_2), rope(&stretched("linear")));
    }

    #[test]
    fn a_stretch_that_is_not_known_is_refused_by_its_name() {
        let writer = Writer::new().string("llama.rope.scaling.type", "dynamic\n");
        let file = writer.open().expect("a sound file");
        let read_from = Reader { file: &file, family: "llama" };
        let kind = (RopeKind::HalfSplit, YarnBorders::Whole);
        let error = read(&read_from, kind, 64, 4_096).expect_err("unknown").to_string();
        assert!(error.contains("the rope scaling \"dynamic\""), "{error}");
    }

    #[test]
    fn layers_with_a_window_take_the_base_of_the_file_before_that_of_the_family() {
        let base = |writer: &Writer, own| {
            let file = writer.open().expect("a sound file");
            let read_from = Reader { file: &file, family: "gemma3" };
            format!("{:?}", plain(&read_from, RopeKind::HalfSplit, 64, own).expect("known"))
        };
        let of = |base| format!("{:?}", Rope::new(RopeKind::HalfSplit, base, 64, Stretch::None));
        let global = Writer::new().f32("gemma3.rope.freq_base", 1e6);
        assert_eq!(base(&global, Some(1e4)), of(1e4));
        assert_eq!(base(&global, None), of(1e6));
        let both = global.f32("gemma3.rope.freq_base_swa", 2e4);
        assert_eq!(base(&both, Some(1e4)), of(2e4));
    }
}
