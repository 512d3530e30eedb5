//! What the layers of a file have of their own: which see a window of the rows before them alone, and
//! which turn queries and keys, by which rotary embedding.

use super::reader::Reader;
use super::{Family, LayerSpec, Unturned, Windows};
use crate::engine::error::LoadError;

/// The layers, so many of them. `ropes` is how many rotary embeddings there are: the last is that of
/// layers with a window.
pub(super) fn read(
    read: &Reader<'_>,
    family: &Family,
    count: usize,
    ropes: usize,
) -> Result<Vec<LayerSpec>, LoadError> {
    let windows = windows(read, family, count)?;
    let may_turn = match family.unturned {
        Unturned::WhereToldSo => read.truth("rope.scaling.finetuned")?.unwrap_or(true),
        Unturned::None | Unturned::Every(_) | Unturned::WithoutWindow => true,
    };
    let layer = |(number, window): (usize, Option<usize>)| {
        let turns = match family.unturned {
            Unturned::None => true,
            Unturned::Every(every) => number % every != 0,
            Unturned::WithoutWindow => window.is_some(),
            Unturned::WhereToldSo => may_turn,
        };
        let rope = if window.is_some() { ropes - 1 } else { 0 };
        LayerSpec { rope: turns.then_some(rope), window }
    };
    Ok((1..).zip(windows).map(layer).collect())
}

/// The window of each layer.
fn windows(
    read: &Reader<'_>,
    family: &Family,
    count: usize,
) -> Result<Vec<Option<usize>>, LoadError> {
    let told = read.optional("attention.sliding_window", 0, 1 << 24)?;
    let size = told.or(family.window).filter(|size| *size > 0);
    let every = match family.windows {
        Windows::None => None,
        Windows::All => Some(0),
        Windows::AllButEvery(every) => Some(every),
    };
    let (Some(size), Some(every)) = (size, every) else { return Ok(vec![None; count]) };
    let has = match read.truths(PATTERN)? {
        Some(told) if told.len() == count => told,
        Some(told) => {
            let problem = format!("it is about {} layers, and there are {count}", told.len());
            return Err(read.bad(PATTERN, problem));
        }
        None => {
            let every = read.optional(PATTERN, 0, 512)?.unwrap_or(every);
            (1..=count).map(|number| every == 0 || number % every != 0).collect()
        }
    };
    Ok(has.into_iter().map(|has| has.then_some(size)).collect())
}

/// Which layers have a window: so many of which one has none, or true and false for each.
const PATTERN: &str = "attention.sliding_window_pattern";

#[cfg(test)]
mod tests {
    use super::super::spec;
    use super::*;
    use crate::engine::gguf::testing::Writer;

    fn file(family: &str, layers: u32) -> Writer {
        let key = |name: &str| format!("{family}.{name}");
        Writer::new()
            .string("general.architecture", family)
            .u32(&key("embedding_length"), 64)
            .u32(&key("attention.head_count"), 4)
            .u32(&key("block_count"), layers)
            .u32(&key("context_length"), 512)
            .u32(&key("feed_forward_length"), 96)
            .f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)
            .f32(&key("attention.layer_norm_epsilon"), 1e-6)
    }

    /// Each layer in two letters: its rotary embedding, and whether it has a window.
    fn told(writer: &Writer) -> String {
        let found = spec(&writer.open().expect("a sound file"), None).expect("a known shape");
        let rope = |layer: &LayerSpec| layer.rope.map_or('-', |rope| ['0', '1'][rope]);
        let window = |layer: &LayerSpec| if layer.window == Some(8) { 'w' } else { 'g' };
        let both = found.layers.iter().map(|layer| [rope(layer), window(layer)]);
        both.flatten().collect()
    }

    #[test]
    fn layers_have_windows_and_turn_as_their_family_does() {
        let check = |family: &str, expected: &str| {
            let layers = (expected.len() / 2) as u32;
            let key = format!("{family}.attention.sliding_window");
            assert_eq!(told(&file(family, layers).u32(&key, 8)), expected, "{family}");
        };
        check("llama", "0g0g");
        check("qwen3", "0g0g");
        check("phi3", "0w0w");
        check("gemma2", "0w0g0w0g");
        check("gpt-oss", "0w0g0w0g");
        check("gemma3", "1w1w1w1w1w0g1w");
        check("olmo2", "1w1w1w0g1w");
        check("cohere2", "0w0w0w-g0w");
        check("smollm3", "0g0g0g-g0g");
    }

    #[test]
    fn a_file_that_says_no_window_has_none_unless_its_family_always_has_one() {
        let windows = |writer: &Writer| {
            let found = spec(&writer.open().expect("a sound file"), None).expect("a known shape");
            found.layers.iter().map(|layer| layer.window).collect::<Vec<_>>()
        };
        assert_eq!(windows(&file("gemma2", 2)), [Some(4_096), None]);
        let zero = file("gemma2", 2).u32("gemma2.attention.sliding_window", 0);
        assert_eq!(windows(&zero), [None, None]);
        for family in ["phi3", "gemma3", "olmo2"] {
            assert_eq!(windows(&file(family, 2)), [None, None], "{family}");
        }
    }

    #[test]
    fn a_pattern_in_the_file_stands_before_that_of_the_family() {
        let with =
            |family: &str| file(family, 4).u32(&format!("{family}.attention.sliding_window"), 8);
        let numbered = |family: &str, every| {
            told(&with(family).u32(&format!("{family}.attention.sliding_window_pattern"), every))
        };
        assert_eq!(numbered("gemma3", 2), "1w0g1w0g");
        assert_eq!(numbered("gemma3", 1), "0g0g0g0g");
        assert_eq!(numbered("olmo2", 0), "1w1w1w1w");
        assert_eq!(numbered("cohere2", 3), "0w0w-g0w");
        // A list of true and false, as converters of OLMo 3 write it.
        let listed = |values: &[u8]| {
            let mut raw = 7_u32.to_le_bytes().to_vec();
            raw.extend((values.len() as u64).to_le_bytes());
            raw.extend(values);
            with("olmo2").raw("olmo2.attention.sliding_window_pattern", 9, &raw)
        };
        assert_eq!(told(&listed(&[1, 0, 0, 1])), "1w0g0g1w");
        let short = listed(&[1, 0, 1]).open().expect("a sound file");
        let error = spec(&short, None).expect_err("one is missing").to_string();
        assert!(error.contains("about 3 layers, and there are 4"), "{error}");
    }

    #[test]
    fn a_file_of_granite_says_where_nothing_turns() {
        let says = |turns| told(&file("granite", 2).bool("granite.rope.scaling.finetuned", turns));
        assert_eq!((says(true).as_str(), says(false).as_str()), ("0g0g", "-g-g"));
        assert_eq!(told(&file("granite", 1)), "0g");
        // Others have the key without that meaning.
        assert_eq!(told(&file("llama", 1).bool("llama.rope.scaling.finetuned", false)), "0g");
    }
}
