//! Money: whole numbers, no rounding anywhere between a price and a report.

use std::fmt;

use crate::config::{Price, Prices};

/// Parts of a millionth of the currency's unit, and millionths in one unit.
const MILLION: u128 = 1_000_000;

/// Tokens of one or of many exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of prompts and texts.
    pub input: u64,
    /// Of these, those that were in the cache.
    pub cached: u64,
    /// Of answers.
    pub output: u64,
}

/// An amount: millionths of a millionth of the currency's unit, so that one token at the smallest
/// price is a whole number of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u128);

impl Cost {
    /// What so many tokens cost.
    pub fn of(tokens: Tokens, prices: &Prices) -> Self {
        let price = |price: Option<Price>| u128::from(price.unwrap_or_default().micros());
        let cached = tokens.cached.min(tokens.input);
        let each = [
            (tokens.input - cached, prices.input),
            (cached, prices.cached_input.or(prices.input)),
            (tokens.output, prices.output),
        ];
        // Both factors have less than 64 bits.
        let parts = each.map(|(tokens, of)| u128::from(tokens) * price(of));
        Self(parts.into_iter().fold(0, u128::saturating_add))
    }

    /// The amount of whole millionths of a unit, and of parts of one.
    pub(super) fn from_parts(micro: u64, pico: u64) -> Self {
        Self(u128::from(micro) * MILLION + u128::from(pico))
    }

    /// Whole millionths of a unit, and what is left, below one. SQLite's integers have a sign.
    pub(super) fn parts(self) -> (i64, i64) {
        let whole = |part: u128| i64::try_from(part).unwrap_or(i64::MAX);
        (whole(self.0 / MILLION), whole(self.0 % MILLION))
    }

    /// As a number of units, for forms that have no exact ones: the nearest that there is.
    pub(crate) fn approximate(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::MAX)
    }
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

/// Units of the currency, with as many digits behind the point as there are.
impl fmt::Display for Cost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = MILLION * MILLION;
        let (units, rest) = (self.0 / unit, self.0 % unit);
        if rest == 0 {
            return write!(formatter, "{units}");
        }
        let digits = format!("{rest:012}");
        write!(formatter, "{units}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prices(input: &str, cached: Option<&str>, output: &str) -> Prices {
        let price = |text: &str| Price::parse(text).expect("a price");
        Prices {
            input: Some(price(input)),
            cached_input: cached.map(price),
            output: Some(price(output)),
        }
    }

    fn cost(input: u64, cached: u64, output: u64, prices: &Prices) -> String {
        Cost::of(Tokens { input, cached, output }, prices).to_string()
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let all = prices("0.50", Some("0.05"), "1.50");
        assert_eq!(cost(1_000_000, 0, 0, &all), "0.5");
        assert_eq!(cost(1_000_000, 1_000_000, 0, &all), "0.05");
        assert_eq!(cost(1_000_000, 400_000, 2_000_000, &all), "3.32");
        assert_eq!(cost(1, 0, 0, &all), "0.0000005");
        // Without a price of its own, what was cached costs what the rest does.
        assert_eq!(cost(1_000_000, 400_000, 0, &prices("0.50", None, "0")), "0.5");
        assert_eq!(cost(7, 3, 9, &Prices::default()), "0");
        // More cannot have been cached than there was.
        assert_eq!(cost(1, 5, 0, &all), "0.00000005");
    }

    #[test]
    fn the_smallest_and_the_largest_are_exact() {
        let smallest = prices("0.000001", None, "0");
        assert_eq!(cost(1, 0, 0, &smallest), "0.000000000001");
        assert_eq!(cost(3, 0, 0, &smallest), "0.000000000003");
        let largest = prices("1000000", Some("1000000"), "1000000");
        assert_eq!(cost(u64::MAX, 0, 0, &largest), "18446744073709551615");
        let all = Cost::of(Tokens { input: u64::MAX, cached: 0, output: u64::MAX }, &largest);
        assert_eq!(all.parts().0, i64::MAX, "what no column holds stays at the most");
    }

    proptest! {
        #[test]
        fn a_sum_of_costs_is_the_cost_of_the_sum(
            all in proptest::collection::vec((0_u64..100_000, 0_u64..100_000, 0_u64..100_000), 0..40),
        ) {
            let prices = prices("0.123457", Some("0.000003"), "7.000001");
            let (mut sum, mut tokens) = (Cost::default(), Tokens::default());
            for (fresh, cached, output) in all {
                let one = Tokens { input: fresh + cached, cached, output };
                sum += Cost::of(one, &prices);
                tokens.input += one.input;
                tokens.cached += one.cached;
                tokens.output += one.output;
            }
            prop_assert_eq!(sum, Cost::of(tokens, &prices));
            let (micro, pico) = sum.parts();
            prop_assert!((0..1_000_000).contains(&pico));
            let parts = (u64::try_from(micro).expect("none below 0"), u64::try_from(pico).expect("likewise"));
            prop_assert_eq!(Cost::from_parts(parts.0, parts.1), sum);
        }
    }
}
