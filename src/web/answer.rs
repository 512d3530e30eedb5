//! Answers and requests whose shape is part of their type, so that the reference of the API is made
//! from what the handlers take and give.

use std::marker::PhantomData;

use actix_web::body::BoxBody;
use actix_web::cookie::Cookie;
use actix_web::http::StatusCode;
use actix_web::http::header::TryIntoHeaderPair;
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, Responder};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::body::Body;

/// An answer with this status and a JSON body of this shape.
pub struct Answer<T, const STATUS: u16 = 200> {
    response: HttpResponse,
    shape: PhantomData<fn() -> T>,
}

/// An answer that is nothing but its status.
pub type Empty<const STATUS: u16 = 204> = Answer<(), STATUS>;

impl<T: Serialize, const STATUS: u16> Answer<T, STATUS> {
    /// The answer with this body.
    pub fn new(body: &T) -> Self {
        let mut builder = HttpResponse::build(status(STATUS));
        Self { response: builder.json(body), shape: PhantomData }
    }
}

impl<const STATUS: u16> Empty<STATUS> {
    /// The answer without a body.
    pub fn empty() -> Self {
        Self { response: HttpResponse::build(status(STATUS)).finish(), shape: PhantomData }
    }
}

impl<T, const STATUS: u16> Answer<T, STATUS> {
    /// The same in another form, such as a table, where the request asked for that.
    #[must_use]
    pub fn in_another_form(response: HttpResponse) -> Self {
        Self { response, shape: PhantomData }
    }

    /// With a cookie. One that cannot be written is left out.
    #[must_use]
    pub fn cookie(mut self, cookie: &Cookie<'_>) -> Self {
        let _ = self.response.add_cookie(cookie);
        self
    }

    /// With a header in place of those of its name.
    #[must_use]
    pub fn header(mut self, header: impl TryIntoHeaderPair) -> Self {
        if let Ok((name, value)) = header.try_into_pair() {
            self.response.headers_mut().insert(name, value);
        }
        self
    }
}

impl<T, const STATUS: u16> Responder for Answer<T, STATUS> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.response
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What a route takes and gives, as far as its types say it.
#[derive(Debug, Default)]
pub struct Description {
    /// The query string.
    pub query: Option<Schema>,
    /// The JSON body of the request.
    pub request: Option<Schema>,
    /// The status of the answer, and its JSON body where it has one.
    pub answer: Option<(u16, Option<Schema>)>,
}

/// Something that a handler takes or gives.
pub trait Describe {
    /// Adds what is known of it.
    fn describe(_: &mut SchemaGenerator, _: &mut Description) {}
}

impl<T> Describe for Data<T> {}
impl<T> Describe for Path<T> {}
impl Describe for HttpRequest {}
impl Describe for HttpResponse {}

impl<T: JsonSchema> Describe for Query<T> {
    fn describe(schemas: &mut SchemaGenerator, description: &mut Description) {
        description.query = Some(T::json_schema(schemas));
    }
}

impl<T: JsonSchema> Describe for Body<T> {
    fn describe(schemas: &mut SchemaGenerator, description: &mut Description) {
        description.request = Some(T::json_schema(schemas));
    }
}

impl<T: JsonSchema, const STATUS: u16> Describe for Answer<T, STATUS> {
    fn describe(schemas: &mut SchemaGenerator, description: &mut Description) {
        let has_body = T::schema_id() != <()>::schema_id();
        description.answer = Some((STATUS, has_body.then(|| T::json_schema(schemas))));
    }
}

impl<T: Describe, E> Describe for Result<T, E> {
    fn describe(schemas: &mut SchemaGenerator, description: &mut Description) {
        T::describe(schemas, description);
    }
}
