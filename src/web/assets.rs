//! The web app's files, compiled into the binary.

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse};

use super::error::{ApiError, ErrorCode};

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

/// Gives out one file by its path below `static/`.
pub fn file(request: &HttpRequest, path: &str) -> Result<HttpResponse, ApiError> {
    let Some(file) = Files::get(path) else {
        return Err(ErrorCode::NotFound.into());
    };
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let is_known = request
        .headers()
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|one| one.trim() == tag));
    // Always asked again, answered from the tag: a new version of the server is seen at once.
    let cache = (CACHE_CONTROL, "no-cache");
    if is_known {
        return Ok(HttpResponse::NotModified()
            .insert_header((ETAG, tag))
            .insert_header(cache)
            .finish());
    }
    let mut response = HttpResponse::Ok();
    response.content_type(content_type(path)).insert_header((ETAG, tag)).insert_header(cache);
    Ok(match file.data {
        std::borrow::Cow::Borrowed(bytes) => response.body(bytes),
        std::borrow::Cow::Owned(bytes) => response.body(bytes),
    })
}

/// Whether there is such a file.
pub fn exists(path: &str) -> bool {
    Files::get(path).is_some()
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}
