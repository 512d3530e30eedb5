//! Routes that cannot be mounted without saying who may use them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{
    Error, FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, ResponseError,
    Route,
};

use schemars::SchemaGenerator;

use super::Caller;
use super::grant::{Grant, Public, SignedIn, check_again, recognise};
use super::permission::{Permission, PermissionMarker};
use crate::web::answer::{Describe, Description};
use crate::web::shell::note_route;
use crate::web::{ApiError, ErrorCode};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Public,
    /// Everybody who is signed in.
    SignedIn,
    /// Who holds the permission.
    Permission(Permission),
}

/// An extractor that decides who may use a route.
pub(crate) trait Gate: FromRequest {
    /// Who may.
    const ACCESS: Access;

    /// Whom it let in; none where everybody may.
    fn let_in(&self) -> Option<&Caller>;
}

impl<P: PermissionMarker> Gate for Grant<P> {
    const ACCESS: Access = Access::Permission(P::PERMISSION);

    fn let_in(&self) -> Option<&Caller> {
        Some(self.caller())
    }
}

impl Gate for SignedIn {
    const ACCESS: Access = Access::SignedIn;

    fn let_in(&self) -> Option<&Caller> {
        Some(self.caller())
    }
}

impl Gate for Public {
    const ACCESS: Access = Access::Public;

    fn let_in(&self) -> Option<&Caller> {
        None
    }
}

/// Arguments of a handler, the first of which is a `Gate`.
pub(crate) trait Gated: Sized + 'static {
    /// Who may use the handler.
    const ACCESS: Access;
    /// What the arguments after the gate say of the request.
    fn describe(schemas: &mut SchemaGenerator, description: &mut Description);
    /// Takes the arguments out of a request one after the other. Before the gate has let the
    /// caller in, nothing of the request is read; and once all of it is read, which takes as long
    /// as the client likes, the gate looks at the caller again.
    fn take(request: HttpRequest, payload: Payload) -> Taken<Self>;
}

type Taken<T> = Pin<Box<dyn Future<Output = Result<T, Error>>>>;

macro_rules! gated {
    ($($rest:ident)*) => {
        impl<G: Gate + 'static, $($rest: FromRequest + Describe + 'static),*> Gated for (G, $($rest,)*) {
            const ACCESS: Access = G::ACCESS;

            #[allow(unused_variables, reason = "a gate alone says nothing")]
            fn describe(schemas: &mut SchemaGenerator, description: &mut Description) {
                $($rest::describe(schemas, description);)*
            }

            fn take(request: HttpRequest, mut payload: Payload) -> Taken<Self> {
                Box::pin(async move {
                    let taken = (
                        G::from_request(&request, &mut payload).await.map_err(Into::into)?,
                        $($rest::from_request(&request, &mut payload).await.map_err(Into::into)?,)*
                    );
                    if let Some(caller) = taken.0.let_in() {
                        check_again(&request, caller).await?;
                    }
                    Ok(taken)
                })
            }
        }
    };
}

/// The arguments of a handler, taken in order; actix by itself takes them at once.
struct InOrder<A>(A);

impl<A: Gated> FromRequest for InOrder<A> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        note_route(request);
        let taken = A::take(request.clone(), payload.take());
        Box::pin(async move { taken.await.map(Self) })
    }
}

gated!();
gated!(A);
gated!(A B);
gated!(A B C);
gated!(A B C D);
gated!(A B C D E);
gated!(A B C D E F);

/// One row of the table of routes.
#[derive(Clone, Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "the reference and the tests read it"))]
pub(crate) struct RouteRow {
    /// The method.
    pub(crate) method: Method,
    /// The path, with its parameters in braces.
    pub(crate) path: &'static str,
    /// Who may use it.
    pub(crate) access: Access,
    /// What it takes and gives.
    pub(crate) describe: fn(&mut SchemaGenerator) -> Description,
}

/// The routes of the server, as they are being laid out.
#[derive(Default)]
pub(crate) struct Routes {
    order: Vec<&'static str>,
    resources: BTreeMap<&'static str, Resource>,
    table: Vec<RouteRow>,
}

impl Routes {
    /// No routes yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A handler for GET.
    #[must_use]
    pub(crate) fn get<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<A>,
        A: Gated,
        F::Output: Responder + Describe + 'static,
    {
        self.add(Method::GET, path, handler)
    }

    /// A handler for POST.
    #[must_use]
    pub(crate) fn post<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<A>,
        A: Gated,
        F::Output: Responder + Describe + 'static,
    {
        self.add(Method::POST, path, handler)
    }

    /// A handler for PATCH.
    #[must_use]
    pub(crate) fn patch<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<A>,
        A: Gated,
        F::Output: Responder + Describe + 'static,
    {
        self.add(Method::PATCH, path, handler)
    }

    /// A handler for DELETE.
    #[must_use]
    pub(crate) fn delete<F, A>(self, path: &'static str, handler: F) -> Self
    where
        F: Handler<A>,
        A: Gated,
        F::Output: Responder + Describe + 'static,
    {
        self.add(Method::DELETE, path, handler)
    }

    fn add<F, A>(mut self, method: Method, path: &'static str, handler: F) -> Self
    where
        F: Handler<A>,
        A: Gated,
        F::Output: Responder + Describe + 'static,
    {
        let resource = self.resources.remove(path).unwrap_or_else(|| {
            self.order.push(path);
            web::resource(path)
        });
        let route = Route::new()
            .method(method.clone())
            .to(move |InOrder(arguments): InOrder<A>| handler.call(arguments));
        self.resources.insert(path, resource.route(route));
        let describe = |schemas: &mut SchemaGenerator| {
            let mut description = Description::default();
            A::describe(schemas, &mut description);
            F::Output::describe(schemas, &mut description);
            description
        };
        self.table.push(RouteRow { method, path, access: A::ACCESS, describe });
        self
    }

    /// Every route, for tests and documentation.
    #[cfg(test)]
    pub(crate) fn table(&self) -> &[RouteRow] {
        &self.table
    }

    /// Mounts them, in the order in which their paths were first named.
    pub(crate) fn mount(mut self, config: &mut ServiceConfig) {
        for path in self.order {
            if let Some(resource) = self.resources.remove(path) {
                let rows = self.table.iter().filter(|row| row.path == path);
                let allowed: Vec<&str> = rows.map(|row| row.method.as_str()).collect();
                let allowed: Rc<str> = allowed.join(", ").into();
                let other = move |request: HttpRequest| wrong_method(request, Rc::clone(&allowed));
                config.service(resource.default_service(web::to(other)));
            }
        }
    }
}

/// Answers for methods that an address does not take, and names those that it does (RFC 9110, 15.5.6).
async fn wrong_method(request: HttpRequest, allowed: Rc<str>) -> HttpResponse {
    let error = astray(&request, ErrorCode::MethodNotAllowed).await;
    let mut response = error.error_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Answers for addresses that lead nowhere.
pub(crate) async fn nowhere(request: HttpRequest) -> HttpResponse {
    astray(&request, ErrorCode::NotFound).await.error_response()
}

/// What somebody is answered who asks for what is not there, once it is known who they are.
async fn astray(request: &HttpRequest, code: ErrorCode) -> ApiError {
    match recognise(request).await {
        Ok(()) => code.into(),
        Err(error) => error,
    }
}
