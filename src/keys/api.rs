//! One's own API keys, over HTTP.

use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{KeyRequest, KeyView, Keys};
use crate::access::Grant;
use crate::access::permission::ManageOwnKeys;
use crate::clock::Timestamp;
use crate::config::LimitSet;
use crate::gate::Gate;
use crate::ids::KeyId;
use crate::secret::SecretText;
use crate::web::{Answer, ApiError, Body, Empty};

#[derive(Serialize, JsonSchema)]
struct KeyJson {
    id: KeyId,
    name: String,
    hint: String,
    scopes: Vec<String>,
    models: Option<Vec<String>>,
    /// What the key may use at most, beside all other limits.
    limits: LimitSet,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

impl From<KeyView> for KeyJson {
    fn from(view: KeyView) -> Self {
        let KeyView { id, name, hint, scopes, models, limits, .. } = view;
        let KeyView { created_at, expires_at, last_used_at, .. } = view;
        Self { id, name, hint, scopes, models, limits, created_at, expires_at, last_used_at }
    }
}

/// One's own keys.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeyList {
    keys: Vec<KeyJson>,
}

/// A new key.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NewKey {
    key: KeyJson,
    /// Shown this once.
    #[serde(serialize_with = "show")]
    #[schemars(with = "String")]
    secret: SecretText,
}

fn show<S: Serializer>(secret: &SecretText, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// One's own keys.
pub(crate) async fn list(
    grant: Grant<ManageOwnKeys>,
    keys: Data<Keys>,
) -> Result<Answer<KeyList>, ApiError> {
    let keys = keys.list(&grant).await?.into_iter().map(KeyJson::from).collect();
    Ok(Answer::new(&KeyList { keys }))
}

/// The body of `POST /api/me/keys`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    name: String,
    scopes: Option<Vec<String>>,
    models: Option<Vec<String>>,
    /// What the key may use at most, beside all other limits; what is absent is not limited further.
    limits: Option<LimitSet>,
    expires_in_days: Option<u32>,
}

/// Makes a key; its secret is in this answer and in no other.
pub(crate) async fn create(
    grant: Grant<ManageOwnKeys>,
    body: Body<KeyBody>,
    keys: Data<Keys>,
    gate: Data<Gate>,
) -> Result<Answer<NewKey, 201>, ApiError> {
    let Body(KeyBody { name, scopes, models, limits, expires_in_days }) = body;
    let limits = limits.unwrap_or_default();
    let request = KeyRequest { name, scopes, models, limits, expires_in_days };
    let (view, secret) = keys.create(&grant, request, &gate).await?;
    Ok(Answer::new(&NewKey { key: view.into(), secret }))
}

/// Revokes a key.
pub(crate) async fn revoke(
    grant: Grant<ManageOwnKeys>,
    id: Path<KeyId>,
    keys: Data<Keys>,
) -> Result<Empty, ApiError> {
    keys.revoke(&grant, id.into_inner()).await?;
    Ok(Empty::empty())
}
