//! `/openapi.json`.

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};

use super::DOCUMENT;
use crate::access::Public;
use crate::web::assets;

/// `GET /openapi.json`: the same for everybody, as the pages are.
pub(crate) async fn document(_: Public, request: HttpRequest) -> HttpResponse {
    let text = Bytes::from_static(DOCUMENT.text.as_bytes());
    let of = ("openapi.json", &*DOCUMENT.hash);
    assets::tagged(&request, of, ("application/json", true), text).await
}
