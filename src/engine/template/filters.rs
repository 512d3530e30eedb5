//! The functions and filters that chat templates expect beside Jinja's own: those of transformers.

use std::borrow::Cow;
use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::guard::MARK;
use super::python;

/// A template's own refusal of a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refusal(pub(super) String);

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function("raise_exception", |reason: &str| -> Result<Value, Error> {
        let error = Error::new(ErrorKind::InvalidOperation, "the template refuses");
        Err(error.with_source(Refusal(reason.to_owned())))
    });
    environment.add_filter("tojson", tojson);
    environment.add_filter("string", |state: &State, value: &Value| match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => python::str(state, value).map(Value::from),
    });
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("trim", |state: &State, value: &Value, chars: Option<&str>| {
        let text = match value.as_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(python::str(state, value)?),
        };
        let inner = match chars {
            Some(chars) => text.trim_matches(|c| chars.contains(c)),
            None => text.trim_matches(python::is_space),
        };
        let is_safe = value.is_safe();
        let inner = inner.to_owned();
        Ok::<_, Error>(if is_safe { Value::from_safe_string(inner) } else { Value::from(inner) })
    });
    environment.add_test("iterable", |value: &Value| {
        value.is_undefined() || (!value.is_none() && value.try_iter().is_ok())
    });
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::String | ValueKind::Undefined => minijinja::escape_formatter(out, state, value),
        _ => out.write_str(&python::str(state, value)?).map_err(Error::from),
    });
}

/// Jinja's `int`: what is no number gives the default, not an error.
fn int(value: &Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default =
        default.map_or_else(|| options.get::<Option<Value>>("default"), |d| Ok(Some(d)))?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base: u32 = options.get::<Option<u32>>("base")?.unwrap_or(10);
    options.assert_all_used()?;
    let whole = |float: f64| {
        let whole = float.is_finite() && float.abs() < 1e18;
        if whole { Value::from(float.trunc() as i64) } else { default.clone() }
    };
    Ok(match (value.as_str().map(|text| text.trim_matches(python::is_space)), value.kind()) {
        (Some(text), _) if (2..=36).contains(&base) => {
            let digits = text.strip_prefix('+').unwrap_or(text);
            match i128::from_str_radix(digits, base) {
                Ok(number) => Value::from(number),
                Err(_) => text.parse().map_or_else(|_| default.clone(), whole),
            }
        }
        (None, ValueKind::Bool) => Value::from(i64::from(value.is_true())),
        (None, ValueKind::Number) if value.is_integer() => value.clone(),
        (None, ValueKind::Number) => {
            f64::try_from(value.clone()).map_or_else(|_| default.clone(), whole)
        }
        _ => default,
    })
}

/// Jinja's `float`: what is no number gives the default, not an error.
fn float(value: &Value, default: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let default =
        default.map_or_else(|| options.get::<Option<Value>>("default"), |d| Ok(Some(d)))?;
    options.assert_all_used()?;
    let number = match value.as_str() {
        Some(text) => text.trim_matches(python::is_space).parse().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None if value.kind() == ValueKind::Number => f64::try_from(value.clone()).ok(),
        None => None,
    };
    Ok(number.map_or_else(|| default.unwrap_or_else(|| Value::from(0.0)), Value::from))
}

/// `json.dumps` as transformers calls it: no escapes for HTML, letters of all scripts as they are.
fn tojson(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sort: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let (item, key) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "two separators")),
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let style = Style {
        indent: indent.map(|indent| indent.min(INDENT_MAX)),
        ascii: ascii.unwrap_or(false),
        sort: sort.unwrap_or(false),
        item,
        key,
    };
    let mut out = String::new();
    style.write(state, value, 0, &mut out)?;
    Ok(out)
}

/// A value on one line, as `json.dumps` writes it.
pub(super) fn json(value: &serde_json::Value) -> String {
    struct Python;
    impl serde_json::ser::Formatter for Python {
        fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }

        fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }

        fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> Result<()> {
            out.write_all(b": ")
        }
    }
    use std::io::{Result, Write};

    use serde::Serialize as _;

    let mut text = Vec::new();
    let mut out = serde_json::Serializer::with_formatter(&mut text, Python);
    match value.serialize(&mut out) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // A value in memory has nothing that fails.
        Err(_) => value.to_string(),
    }
}

struct Style {
    indent: Option<usize>,
    ascii: bool,
    sort: bool,
    item: String,
    key: String,
}

impl Style {
    fn write(
        &self,
        state: &State,
        value: &Value,
        depth: usize,
        out: &mut String,
    ) -> Result<(), Error> {
        if depth > JSON_DEPTH_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "recursion limit of tojson"));
        }
        state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                // JSON has no word of its own for these, and Python's are like no others.
                out.push_str(match python::number(value).as_str() {
                    "nan" => "NaN",
                    "inf" => "Infinity",
                    "-inf" => "-Infinity",
                    number => number,
                });
            }
            ValueKind::String => self.text(state, value.as_str().unwrap_or_default(), out)?,
            ValueKind::Map => self.map(state, value, depth, out)?,
            ValueKind::Seq | ValueKind::Iterable => {
                out.push('[');
                let mut count = 0;
                for item in value.try_iter()? {
                    self.separate(count, depth + 1, out);
                    self.write(state, &item, depth + 1, out)?;
                    count += 1;
                }
                self.close(count, depth, ']', out);
            }
            _ => return Err(Error::new(ErrorKind::BadSerialization, "no JSON for this value")),
        }
        Ok(())
    }

    fn map(
        &self,
        state: &State,
        value: &Value,
        depth: usize,
        out: &mut String,
    ) -> Result<(), Error> {
        out.push('{');
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort {
            keys.sort();
        }
        for (count, key) in keys.iter().enumerate() {
            self.separate(count, depth + 1, out);
            match key.as_str() {
                Some(text) => self.text(state, text, out)?,
                None => self.text(state, &key.to_string(), out)?,
            }
            out.push_str(&self.key);
            self.write(state, &value.get_item(key)?, depth + 1, out)?;
        }
        self.close(keys.len(), depth, '}', out);
        Ok(())
    }

    fn separate(&self, count: usize, depth: usize, out: &mut String) {
        if count > 0 {
            out.push_str(&self.item);
        }
        self.line(depth, out);
    }

    fn close(&self, count: usize, depth: usize, bracket: char, out: &mut String) {
        if count > 0 {
            self.line(depth, out);
        }
        out.push(bracket);
    }

    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn text(&self, state: &State, text: &str, out: &mut String) -> Result<(), Error> {
        state.consume_fuel(1 + text.len() as u64 / 64)?;
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                // Not the caller's: the guard takes it out again.
                MARK => out.push(c),
                c if c < ' ' || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
        Ok(())
    }
}

/// `strftime` with the conversions that templates use, for midnight of a day.
pub(super) fn strftime(date: time::Date, format: &str) -> Result<String, Error> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let (month, day) = (date.month().to_string(), date.weekday().to_string());
        let done = match chars.next() {
            Some('Y') => write!(out, "{:04}", date.year()),
            Some('y') => write!(out, "{:02}", date.year().rem_euclid(100)),
            Some('m') => write!(out, "{:02}", u8::from(date.month())),
            Some('d') => write!(out, "{:02}", date.day()),
            Some('e') => write!(out, "{:>2}", date.day()),
            Some('j') => write!(out, "{:03}", date.ordinal()),
            Some('B') => write!(out, "{month}"),
            Some('b' | 'h') => write!(out, "{}", &month[..3]),
            Some('A') => write!(out, "{day}"),
            Some('a') => write!(out, "{}", &day[..3]),
            Some('F') => write!(out, "{date}"),
            Some('H' | 'M' | 'S') => write!(out, "00"),
            Some('%') => write!(out, "%"),
            _ => {
                let problem = "strftime_now knows %Y %y %m %d %e %j %B %b %A %a %F %H %M %S";
                return Err(Error::new(ErrorKind::InvalidOperation, problem));
            }
        };
        // Writing to a String does not fail.
        let _ = done;
    }
    Ok(out)
}

/// Nesting of JSON; tools and arguments of published templates stay below 10.
const JSON_DEPTH_MAX: usize = 64;
/// Blanks for each level of nesting.
const INDENT_MAX: usize = 16;
