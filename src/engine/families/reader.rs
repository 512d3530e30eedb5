//! Numbers of one family, within bounds.

use super::Experts;
use crate::engine::error::LoadError;
use crate::engine::gguf::File;
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
        let Some(value) = self.file.u32(&self.key(name))? else { return Ok(None) };
        let value = value as usize;
        if (least..=most).contains(&value) {
            Ok(Some(value))
        } else {
            Err(self.bad(name, format!("{value} is not between {least} and {most}")))
        }
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
