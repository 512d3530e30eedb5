//! The body of `/v1/moderations`.

use serde_json::Value;

use crate::openai::fields::{Fields, wrong};
use crate::openai::text_parameters::{self, MODERATIONS};
use crate::web::{ApiError, ErrorCode};

const INPUTS_MAX: usize = 2048;

/// Reads the body: inputs, each of one text or of several parts. A list of parts is one input.
pub(in crate::openai) fn read(mut fields: Fields) -> Result<Vec<Vec<String>>, ApiError> {
    text_parameters::check(&mut fields, MODERATIONS)?;
    let refused = || wrong("input", "a text, a list of 1 to 2048 texts, or a list of text parts");
    let items = match fields.take("input") {
        None => {
            return Err(ApiError::new(ErrorCode::InvalidRequest)
                .message("The parameter `input` is missing.")
                .param("input"));
        }
        Some(Value::String(text)) => return Ok(vec![vec![text]]),
        Some(Value::Array(items)) if (1..=INPUTS_MAX).contains(&items.len()) => items,
        Some(_) => return Err(refused()),
    };
    if items.iter().all(Value::is_object) {
        let parts = items.into_iter().enumerate();
        let part = |(place, item)| part(Fields::nested(format!("input[{place}]"), item)?);
        return Ok(vec![parts.map(part).collect::<Result<_, _>>()?]);
    }
    let text = |item| match item {
        Value::String(text) => Ok(vec![text]),
        _ => Err(refused()),
    };
    items.into_iter().map(text).collect()
}

fn part(mut fields: Fields) -> Result<String, ApiError> {
    let type_path = fields.path("type");
    match fields.text("type")?.as_deref() {
        Some("text") => {}
        Some("image_url") => {
            let path = fields.path("image_url");
            return Err(ApiError::new(ErrorCode::UnsupportedParameter)
                .message(format!("`{path}` is not supported: the guard reads text, and this server fetches nothing from elsewhere."))
                .param(path));
        }
        _ => return Err(wrong(&type_path, "text")),
    }
    let path = fields.path("text");
    let text = fields.text("text")?.ok_or_else(|| wrong(&path, "a text"))?;
    fields.nothing_left()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn inputs(input: &Value) -> Result<Vec<Vec<String>>, String> {
        let body = json!({"model": "omni-moderation-latest", "input": input});
        read(parse(body.to_string().as_bytes()).expect("well-formed"))
            .map_err(|error| error.at_fault().expect("names the parameter").to_owned())
    }

    #[test]
    fn texts_are_inputs_each_and_parts_are_one() {
        let owned = |inputs: &[&[&str]]| -> Vec<Vec<String>> {
            inputs
                .iter()
                .map(|texts| texts.iter().map(|text| (*text).to_owned()).collect())
                .collect()
        };
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        for (input, expected) in [
            (json!("a"), owned(&[&["a"]])),
            (json!(["a", "b"]), owned(&[&["a"], &["b"]])),
            (parts, owned(&[&["a", "b"]])),
        ] {
            assert_eq!(inputs(&input), Ok(expected));
        }
    }

    #[test]
    fn other_inputs_are_refused_where_they_stand() {
        let image = json!([{"type": "image_url", "image_url": {"url": "https://a.example"}}]);
        for (input, param) in [
            (Value::Null, "input"),
            (json!([]), "input"),
            (json!(1), "input"),
            (json!([1]), "input"),
            (json!(["a", {"type": "text", "text": "b"}]), "input"),
            (json!(vec!["a"; 2049]), "input"),
            (image, "input[0].image_url"),
            (json!([{"type": "text"}]), "input[0].text"),
            (json!([{"type": "x"}]), "input[0].type"),
            (json!([{"type": "text", "text": "a", "b": 1}]), "input[0].b"),
        ] {
            assert_eq!(inputs(&input), Err(param.to_owned()), "{input}");
        }
    }
}
