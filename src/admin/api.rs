//! Whether the server lives and is ready, and the files of the web app.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};

use crate::access::Public;
use crate::db::{Db, DbError};
use crate::gate::Gate;
use crate::web::{ApiError, assets};

/// The process lives.
pub(crate) async fn alive(_: Public) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({ "status": "alive" }))
}

/// The server can answer: the store is writable and a model is loaded.
pub(crate) async fn ready(_: Public, gate: Data<Gate>, db: Data<Db>) -> HttpResponse {
    let is_stored =
        db.read(|db| -> Result<(), DbError> { Ok(db.execute_batch("SELECT 1")?) }).await;
    let state = |is_met: bool| if is_met { "ready" } else { "not ready" };
    let body = serde_json::json!({
        "store": state(is_stored.is_ok()),
        "model": state(gate.is_ready()),
    });
    if is_stored.is_ok() && gate.is_ready() {
        HttpResponse::Ok().json(body)
    } else {
        HttpResponse::ServiceUnavailable().json(body)
    }
}

/// Every page of the web app is the same file; the address says which is shown.
pub(crate) async fn page(_: Public, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    assets::file(&request, "index.html")
}

/// A file of the web app.
pub(crate) async fn asset(
    _: Public,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse, ApiError> {
    assets::file(&request, &path)
}

/// Where to report a hole (RFC 9116).
pub(crate) async fn security_txt(_: Public) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(
        "Contact: mailto:security@strongroom.example\nExpires: 2028-01-01T00:00:00Z\nPreferred-Languages: en\n",
    )
}
