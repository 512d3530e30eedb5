//! The web app's files, compiled into the binary.

use std::borrow::Cow;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderMap, IF_NONE_MATCH};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};

use super::coding::{self, Coding};
use super::error::{ApiError, ErrorCode};
use super::shell::Shell;

#[derive(rust_embed::RustEmbed)]
#[folder = "static/"]
#[include = "*.html"]
#[include = "*.css"]
#[include = "*.js"]
#[include = "*.svg"]
#[include = "*.png"]
#[include = "*.woff2"]
#[include = "*.webmanifest"]
struct Files;

/// Gives out one file by its path below `static/`, made smaller where the client takes that: nothing in it
/// is anybody's.
pub async fn file(request: &HttpRequest, path: &str) -> Result<HttpResponse, ApiError> {
    let Some(file) = Files::get(path) else {
        return Err(ErrorCode::NotFound.into());
    };
    let bytes = match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let hash = hex::encode(&file.metadata.sha256_hash()[..16]);
    Ok(tagged(request, (path, &hash), content_type(path), bytes).await)
}

/// Gives out what changes only with the program, by its name and its hash: a file, or what is made from
/// the code. Of what is no text there are no codings.
pub async fn tagged(
    request: &HttpRequest,
    (name, hash): (&str, &str),
    (kind, is_text): (&'static str, bool),
    bytes: Bytes,
) -> HttpResponse {
    let has_codings = is_text && coding::is_long(bytes.len());
    let coding = Coding::wanted(request.headers()).filter(|_| has_codings);
    let coded = match (coding, request.app_data::<Data<Shell>>()) {
        (Some(coding), Some(shell)) => {
            shell.files.get(name, &bytes, coding).await.map(|bytes| (coding, bytes))
        }
        (_, _) => None,
    };
    // Each coding of a file is a thing of its own, with a tag of its own (RFC 9110, 8.8.3.3).
    let tag = match &coded {
        Some((coding, _)) => format!("\"{hash}-{}\"", coding.name()),
        None => format!("\"{hash}\""),
    };
    let is_known = names(request.headers(), &tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Always asked again, answered from the tag: a new version of the server is seen at once.
    response.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "no-cache"));
    if !is_known {
        response.content_type(kind);
    }
    let mut response = match coded {
        _ if is_known => response.finish(),
        Some((coding, bytes)) => {
            response.insert_header((CONTENT_ENCODING, coding.name()));
            response.body(bytes)
        }
        None => response.body(bytes),
    };
    if has_codings {
        coding::tell_that_it_varies(response.headers_mut());
    }
    response
}

/// Whether `If-None-Match` names this tag. A proxy that codes answers itself makes tags weak; they are
/// compared as such (RFC 9110, 13.1.2).
fn names(headers: &HeaderMap, tag: &str) -> bool {
    let all = headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whether there is such a file.
pub fn exists(path: &str) -> bool {
    Files::get(path).is_some()
}

/// What a file is, and whether it is a text, which gets smaller in a coding.
fn content_type(path: &str) -> (&'static str, bool) {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => ("text/html; charset=utf-8", true),
        "css" => ("text/css; charset=utf-8", true),
        "js" => ("text/javascript; charset=utf-8", true),
        "svg" => ("image/svg+xml", true),
        "webmanifest" => ("application/manifest+json", true),
        "png" => ("image/png", false),
        "woff2" => ("font/woff2", false),
        _ => ("application/octet-stream", false),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_tag_is_known_whether_or_not_a_proxy_made_it_weak() {
        for (sent, is_known) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&["\"b\""], false),
            (&["a"], false),
            (&["w/\"a\""], false),
            (&["W/\"a-br\""], false),
            (&[""], false),
            (&[], false),
        ] {
            let mut request = TestRequest::get();
            for one in sent {
                request = request.append_header((IF_NONE_MATCH, *one));
            }
            assert_eq!(names(request.to_srv_request().headers(), "\"a\""), is_known, "{sent:?}");
        }
    }
}
