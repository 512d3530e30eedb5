//! One's own API keys, over HTTP.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};

use super::{KeyRequest, KeyView, Keys};
use crate::access::Grant;
use crate::access::permission::ManageOwnKeys;
use crate::clock::Timestamp;
use crate::ids::KeyId;
use crate::web::{ApiError, Body};

#[derive(Serialize)]
struct KeyJson {
    id: KeyId,
    name: String,
    hint: String,
    scopes: Vec<String>,
    models: Option<Vec<String>>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl From<KeyView> for KeyJson {
    fn from(view: KeyView) -> Self {
        let KeyView { id, name, hint, scopes, models, created_at, expires_at, last_used_at } = view;
        Self { id, name, hint, scopes, models, created_at, expires_at, last_used_at }
    }
}

/// One's own keys.
pub(crate) async fn list(
    grant: Grant<ManageOwnKeys>,
    keys: Data<Keys>,
) -> Result<HttpResponse, ApiError> {
    let all: Vec<KeyJson> = keys.list(&grant).await?.into_iter().map(KeyJson::from).collect();
    Ok(HttpResponse::Ok().json(serde_json::json!({ "keys": all })))
}

/// The body of `POST /api/me/keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    name: String,
    scopes: Option<Vec<String>>,
    models: Option<Vec<String>>,
    expires_in_days: Option<u32>,
}

/// Makes a key; its secret is in this answer and in no other.
pub(crate) async fn create(
    grant: Grant<ManageOwnKeys>,
    body: Body<KeyBody>,
    keys: Data<Keys>,
) -> Result<HttpResponse, ApiError> {
    let Body(KeyBody { name, scopes, models, expires_in_days }) = body;
    let request = KeyRequest { name, scopes, models, expires_in_days };
    let (view, secret) = keys.create(&grant, request).await?;
    Ok(HttpResponse::Created().json(serde_json::json!({
        "key": KeyJson::from(view), "secret": secret.expose(),
    })))
}

/// Revokes a key.
pub(crate) async fn revoke(
    grant: Grant<ManageOwnKeys>,
    id: Path<KeyId>,
    keys: Data<Keys>,
) -> Result<HttpResponse, ApiError> {
    keys.revoke(&grant, id.into_inner()).await?;
    Ok(HttpResponse::NoContent().finish())
}
