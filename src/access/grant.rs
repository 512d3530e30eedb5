//! The extractors that stand first in every handler's signature. They are made here and nowhere
//! else: to hold one is to have been checked.

use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};

use super::permission::PermissionMarker;
use super::{Authenticator, Caller};
use crate::ids::RequestId;
use crate::web::shell::{peer, request_id};
use crate::web::{ApiError, ErrorCode};

/// Proof that the caller holds permission `P`.
#[derive(Debug)]
pub(crate) struct Grant<P> {
    caller: Caller,
    permission: PhantomData<fn() -> P>,
}

impl<P> Grant<P> {
    /// Who holds it.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// Proof that somebody is signed in, whatever they may do.
#[derive(Debug)]
pub(crate) struct SignedIn {
    caller: Caller,
}

impl SignedIn {
    /// Who it is.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }
}

/// The statement that a handler is open to everybody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Public {
    /// Where the request came from.
    pub(crate) address: Option<IpAddr>,
    /// The request.
    pub(crate) request: RequestId,
}

type Checked<T> = Pin<Box<dyn Future<Output = Result<T, ApiError>>>>;

impl<P: PermissionMarker> FromRequest for Grant<P> {
    type Error = ApiError;
    type Future = Checked<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let caller = authenticator(&request)?.check(&request, Some(P::PERMISSION)).await?;
            Ok(Self { caller, permission: PhantomData })
        })
    }
}

impl FromRequest for SignedIn {
    type Error = ApiError;
    type Future = Checked<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let caller = authenticator(&request)?.check(&request, None).await?;
            Ok(Self { caller })
        })
    }
}

impl FromRequest for Public {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self { address: peer(request), request: request_id(request) }))
    }
}

/// Whether what let a caller in still stands, now that their request has been read.
pub(super) async fn check_again(request: &HttpRequest, caller: &Caller) -> Result<(), ApiError> {
    authenticator(request)?.check_again(caller).await
}

/// Finds out who asks for what is not there, so that they are told what everybody with a good key is
/// told. Without a key nobody has to be known for that.
pub(super) async fn recognise(request: &HttpRequest) -> Result<(), ApiError> {
    match request.app_data::<Data<Authenticator>>() {
        Some(authenticator) => authenticator.recognise(request).await,
        None => Ok(()),
    }
}

fn authenticator(request: &HttpRequest) -> Result<Data<Authenticator>, ApiError> {
    let found = request.app_data::<Data<Authenticator>>().cloned();
    found.ok_or_else(|| ApiError::new(ErrorCode::Internal).because("no authenticator is mounted"))
}
