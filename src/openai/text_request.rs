//! The bodies of `/v1/embeddings` and `/v1/rerank` become requests to the gate.

use serde_json::Value;

use super::common;
use super::fields::{Fields, wrong};
use super::text_parameters::{self, EMBEDDINGS, RERANK};
use crate::engine::Cut;
use crate::gate::{EmbedAsk, EmbedText, EmbedTexts, TEXTS_MAX};
use crate::web::{ApiError, ErrorCode};

/// Vectors of more numbers are made by no model.
const DIMENSIONS_MAX: i64 = 65_536;

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As numbers.
    Float,
    /// As the base64 of their bytes, little-endian.
    Base64,
}

/// What of a judgement is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// So many of the best.
    pub(super) top: usize,
    /// The documents, where they are sent back too.
    pub(super) documents: Option<Vec<String>>,
}

/// Reads the body of `/v1/embeddings`.
pub(super) fn embeddings(mut fields: Fields) -> Result<(EmbedAsk, Encoding), ApiError> {
    text_parameters::check(&mut fields, EMBEDDINGS)?;
    let texts = EmbedTexts::Each(input(&mut fields)?);
    let encoding = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => Encoding::Float,
        Some("base64") => Encoding::Base64,
        Some(_) => return Err(wrong("encoding_format", "`float` or `base64`")),
    };
    let dimensions = fields.whole("dimensions", 1..=DIMENSIONS_MAX)?;
    let dimensions = dimensions.and_then(|count| usize::try_from(count).ok());
    let (model, cut) = (common::model(&mut fields)?, cut(&mut fields)?);
    Ok((EmbedAsk { model, texts, cut, dimensions }, encoding))
}

/// Reads the body of `/v1/rerank`.
pub(super) fn rerank(mut fields: Fields) -> Result<(EmbedAsk, Selection), ApiError> {
    text_parameters::check(&mut fields, RERANK)?;
    let query = match fields.text("query")? {
        None => return Err(missing("query")),
        Some(query) if query.is_empty() => return Err(wrong("query", "a text, not empty")),
        Some(query) => query,
    };
    let documents = documents(&mut fields)?;
    let top = fields.whole("top_n", 1..=i64::from(u32::MAX))?;
    let top = top.and_then(|top| usize::try_from(top).ok()).unwrap_or(documents.len());
    let returns = fields.truth("return_documents")?.unwrap_or(false);
    let selection = Selection { top, documents: returns.then(|| documents.clone()) };
    let (model, cut) = (common::model(&mut fields)?, cut(&mut fields)?);
    let texts = EmbedTexts::Ranked { query, documents };
    Ok((EmbedAsk { model, texts, cut, dimensions: None }, selection))
}

fn missing(name: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest)
        .message(format!("The parameter `{name}` is missing."))
        .param(name)
}

fn cut(fields: &mut Fields) -> Result<Cut, ApiError> {
    Ok(if fields.truth("truncate")?.unwrap_or(false) { Cut::End } else { Cut::Never })
}

fn input(fields: &mut Fields) -> Result<Vec<EmbedText>, ApiError> {
    let refused = || {
        wrong("input", "a text, 1 to 2048 texts, a list of token numbers or such lists; none empty")
    };
    let texts = match fields.take("input") {
        None => return Err(missing("input")),
        Some(Value::String(text)) => vec![EmbedText::Text(text)],
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![EmbedText::Tokens(tokens(&items).ok_or_else(refused)?)]
        }
        Some(Value::Array(items)) if items.len() <= TEXTS_MAX => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Some(EmbedText::Text(text)),
                Value::Array(items) => tokens(&items).map(EmbedText::Tokens),
                _ => None,
            })
            .collect::<Option<_>>()
            .ok_or_else(refused)?,
        Some(_) => return Err(refused()),
    };
    let is_empty = |text: &EmbedText| match text {
        EmbedText::Text(text) => text.is_empty(),
        EmbedText::Tokens(tokens) => tokens.is_empty(),
    };
    if texts.is_empty() || texts.iter().any(is_empty) { Err(refused()) } else { Ok(texts) }
}

fn tokens(items: &[Value]) -> Option<Vec<u32>> {
    items.iter().map(|item| item.as_u64().and_then(|token| u32::try_from(token).ok())).collect()
}

fn documents(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let refused = || wrong("documents", "1 to 2048 texts, or objects with a `text`");
    let items = match fields.take("documents") {
        None => return Err(missing("documents")),
        Some(Value::Array(items)) if (1..=TEXTS_MAX).contains(&items.len()) => items,
        Some(_) => return Err(refused()),
    };
    let one = |(place, item): (usize, Value)| match item {
        Value::String(text) => Ok(text),
        Value::Object(_) => {
            let mut item = Fields::nested(format!("documents[{place}]"), item)?;
            let text = item.text("text")?.ok_or_else(refused)?;
            item.nothing_left()?;
            Ok(text)
        }
        _ => Err(refused()),
    };
    items.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::body::parse;

    fn fields(body: &Value) -> Fields {
        parse(body.to_string().as_bytes()).expect("well-formed")
    }

    fn refused(error: &ApiError) -> String {
        let body = serde_json::to_value(error.body()).expect("plain");
        body["error"]["param"].as_str().unwrap_or_default().to_owned()
    }

    #[test]
    fn texts_come_alone_in_lists_and_as_tokens() {
        let count = |input: Value| {
            let (ask, encoding) = embeddings(fields(&json!({ "input": input }))).expect("passes");
            let EmbedTexts::Each(texts) = ask.texts else { panic!("texts") };
            assert_eq!((ask.cut, ask.dimensions, encoding), (Cut::Never, None, Encoding::Float));
            texts.len()
        };
        assert_eq!(count(json!("a")), 1);
        assert_eq!(count(json!(["a", "b"])), 2);
        assert_eq!(count(json!([1, 2, 3])), 1);
        assert_eq!(count(json!([[1, 2], [3]])), 2);
        assert_eq!(count(json!(vec!["a"; TEXTS_MAX])), TEXTS_MAX);
    }

    #[test]
    fn other_bodies_are_refused_by_the_field_at_fault() {
        for input in [
            json!(null),
            json!(""),
            json!([]),
            json!([""]),
            json!(["a", 1]),
            json!([1, "a"]),
            json!([[]]),
            json!([[1.5]]),
            json!([-1]),
            json!([4_294_967_296_u64]),
            json!({}),
            json!(true),
            json!(vec!["a"; TEXTS_MAX + 1]),
        ] {
            let error = embeddings(fields(&json!({ "input": input }))).expect_err("refused");
            assert_eq!(refused(&error), "input");
        }
        for (name, value) in [
            ("encoding_format", json!("hex")),
            ("dimensions", json!(0)),
            ("dimensions", json!(1.5)),
            ("truncate", json!("yes")),
            ("colour", json!(1)),
            ("model", json!("")),
        ] {
            let error = embeddings(fields(&json!({ "input": "a", name: value }))).expect_err(name);
            assert_eq!(refused(&error), name);
        }
    }

    #[test]
    fn documents_come_as_texts_and_as_objects() {
        let body = json!({"query": "q", "documents": ["a", {"text": "b"}], "top_n": 1,
            "return_documents": true, "truncate": true});
        let (ask, selection) = rerank(fields(&body)).expect("passes");
        assert_eq!(ask.cut, Cut::End);
        let documents = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(selection, Selection { top: 1, documents });
        for (change, name) in [
            (json!({"query": null}), "query"),
            (json!({"query": ""}), "query"),
            (json!({"documents": []}), "documents"),
            (json!({"documents": [1]}), "documents"),
            (json!({"documents": [{"text": 1}]}), "documents[0].text"),
            (json!({"documents": [{"text": "a", "title": "b"}]}), "documents[0].title"),
            (json!({"top_n": 0}), "top_n"),
            (json!({"return_documents": 1}), "return_documents"),
            (json!({"max_tokens_per_doc": 1}), "max_tokens_per_doc"),
        ] {
            let mut body = json!({"query": "q", "documents": ["a"]});
            for (key, value) in change.as_object().expect("an object") {
                body[key] = value.clone();
            }
            assert_eq!(refused(&rerank(fields(&body)).expect_err(name)), name);
        }
    }
}
