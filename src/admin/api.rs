//! Whether the server lives and is ready, and the files of the web app.

use std::time::Duration;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use crate::access::Public;
use crate::clock::Clock;
use crate::db::Db;
use crate::gate::Gate;
use crate::web::{ApiError, ErrorCode, assets};

/// The process lives.
pub(crate) async fn alive(_: Public) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

/// The server can answer: the store takes what is written to it, and a model is loaded.
pub(crate) async fn ready(_: Public, gate: Data<Gate>, db: Data<Db>) -> HttpResponse {
    let (has_store, has_model) = (db.takes_writes().await, gate.is_ready());
    let state = |is_met: bool| if is_met { "ready" } else { "not ready" };
    let body = serde_json::json!({ "store": state(has_store), "model": state(has_model) });
    if has_store && has_model {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// Every page of the web app is the same file; the address says which is shown.
pub(crate) async fn page(_: Public, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    assets::file(&request, "index.html").await
}

/// The reference of the API: a page of its own, which needs no account.
pub(crate) async fn reference(_: Public, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    assets::file(&request, "docs.html").await
}

/// A file of the web app.
pub(crate) async fn asset(
    _: Public,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, ApiError> {
    assets::file(&request, &path).await
}

/// Who is told of a hole, from `server.security_contact`; empty: nobody is named.
#[derive(Clone, Debug)]
pub(crate) struct SecurityContact(pub(crate) String);

/// Where to report a hole (RFC 9116).
pub(crate) async fn security_txt(
    _: Public,
    contact: Data<SecurityContact>,
    clock: Data<Clock>,
) -> Result<HttpResponse, ApiError> {
    let contact = &contact.0;
    if contact.is_empty() {
        return Err(ErrorCode::NotFound.into());
    }
    let expires = clock.now().plus(Duration::from_hours(24 * 30)).rfc3339();
    let text = format!("Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n");
    Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text))
}
