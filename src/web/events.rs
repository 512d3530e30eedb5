//! What stands above an answer that comes in events: nobody on its way keeps it, gathers it, or packs it,
//! for which it would have to be gathered first.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpResponse, HttpResponseBuilder};

/// The begin of such an answer.
pub(crate) fn stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "text/event-stream; charset=utf-8"));
    untouched(&mut response);
    response
}

/// The same for an answer that has a type.
pub(crate) fn untouched(response: &mut HttpResponseBuilder) {
    response.insert_header((CACHE_CONTROL, "no-store, no-transform"));
    // For nginx, which gathers answers by itself.
    response.insert_header(("x-accel-buffering", "no"));
}
