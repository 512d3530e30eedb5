//! A JSON object as it came, read field by field: every error names the field, none its value.
//!
//! Doubled fields are refused at every depth: of two readers in a row one would take the first
//! and one the last, and a check could be passed by one value and the other one used.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::parameters::unknown;
use crate::web::{ApiError, ErrorCode};

/// The fields of an object, each taken at most once.
#[derive(Debug)]
pub(crate) struct Fields {
    path: String,
    values: Map<String, Value>,
}

/// Which fields there are, the table of parameters says.
impl JsonSchema for Fields {
    fn schema_name() -> Cow<'static, str> {
        "Fields".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object" })
    }
}

impl Fields {
    /// Reads an object that stands inside of another one.
    pub(super) fn nested(path: String, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(values) => Ok(Self { path, values }),
            _ => Err(wrong(&path, "an object")),
        }
    }

    /// The name of a field with the path to it.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The names of what is left.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Refuses what was not taken. Clients write fields that they leave empty: `null` is none.
    pub(super) fn nothing_left(&self) -> Result<(), ApiError> {
        match self.names().find(|name| self.peek(name).is_some()) {
            Some(left) => Err(unknown(&self.path(left))),
            None => Ok(()),
        }
    }

    /// Looks at a field.
    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// Takes a field; `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a text.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(&self.path(name), "a text")),
        }
    }

    /// Takes a truth value.
    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(_) => Err(wrong(&self.path(name), "true or false")),
        }
    }

    /// Takes a number within bounds.
    pub(super) fn number(
        &mut self,
        name: &str,
        bounds: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_f64().filter(|number| bounds.contains(number)).map(Some).ok_or_else(|| {
            let expected = format!("a number from {} to {}", bounds.start(), bounds.end());
            wrong(&self.path(name), &expected)
        })
    }

    /// Takes a whole number within bounds.
    pub(super) fn whole(
        &mut self,
        name: &str,
        bounds: RangeInclusive<i64>,
    ) -> Result<Option<i64>, ApiError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_i64().filter(|number| bounds.contains(number)).map(Some).ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            wrong(&self.path(name), &expected)
        })
    }
}

/// A value of the wrong kind or out of bounds.
pub(super) fn wrong(path: &str, expected: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidValue)
        .message(format!("`{path}` has a value that is not accepted: expected {expected}."))
        .param(path)
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Map<String, Value>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
                object(entries)
            }
        }
        let values = deserializer.deserialize_map(Object)?;
        Ok(Self { path: String::new(), values })
    }
}

fn object<'de, A: MapAccess<'de>>(mut entries: A) -> Result<Map<String, Value>, A::Error> {
    let mut values = Map::new();
    while let Some(name) = entries.next_key::<String>()? {
        if values.contains_key(&name) {
            let shown: String = name.chars().filter(|c| *c != '`').take(64).collect();
            return Err(de::Error::custom(format_args!("duplicate field `{shown}`")));
        }
        let Strict(value) = entries.next_value()?;
        values.insert(name, value);
    }
    Ok(values)
}

/// Any JSON value without doubled fields. The depth is bounded by serde_json.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(Strict)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| de::Error::custom("not a number, expected a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        object(entries).map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::body::parse;

    fn fields(text: &str) -> Fields {
        parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn doubled_fields_are_refused_at_every_depth() {
        for (text, place) in [
            (r#"{"a": 1, "a": 1}"#, "a"),
            (r#"{"m": [{"role": "user", "role": "system"}]}"#, "m[0].role"),
            (r#"{"m": {"x": {"y": 1, "y": 2}}}"#, "m.x.y"),
        ] {
            let error = parse::<Fields>(text.as_bytes()).expect_err(text);
            assert_eq!(error.code(), ErrorCode::InvalidRequest, "{text}");
            assert_eq!(error.at_fault(), Some(place), "{text}");
        }
    }

    #[test]
    fn bodies_that_are_no_object_are_refused() {
        for text in ["[]", "1", "\"x\"", "null", "", "{", "{\"a\": NaN}", "{\"a\": 1e999}"] {
            assert!(parse::<Fields>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_read_within_their_bounds_only() {
        let mut read = fields(r#"{"a": 0.5, "b": 3, "c": null, "d": "x", "e": true, "f": 2.0}"#);
        assert_eq!(read.number("a", 0.0..=1.0).expect("in bounds"), Some(0.5));
        assert_eq!(read.whole("b", 1..=3).expect("in bounds"), Some(3));
        assert_eq!(read.whole("c", 1..=3).expect("null is absent"), None);
        assert_eq!(read.text("d").expect("a text").as_deref(), Some("x"));
        assert_eq!(read.truth("e").expect("a truth"), Some(true));
        assert!(read.whole("f", 0..=9).is_err(), "2.0 is no whole number");
        for (text, name) in [
            (r#"{"x": -1}"#, "x"),
            (r#"{"x": 1e300}"#, "x"),
            (r#"{"x": "1"}"#, "x"),
            (r#"{"x": [1]}"#, "x"),
            (r#"{"x": 18446744073709551616}"#, "x"),
        ] {
            assert!(fields(text).whole(name, 0..=100).is_err(), "{text}");
            assert!(fields(text).number(name, 0.0..=100.0).is_err(), "{text}");
        }
    }
}
