//! Values as Python writes them: `str`, `repr`, and numbers as `json.dumps` has them.

use std::fmt::Write as _;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use super::guard::MARK;

/// A value as `str` writes it, which is how Jinja prints it.
pub(super) fn str(state: &State, value: &Value) -> Result<String, Error> {
    let mut out = Printed(String::new());
    let done = match value.as_str() {
        Some(text) => out.write_str(text).map_err(too_long),
        None if value.is_undefined() => Ok(()),
        None => out.repr(state, value, 0),
    };
    state.consume_fuel(out.0.len() as u64 / 64)?;
    done.map(|()| out.0)
}

/// A number as `repr` and `json.dumps` write it.
pub(super) fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => self::float(float),
        _ => value.to_string(),
    }
}

/// The shortest digits that read as the same number; with an exponent where the point would stand
/// more than 16 digits behind the first, or more than 4 before (Python's `float_repr_style`).
fn float(float: f64) -> String {
    if !float.is_finite() {
        let sign = if float.is_sign_negative() && !float.is_nan() { "-" } else { "" };
        return format!("{sign}{}", if float.is_nan() { "nan" } else { "inf" });
    }
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        exponent @ -4..16 => match format!("{float}") {
            whole if exponent >= 0 && !whole.contains('.') => format!("{whole}.0"),
            text if !text.contains('.') => format!("{text}.0"),
            text => text,
        },
        exponent if exponent < 0 => format!("{digits}e-{:02}", -exponent),
        exponent => format!("{digits}e+{exponent:02}"),
    }
}

/// A text with a limit. A list can hold itself twice, and that list itself twice: its text doubles
/// each time while its memory does not, so fuel sees it too late.
struct Printed(String);

impl std::fmt::Write for Printed {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if self.0.len() + text.len() > PRINTED_BYTES_MAX {
            return Err(std::fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn too_long(_: std::fmt::Error) -> Error {
    Error::new(ErrorKind::OutOfFuel, "a value is too long to print")
}

impl Printed {
    fn repr(&mut self, state: &State, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "recursion limit of printing"));
        }
        match value.kind() {
            ValueKind::Undefined => self.write_str("Undefined").map_err(too_long),
            ValueKind::None => self.write_str("None").map_err(too_long),
            ValueKind::Bool => {
                self.write_str(if value.is_true() { "True" } else { "False" }).map_err(too_long)
            }
            ValueKind::Number => self.write_str(&number(value)).map_err(too_long),
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()).map_err(too_long),
            ValueKind::Seq | ValueKind::Iterable => self.list(state, value, depth),
            ValueKind::Map => self.map(state, value, depth),
            _ => write!(self, "{value}").map_err(too_long),
        }
    }

    fn list(&mut self, state: &State, value: &Value, depth: usize) -> Result<(), Error> {
        // A tuple has its own brackets, and minijinja knows which lists are tuples.
        let is_tuple = value.is_tuple();
        self.write_str(if is_tuple { "(" } else { "[" }).map_err(too_long)?;
        let mut count = 0;
        for item in value.try_iter()? {
            state.consume_fuel(1)?;
            if count > 0 {
                self.write_str(", ").map_err(too_long)?;
            }
            self.repr(state, &item, depth + 1)?;
            count += 1;
        }
        let end = match (is_tuple, count) {
            (false, _) => "]",
            (true, 1) => ",)",
            (true, _) => ")",
        };
        self.write_str(end).map_err(too_long)
    }

    fn map(&mut self, state: &State, value: &Value, depth: usize) -> Result<(), Error> {
        self.write_str("{").map_err(too_long)?;
        for (count, key) in value.try_iter()?.enumerate() {
            state.consume_fuel(1)?;
            if count > 0 {
                self.write_str(", ").map_err(too_long)?;
            }
            self.repr(state, &key, depth + 1)?;
            self.write_str(": ").map_err(too_long)?;
            self.repr(state, &value.get_item(&key)?, depth + 1)?;
        }
        self.write_str("}").map_err(too_long)
    }

    /// In single quotes, unless only single quotes stand inside; what cannot be seen is escaped.
    fn quoted(&mut self, text: &str) -> std::fmt::Result {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        self.write_char(quote)?;
        for c in text.chars() {
            match c {
                '\\' => self.write_str("\\\\")?,
                '\n' => self.write_str("\\n")?,
                '\r' => self.write_str("\\r")?,
                '\t' => self.write_str("\\t")?,
                c if c == quote => write!(self, "\\{c}")?,
                // Not the caller's: the guard takes it out again.
                MARK => self.write_char(c)?,
                c if is_printable(c) => self.write_char(c)?,
                c => match u32::from(c) {
                    code @ ..0x100 => write!(self, "\\x{code:02x}")?,
                    code @ ..0x1_0000 => write!(self, "\\u{code:04x}")?,
                    code => write!(self, "\\U{code:08x}")?,
                },
            }
        }
        self.write_char(quote)
    }
}

/// `str.isspace` of one character: the white space of Unicode, and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.isprintable` of one character.
fn is_printable(c: char) -> bool {
    use GeneralCategory::{
        Control, Format, LineSeparator, ParagraphSeparator, PrivateUse, SpaceSeparator, Surrogate,
        Unassigned,
    };
    c == ' '
        || !matches!(
            c.general_category(),
            Control
                | Format
                | LineSeparator
                | ParagraphSeparator
                | PrivateUse
                | SpaceSeparator
                | Surrogate
                | Unassigned
        )
}

/// The longest text of a list or map.
const PRINTED_BYTES_MAX: usize = 4 << 20;
/// Nesting of what is printed; published templates stay below 10.
const DEPTH_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_those_of_python() {
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e22, "1.5e+22"),
            (123_456_789.125, "123456789.125"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), expected);
        }
    }
}
