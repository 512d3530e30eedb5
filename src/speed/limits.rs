//! What a machine could give at most: no program can be faster that reads these bytes and does these
//! products once for each token.

use std::io;

use crate::engine::{Cost, multiply_rate, read_rate};

/// What the machine gives to all threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Bytes of memory read in a second.
    pub(super) read: f64,
    /// Products and sums of bytes in a second.
    pub(super) multiply: f64,
    /// The instructions that do them.
    pub(super) instructions: &'static str,
}

impl Limits {
    /// Measures it, with so much memory. An error where the system does not give the threads.
    pub(super) fn of_machine(threads: usize, bytes: usize) -> io::Result<Self> {
        let (multiply, instructions) = multiply_rate(threads)?;
        Ok(Self { read: read_rate(threads, bytes)?, multiply, instructions })
    }

    /// Tokens of a prompt in a second: many tokens share the weights that are read, so the products of
    /// the layers are what it takes. Attention, norms and the head come on top: the longer the prompt,
    /// the farther below this it stays.
    pub(super) fn prompt(&self, cost: &Cost) -> f64 {
        self.multiply / (2.0 * cost.prompt_weights())
    }

    /// Tokens of answers in a second, of all streams together. A step makes one for each stream. It reads
    /// the weights once for all of them and the cache of each, and does the products of each; it takes
    /// at least as long as the longer of the two. With few streams that is the reading, with many the
    /// products. `context`: tokens that stand before, on average.
    pub(super) fn answer(&self, cost: &Cost, context: usize, streams: usize) -> f64 {
        let count = streams as f64;
        let read = (cost.step_bytes(streams) + count * cost.cache_bytes(context)) / self.read;
        let multiply = count * 2.0 * cost.answer_weights() / self.multiply;
        count / read.max(multiply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{KvPrecision, Weights};

    fn cost(name: &str) -> Cost {
        let path = crate::testing::root().join(format!("tests/engine/golden/{name}.gguf"));
        Cost::of(Weights::File(path), KvPrecision::F16).expect("a sound file").expect("it writes")
    }

    const LIMITS: Limits = Limits { read: 1e9, multiply: 1e11, instructions: "" };

    #[test]
    fn a_prompt_is_bounded_by_products() {
        let cost = cost("llama");
        let twice = Limits { multiply: 2e11, ..LIMITS };
        assert_eq!(twice.prompt(&cost), 2.0 * LIMITS.prompt(&cost));
        assert_eq!(Limits { read: 1.0, ..LIMITS }.prompt(&cost), LIMITS.prompt(&cost));
    }

    #[test]
    fn one_answer_is_bounded_by_reading_and_a_crowd_by_products() {
        let cost = cost("llama");
        let one = LIMITS.answer(&cost, 0, 1);
        assert!((one - 1e9 / cost.step_bytes(1)).abs() < 1e-6 * one);
        assert!((LIMITS.answer(&cost, 0, 2) - 2.0 * one).abs() < 1e-6 * one, "weights are shared");
        assert!(LIMITS.answer(&cost, 400, 1) < one, "the cache is read too");
        let crowd = LIMITS.answer(&cost, 0, 100_000);
        assert!((crowd - 1e11 / (2.0 * cost.answer_weights())).abs() < 1e-6 * crowd);
    }

    #[test]
    fn this_machine_gives_something() {
        let limits = Limits::of_machine(1, 1 << 20).expect("a thread");
        assert!(limits.read > 0.0 && limits.multiply > 0.0, "{limits:?}");
    }
}
