//! Numbers of one family, within bounds.

use super::Experts;
use crate::engine::error::LoadError;
use crate::engine::gguf::{File, GgufError};
use crate::engine::layers::NormKind;

/// Reads the keys of a family from its file.
pub(super) struct Reader<'a> {
    pub(super) file: &'a File,
    pub(super) family: &'static str,
}

impl Reader<'_> {
    /// The whole name of a key.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family)
    }

    /// An error about a key.
    pub(super) fn bad(&self, name: &str, problem: String) -> LoadError {
        LoadError::Number { key: self.key(name), problem }
    }

    /// A whole number, if it is there.
    pub(super) fn optional(
        &self,
        name: &str,
        least: usize,
        most: usize,
    ) -> Result<Option<usize>, LoadError> {
        let Some(value) = self.whole(name)? else { return Ok(None) };
        let value = value as usize;
        if (least..=most).contains(&value) {
            Ok(Some(value))
        } else {
            Err(self.bad(name, format!("{value} is not between {least} and {most}")))
        }
    }

    /// A whole number, or a list with the same one for each layer, as some converters write it.
    fn whole(&self, name: &str) -> Result<Option<u32>, LoadError> {
        let key = self.key(name);
        self.file.u32(&key).or_else(|error| match self.file.u32s(&key).ok().flatten().as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|one| one == first) => Ok(Some(*first)),
            _ => Err(error.into()),
        })
    }

    /// A whole number that has to be there.
    pub(super) fn number(&self, name: &str, least: usize, most: usize) -> Result<usize, LoadError> {
        self.optional(name, least, most)?.ok_or_else(|| self.bad(name, "it is missing".into()))
    }

    /// A factor, if it is there: a positive number of a size that makes sense.
    pub(super) fn scale(&self, name: &str) -> Result<Option<f32>, LoadError> {
        match self.file.f32(&self.key(name))? {
            Some(scale) if (1e-6..=1e6).contains(&scale) => Ok(Some(scale)),
            // Written by some converters for what is not used.
            Some(0.0) | None => Ok(None),
            Some(scale) => Err(self.bad(name, format!("{scale} makes no sense"))),
        }
    }

    /// True or false, if it is there.
    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, LoadError> {
        Ok(self.file.bool(&self.key(name))?)
    }

    /// True and false for each layer, if the key is there and no number.
    pub(super) fn truths(&self, name: &str) -> Result<Option<Vec<bool>>, LoadError> {
        // A number is another way to say it, which the caller reads.
        Ok(self.file.bools(&self.key(name)).or_else(|error| match error {
            GgufError::KeyType { .. } if self.file.u32(&self.key(name)).is_ok() => Ok(None),
            error => Err(error),
        })?)
    }

    /// Refuses a file that asks for mathematics that no family here has: without it the model would
    /// answer, and wrongly.
    pub(super) fn refuse_what_is_not_built(&self) -> Result<(), LoadError> {
        for (name, neutral) in NOT_BUILT {
            let key = self.key(name);
            let value = match self.file.u32(&key) {
                Ok(value) => value.map(|value| value as f32),
                Err(_) => self.file.f32(&key)?,
            };
            if let Some(value) = value.filter(|value| !neutral.contains(value)) {
                return Err(LoadError::Unsupported(format!("{key} = {value}")));
            }
        }
        Ok(())
    }

    /// The width, the heads of queries and of keys, and the elements of a head.
    pub(super) fn heads(&self) -> Result<(usize, usize, usize, usize), LoadError> {
        let width = self.number("embedding_length", 1, 65_536)?;
        let heads = self.number("attention.head_count", 1, 1_024)?;
        let kv_heads = self.optional("attention.head_count_kv", 1, heads)?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            let problem = format!("{heads} heads cannot share {kv_heads}");
            return Err(self.bad("attention.head_count_kv", problem));
        }
        let head_dim = match self.optional("attention.key_length", 2, 1_024)? {
            Some(length) => length,
            None if width % heads == 0 => width / heads,
            None => {
                let problem = format!("a width of {width} cannot be divided among {heads} heads");
                return Err(self.bad("attention.head_count", problem));
            }
        };
        if !head_dim.is_multiple_of(2) || head_dim > 1_024 {
            let problem = format!("{head_dim} is not an even number up to 1024");
            return Err(self.bad("attention.key_length", problem));
        }
        let value = self.optional("attention.value_length", 2, 1_024)?;
        if value.is_some_and(|length| length != head_dim) {
            return Err(LoadError::Unsupported("values of another length than keys".into()));
        }
        Ok((width, heads, kv_heads, head_dim))
    }

    /// The epsilon of the norms.
    pub(super) fn epsilon(&self, norm: NormKind) -> Result<f32, LoadError> {
        let name = match norm {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        };
        let epsilon = self.file.required_f32(&self.key(name))?;
        if (0.0..=0.1).contains(&epsilon) {
            Ok(epsilon)
        } else {
            Err(self.bad(name, format!("{epsilon} is not between 0 and 0.1")))
        }
    }

    /// The mixture of experts, where the file has one.
    pub(super) fn experts(&self, are_known: bool) -> Result<Option<Experts>, LoadError> {
        let count = self.optional("expert_count", 0, 4_096)?.unwrap_or(0);
        if count == 0 {
            return Ok(None);
        }
        if !are_known {
            return Err(LoadError::Unsupported("a mixture of experts in this family".into()));
        }
        let used = self.number("expert_used_count", 1, count)?;
        let hidden = match self.optional("expert_feed_forward_length", 1, 1 << 20)? {
            Some(hidden) => hidden,
            None => self.number("feed_forward_length", 1, 1 << 20)?,
        };
        Ok(Some(Experts { count, used, hidden }))
    }
}

/// Keys that llama.cpp knows for other families, with the values that change nothing.
const NOT_BUILT: [(&str, &[f32]); 10] = [
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("rope.scaling.alpha", &[0.0]),
    ("rope.scaling.yarn_ext_factor", &[1.0, -1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
    ("expert_shared_count", &[0.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    ("leading_dense_block_count", &[0.0]),
    ("nextn_predict_layers", &[0.0]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gguf::testing::Writer;

    fn refused(writer: &Writer) -> Option<String> {
        let file = writer.open().expect("a sound file");
        let read = Reader { file: &file, family: "qwen3moe" };
        read.refuse_what_is_not_built().err().map(|error| error.to_string())
    }

    #[test]
    fn a_number_for_each_layer_is_taken_where_all_have_the_same() {
        let read = |values: &[i32]| {
            let file = Writer::new().i32s("granite.attention.head_count_kv", values).open();
            let file = file.expect("a sound file");
            Reader { file: &file, family: "granite" }.optional("attention.head_count_kv", 1, 64)
        };
        assert_eq!(read(&[8, 8, 8]).expect("one number"), Some(8));
        for values in [&[8, 8, 4][..], &[-8, -8], &[]] {
            let error = read(values).expect_err("no number").to_string();
            assert!(error.contains("should be a whole number below 2^32"), "{error}");
        }
    }

    #[test]
    fn mathematics_that_is_not_built_is_refused_by_its_key() {
        assert_eq!(refused(&Writer::new()), None);
        let none = Writer::new()
            .u32("qwen3moe.expert_shared_count", 0)
            .f32("qwen3moe.expert_weights_scale", 1.0)
            .f32("qwen3moe.rope.scaling.yarn_ext_factor", 1.0);
        assert_eq!(refused(&none), None);
        // Of another family, and so without a meaning.
        assert_eq!(refused(&Writer::new().u32("glm4moe.nextn_predict_layers", 1)), None);
        for (writer, key) in [
            (Writer::new().u32("qwen3moe.expert_shared_count", 1), "expert_shared_count = 1"),
            (Writer::new().f32("qwen3moe.expert_weights_scale", 2.5), "weights_scale = 2.5"),
            (Writer::new().f32("qwen3moe.attention.clamp_kqv", 8.0), "clamp_kqv = 8"),
        ] {
            let said = refused(&writer).expect("is refused");
            assert!(said.contains(key) && said.contains("not supported"), "{said}");
        }
        assert!(refused(&Writer::new().string("qwen3moe.expert_shared_count", "x")).is_some());
    }
}
