//! Which sizes are measured: what was asked for, as far as the model's context holds it.

use super::Asked;

/// Tokens of an answer that are timed.
const ANSWER: usize = 128;
/// Room in the cache for each stream beside its tokens: blocks are whole, and one more is kept back.
const SPARE_TOKENS: usize = 96;

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Tokens of the prompts, ascending.
    pub(super) prompts: Vec<usize>,
    /// Whether an answer after the longest prompt is timed.
    pub(super) is_deep: bool,
    /// How many answers at once, ascending.
    pub(super) streams: Vec<usize>,
    /// Tokens of an answer that are timed; one more comes before them.
    pub(super) answer: usize,
    /// What was asked for and is not measured, in words.
    pub(super) left_out: Vec<String>,
}

impl Plan {
    pub(super) fn new(asked: &Asked, context: usize) -> Self {
        let mut left_out = Vec::new();
        let answer = ANSWER.min(context / 2).max(1);
        if answer < ANSWER {
            left_out.push(format!(
                "answers have {answer} tokens instead of {ANSWER}: the context of the model is {context}"
            ));
        }
        // A prompt leaves room for a token at least.
        let (mut prompts, too_long): (Vec<usize>, Vec<usize>) =
            sorted(&asked.prompts).into_iter().partition(|tokens| *tokens < context);
        for tokens in too_long {
            left_out.push(format!(
                "a prompt of {tokens} tokens is left out: the context of the model is {context}"
            ));
        }
        if prompts.is_empty() {
            let longest = (context.max(2) - 1).ilog2();
            prompts.push(1 << longest);
        }
        let longest = prompts.last().copied().unwrap_or(1);
        let is_deep = longest + answer < context;
        if !is_deep {
            left_out.push(format!(
                "an answer after {longest} tokens is left out: the context of the model is {context}"
            ));
        }
        Self { prompts, is_deep, streams: sorted(&asked.streams), answer, left_out }
    }

    /// Answers at once, at most.
    pub(super) fn streams_max(&self) -> usize {
        self.streams.last().copied().unwrap_or(1)
    }

    /// Tokens that the cache is to hold at once.
    pub(super) fn cache_tokens(&self) -> usize {
        let deep = self.prompts.last().copied().unwrap_or(1) + self.answer + 1;
        let wide = self.streams_max().saturating_mul(self.answer + 2 + SPARE_TOKENS);
        wide.max(deep + SPARE_TOKENS)
    }
}

/// Ascending, each once, and no nought.
fn sorted(numbers: &[usize]) -> Vec<usize> {
    let mut sorted: Vec<usize> = numbers.iter().copied().filter(|number| *number > 0).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(prompts: &[usize], context: usize) -> Plan {
        let asked = Asked {
            prompts: prompts.to_vec(),
            streams: vec![8, 1, 0, 8],
            runs: 1,
            threads: 1,
            is_chance: false,
            kv_precision: crate::engine::KvPrecision::F16,
        };
        Plan::new(&asked, context)
    }

    #[test]
    fn what_the_context_holds_is_measured_as_it_was_asked_for() {
        let plan = plan(&[4_096, 512, 512], 8_192);
        assert_eq!((plan.prompts, plan.streams), (vec![512, 4_096], vec![1, 8]));
        assert_eq!((plan.answer, plan.is_deep), (128, true));
        assert_eq!(plan.left_out, Vec::<String>::new());
    }

    #[test]
    fn what_it_does_not_hold_is_left_out_and_said() {
        let check = |context, prompts: &[usize], is_deep, answer, notes: usize| {
            let plan = plan(&[512, 4_096], context);
            assert_eq!((&plan.prompts[..], plan.is_deep), (prompts, is_deep), "{context}");
            assert_eq!((plan.answer, plan.left_out.len()), (answer, notes), "{:?}", plan.left_out);
            let needed = plan.prompts.iter().max().expect("one") + 1;
            assert!(needed <= context.max(2) && plan.answer + 1 < context.max(3), "{context}");
        };
        check(4_225, &[512, 4_096], true, 128, 0);
        check(4_224, &[512, 4_096], false, 128, 1);
        check(4_096, &[512], true, 128, 1);
        check(600, &[512], false, 128, 2);
        // None of them fits: then the longest that does.
        check(512, &[256], true, 128, 2);
        check(100, &[64], false, 50, 4);
        check(64, &[32], false, 32, 4);
    }

    #[test]
    fn the_cache_holds_the_longest_and_the_widest() {
        let plan = plan(&[512], 8_192);
        assert!(plan.cache_tokens() >= 512 + 129 && plan.cache_tokens() >= 8 * 130);
    }
}
