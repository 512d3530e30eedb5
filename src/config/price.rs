//! Prices of models, read without rounding.

use serde::Deserialize;

/// Millionths in one of anything.
const MILLION: u64 = 1_000_000;
/// The largest price, in units of the currency.
const UNITS_MAX: u64 = 1_000_000;
const DECIMALS_MAX: usize = 6;

/// What a million tokens cost, in millionths of the currency's unit. That is also what one token costs
/// in millionths of a millionth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Price(u64);

/// The prices of one model; what is absent costs nothing, and cached tokens what others of the prompt
/// do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub input: Option<Price>,
    pub cached_input: Option<Price>,
    pub output: Option<Price>,
}

/// Why a text is no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a price of a million tokens is written like \"0.50\": at most 1000000, with at most six digits behind the point"
)]
pub struct PriceError;

impl Price {
    /// Reads a decimal number.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str, most: usize| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(whole, 7) || !is_number(part, DECIMALS_MAX) {
            return Err(PriceError);
        }
        let whole: u64 = whole.parse().map_err(|_| PriceError)?;
        let part: u64 = format!("{part:0<DECIMALS_MAX$}").parse().map_err(|_| PriceError)?;
        let price = whole * MILLION + part;
        if price > UNITS_MAX * MILLION { Err(PriceError) } else { Ok(Self(price)) }
    }

    /// In millionths of the currency's unit for a million tokens.
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl TryFrom<String> for Price {
    type Error = PriceError;

    fn try_from(text: String) -> Result<Self, PriceError> {
        Self::parse(&text)
    }
}

/// Whether a currency may be called so: three letters (ISO 4217).
pub(super) fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_exactly() {
        for (text, micros) in [
            ("0", 0),
            ("0.5", 500_000),
            ("0.50", 500_000),
            ("0.000001", 1),
            ("0.1", 100_000),
            ("12.345678", 12_345_678),
            ("007", 7_000_000),
            ("1000000", 1_000_000_000_000),
            ("1000000.000000", 1_000_000_000_000),
        ] {
            assert_eq!(Price::parse(text).map(Price::micros), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "0.0000001",
            "1000000.000001",
            "99999999",
            " 1",
            "1 ",
            "0x1",
            "nan",
            "1.2.3",
            "\u{663}",
        ] {
            assert_eq!(Price::parse(text), Err(PriceError), "{text}");
        }
    }
}
