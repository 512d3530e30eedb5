//! What computes: an encoder, or a decoder whose rows are taken before its head; and how the rows
//! of a text become one vector.

use candle_core::{Device, Result, Tensor, bail};

use super::EmbedInput;
use super::encoder::{Encoder, Rows};
use crate::engine::compute::{Compute, with_elements};
use crate::engine::decoder::weights::Weights;
use crate::engine::decoder::{Decoder, Step};
use crate::engine::error::LoadError;
use crate::engine::families::{self, DecoderSpec, EncoderSpec, Pooling};
use crate::engine::gguf::File;
use crate::engine::kv::{BlockTable, CacheShape, Pool};
use crate::engine::layers::Linear;
use crate::engine::{KvPrecision, LoadProgress};

/// The shape of the model in a file.
pub(super) enum Shape {
    Encoder(EncoderSpec),
    Decoder(DecoderSpec),
}

impl Shape {
    pub(super) fn read(
        file: &File,
        context_max: Option<usize>,
    ) -> std::result::Result<Self, LoadError> {
        match families::encoder_spec(file)? {
            Some(spec) => Ok(Self::Encoder(spec)),
            None => families::spec(file, context_max).map(Self::Decoder),
        }
    }

    /// The family, as GGUF calls it, the elements of a row, and the longest text.
    pub(super) fn describe(
        &self,
        file: &File,
    ) -> std::result::Result<(String, usize, usize), LoadError> {
        match self {
            Self::Encoder(spec) => Ok((spec.family.to_owned(), spec.width, spec.context)),
            Self::Decoder(spec) => {
                Ok((families::family_of(file)?.to_owned(), spec.width, spec.context))
            }
        }
    }

    /// Bytes for the rows of a step, about: the parts of a layer and what they are made from.
    pub(super) fn working_bytes(&self, rows: usize) -> usize {
        let (width, hidden) = match self {
            Self::Encoder(spec) => (spec.width, spec.hidden),
            Self::Decoder(spec) => (spec.width, spec.hidden),
        };
        rows.saturating_mul((8 * width + 3 * hidden) * size_of::<f32>())
    }

    /// What keys and values take while a text is read.
    pub(super) fn cache(&self, precision: KvPrecision) -> CacheShape {
        match self {
            Self::Encoder(spec) => spec.cache_shape(),
            Self::Decoder(spec) => spec.cache_shape(precision),
        }
    }
}

/// A loaded model.
pub(super) struct Network {
    body: Body,
    head: Head,
    width: usize,
}

enum Body {
    Encoder(Box<Encoder>),
    Decoder(Box<Decoder>),
}

/// What is made of the rows.
enum Head {
    Mean,
    First,
    Last,
    /// `out(tanh(dense(first row)))`, or `out(first row)`
    Rank {
        dense: Option<Linear>,
        out: Linear,
    },
}

impl Network {
    pub(super) fn load(
        file: &File,
        shape: Shape,
        pooling: Pooling,
        vocabulary: usize,
        progress: &LoadProgress,
    ) -> std::result::Result<Self, LoadError> {
        match shape {
            Shape::Encoder(spec) => {
                let read = Weights::new(file, progress);
                let width = spec.width;
                let encoder = Encoder::load(&read, file, spec, vocabulary)?;
                let body = Body::Encoder(Box::new(encoder));
                let head = match pooling {
                    Pooling::Mean => Head::Mean,
                    Pooling::First => Head::First,
                    Pooling::Last => Head::Last,
                    Pooling::Rank => rank(&read, width)?,
                };
                read.check_all_taken()?;
                file.check_unchanged()?;
                Ok(Self { body, head, width })
            }
            Shape::Decoder(spec) => {
                let head = match pooling {
                    Pooling::Mean => Head::Mean,
                    Pooling::First => Head::First,
                    Pooling::Last => Head::Last,
                    Pooling::Rank => {
                        let what = "a decoder that judges pairs of texts";
                        return Err(LoadError::Unsupported(what.into()));
                    }
                };
                let width = spec.width;
                let decoder = Decoder::load(file, spec, vocabulary, Compute::Host, progress)?;
                Ok(Self { body: Body::Decoder(Box::new(decoder)), head, width })
            }
        }
    }

    /// Reads texts and gives a vector of length 1 for each, or a judgement. What a text gets does
    /// not depend on the others. `chunk` bounds the rows that a decoder takes at once. None of them
    /// may be empty, and all together fit into the cache.
    pub(super) fn run(
        &self,
        texts: &[&EmbedInput],
        chunk: usize,
        cache: &mut Pool,
    ) -> Result<Vec<Vec<f32>>> {
        let mut tables = Vec::with_capacity(texts.len());
        for text in texts {
            let mut table = BlockTable::default();
            if text.tokens.is_empty() || !cache.grow(&mut table, 0, text.tokens.len()) {
                bail!("no room for a text of {} tokens", text.tokens.len());
            }
            tables.push(table);
        }
        let made = match &self.body {
            Body::Encoder(encoder) => {
                let rows = encoder.forward(texts, &tables, cache)?;
                let mut pools: Vec<Pooled> =
                    texts.iter().map(|_| Pooled::new(self.width)).collect();
                let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
                with_elements(&rows, |all| {
                    let mut rows = all.chunks_exact(self.width);
                    for (pool, length) in pools.iter_mut().zip(&lengths) {
                        rows.by_ref().take(*length).for_each(|row| pool.push(row, &self.head));
                    }
                })?;
                pools
            }
            Body::Decoder(decoder) => self.decode(decoder, texts, &tables, chunk, cache)?,
        };
        for table in &mut tables {
            cache.release(table);
        }
        self.finish(made)
    }

    /// Reads texts in steps of at most `chunk` rows.
    fn decode(
        &self,
        decoder: &Decoder,
        texts: &[&EmbedInput],
        tables: &[BlockTable],
        chunk: usize,
        cache: &mut Pool,
    ) -> Result<Vec<Pooled>> {
        let mut pools: Vec<Pooled> = texts.iter().map(|_| Pooled::new(self.width)).collect();
        let all = Rows::new(texts, tables);
        let tokens: Vec<u32> = texts.iter().flat_map(|text| text.tokens.iter().copied()).collect();
        let of_row: Vec<usize> = all
            .runs
            .iter()
            .enumerate()
            .flat_map(|(at, run)| run.rows.clone().map(move |_| at))
            .collect();
        for first in (0..tokens.len()).step_by(chunk.max(1)) {
            let end = tokens.len().min(first + chunk.max(1));
            let mut step = Step::default();
            for run in &all.runs {
                let (from, to) = (run.rows.start.max(first), run.rows.end.min(end));
                if from >= to {
                    continue;
                }
                let wants = |position: usize| match self.head {
                    Head::Mean => true,
                    Head::First | Head::Rank { .. } => position == 0,
                    Head::Last => position + 1 == run.rows.len(),
                };
                let rows = tokens[from..to].iter().copied();
                step.push(from - run.rows.start, rows, run.blocks, wants);
            }
            let Some(hidden) = decoder.hidden(&step, cache)? else { continue };
            with_elements(&hidden, |all| {
                for (row, hidden) in step.wanted.iter().zip(all.chunks_exact(self.width)) {
                    pools[of_row[first + *row as usize]].push(hidden, &self.head);
                }
            })?;
        }
        Ok(pools)
    }

    /// Vectors of length 1, or judgements.
    fn finish(&self, pools: Vec<Pooled>) -> Result<Vec<Vec<f32>>> {
        let vectors: Vec<Vec<f32>> =
            pools.into_iter().map(|pool| pool.finish(&self.head)).collect();
        let Head::Rank { dense, out } = &self.head else {
            return Ok(vectors.into_iter().map(normalised).collect());
        };
        let count = vectors.len();
        let flat: Vec<f32> = vectors.into_iter().flatten().collect();
        let mut rows = Tensor::from_vec(flat, (count, self.width), &Device::Cpu)?;
        if let Some(dense) = dense {
            rows = dense.forward(&rows)?.tanh()?;
        }
        out.forward(&rows)?.to_vec2::<f32>()
    }
}

fn rank(read: &Weights<'_>, width: usize) -> std::result::Result<Head, LoadError> {
    if !read.has("cls.output.weight") {
        let what = "a head of another shape than `cls.output`, to judge pairs of texts";
        return Err(LoadError::Unsupported(what.into()));
    }
    let has_dense = read.has("cls.weight");
    let dense = has_dense.then(|| read.matrix("cls", width, width)).transpose()?;
    Ok(Head::Rank { dense, out: read.matrix("cls.output", 1, width)? })
}

/// The rows of one text on the way to one vector.
struct Pooled {
    vector: Vec<f32>,
    count: usize,
}

impl Pooled {
    fn new(width: usize) -> Self {
        Self { vector: vec![0.0; width], count: 0 }
    }

    /// Takes the next row.
    fn push(&mut self, row: &[f32], head: &Head) {
        match head {
            Head::Mean => self.vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x),
            Head::First | Head::Rank { .. } if self.count > 0 => {}
            Head::First | Head::Rank { .. } | Head::Last => self.vector.copy_from_slice(row),
        }
        self.count += 1;
    }

    fn finish(mut self, head: &Head) -> Vec<f32> {
        if matches!(head, Head::Mean) {
            let share = (self.count.max(1) as f32).recip();
            for x in &mut self.vector {
                *x *= share;
            }
        }
        self.vector
    }
}

/// The same direction, of length 1.
pub(super) fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let squares: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    if squares > 0.0 {
        let scale = squares.sqrt().recip() as f32;
        for x in &mut vector {
            *x *= scale;
        }
    }
    vector
}
