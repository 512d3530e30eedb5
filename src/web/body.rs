//! JSON bodies: bounded, typed, and refused with the parameter's name.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use serde::de::DeserializeOwned;

use super::error::{ApiError, ErrorCode};

/// How deep a body may be nested: the bound that serde_json has.
const DEPTH_MAX: usize = 128;

/// A JSON body. The size limit is the one of the server's configuration; depth is bounded; unknown and
/// doubled fields are refused where `T` says so.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(ErrorCode::UnsupportedMediaType.into());
            }
            let bytes = bytes.await.map_err(|error| body_error(&error))?;
            parse(&bytes).map(Body)
        })
    }
}

/// Reads JSON text into `T`; the error names the parameter at fault, never its value.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ApiError::new(ErrorCode::InvalidJson)
            .message(format!("The body is not valid UTF-8 (at byte {}).", error.valid_up_to()))
    })?;
    // A list would be read as the fields in their order, by whatever those are called.
    if text.trim_start().starts_with('[') {
        return Err(ApiError::new(ErrorCode::InvalidJson).message("The body is not a JSON object."));
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        json_error(error.inner(), (path != ".").then_some(path))
    })?;
    reader.end().map_err(|error| json_error(&error, None))?;
    Ok(value)
}

fn is_json(request: &HttpRequest) -> bool {
    // Exactly one content type, without which a page elsewhere could post as a simple request.
    let mut types = request.headers().get_all(CONTENT_TYPE);
    types.next().is_some()
        && types.next().is_none()
        && request.mime_type().ok().flatten().is_some_and(|mime| {
            mime.type_() == "application"
                && mime.subtype() == "json"
                && mime.get_param("charset").is_none_or(|charset| charset == "utf-8")
        })
}

/// Says what is wrong with the JSON. Serde's messages for wrong types quote the offending value,
/// which may be somebody's words: those are replaced.
fn json_error(error: &serde_json::Error, path: Option<String>) -> ApiError {
    use serde_json::error::Category;
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.is_syntax() && error.to_string().starts_with("recursion limit exceeded") {
        return ApiError::new(ErrorCode::InvalidJson)
            .message(format!("The body is nested more than {DEPTH_MAX} levels deep ({place})."));
    }
    match error.classify() {
        Category::Io | Category::Syntax | Category::Eof => ApiError::new(ErrorCode::InvalidJson)
            .message(format!("The body is not valid JSON ({place}).")),
        Category::Data => data_error(&error.to_string(), path, &place),
    }
}

fn data_error(detail: &str, path: Option<String>, place: &str) -> ApiError {
    let named = |prefix: &str| {
        detail.strip_prefix(prefix).and_then(|rest| rest.split('`').next()).map(str::to_owned)
    };
    if let Some(field) = named("unknown field `") {
        let field: String = field.chars().filter(|c| !c.is_control()).take(64).collect();
        return ApiError::new(ErrorCode::UnknownParameter)
            .message(format!("There is no parameter `{field}` here."))
            .param(field);
    }
    if let Some(field) = named("missing field `") {
        return ApiError::new(ErrorCode::InvalidRequest)
            .message(format!("The parameter `{field}` is missing."))
            .param(field);
    }
    if let Some(field) = named("duplicate field `") {
        let field = match path {
            Some(path) if path == field || path.ends_with(&format!(".{field}")) => path,
            Some(path) if path != "." => format!("{path}.{field}"),
            _ => field,
        };
        return ApiError::new(ErrorCode::InvalidRequest)
            .message(format!("The parameter `{field}` stands there twice."))
            .param(field);
    }
    let expected =
        detail.rsplit_once(", expected ").map_or("another kind of value", |(_, rest)| {
            rest.rsplit_once(" at line ").map_or(rest, |(expected, _)| expected)
        });
    let error = ApiError::new(ErrorCode::InvalidValue);
    match path {
        Some(path) => error
            .message(format!("`{path}` has a value that is not accepted: expected {expected}."))
            .param(path),
        None => error.message(format!(
            "The body has a value that is not accepted ({place}): expected {expected}."
        )),
    }
}

/// What a body that could not be read means to the client.
pub fn body_error(error: &actix_web::Error) -> ApiError {
    use actix_web::error::PayloadError;
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Overflow) => ApiError::new(ErrorCode::PayloadTooLarge).param("body"),
        Some(PayloadError::Io(io)) if io.kind() == std::io::ErrorKind::TimedOut => {
            ErrorCode::RequestTimeout.into()
        }
        Some(PayloadError::Io(io)) if io.kind() == std::io::ErrorKind::OutOfMemory => {
            ApiError::new(ErrorCode::Busy).retry_after(std::time::Duration::from_secs(1))
        }
        _ => ApiError::new(ErrorCode::InvalidRequest).message("The body could not be read whole."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read by serde only")]
    struct Sample {
        count: u32,
        name: Option<String>,
    }

    #[test]
    fn errors_name_the_parameter_and_never_the_value() {
        for (body, code, param) in [
            (r#"{"count": "secret words"}"#, ErrorCode::InvalidValue, Some("count")),
            (r#"{"count": 1, "colour": 2}"#, ErrorCode::UnknownParameter, Some("colour")),
            (r#"{"count": 1, "count": 2}"#, ErrorCode::InvalidRequest, Some("count")),
            (r#"{"name": "x"}"#, ErrorCode::InvalidRequest, Some("count")),
            (r#"{"count": 1"#, ErrorCode::InvalidJson, None),
            (r#"{"count": 1} x"#, ErrorCode::InvalidJson, None),
            ("", ErrorCode::InvalidJson, None),
            (r#"["secret words"]"#, ErrorCode::InvalidJson, None),
            (r#" [1, "secret words"]"#, ErrorCode::InvalidJson, None),
            (r#""secret words""#, ErrorCode::InvalidValue, None),
        ] {
            let error = parse::<Sample>(body.as_bytes()).expect_err(body);
            let shown = serde_json::to_value(error.body()).expect("plain");
            assert_eq!(error.code(), code, "{body}");
            assert_eq!(shown["error"]["param"].as_str(), param, "{body}");
            assert!(!shown.to_string().contains("secret words"), "{shown}");
        }
        assert_eq!(
            parse::<Sample>(b"{\"name\":\"\xff\"}").expect_err("bytes").code(),
            ErrorCode::InvalidJson
        );
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        let error = parse::<serde_json::Value>(deep.as_bytes()).expect_err("deep");
        assert_eq!(error.code(), ErrorCode::InvalidJson);
        assert!(error.to_string().contains("128 levels"), "{error}");
        let deep_enough = format!("{{\"a\":{}{}}}", "[".repeat(120), "]".repeat(120));
        assert!(parse::<serde_json::Value>(deep_enough.as_bytes()).is_ok());
    }
}
