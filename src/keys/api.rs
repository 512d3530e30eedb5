//! One's own API keys, over HTTP.

use actix_web::web::{Data, Path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use super::{KeyRequest, KeyView, Keys};
use crate::access::Grant;
use crate::access::permission::ManageOwnKeys;
use crate::access::registry::TurnedAway;
use crate::clock::Timestamp;
use crate::config::LimitSet;
use crate::gate::Gate;
use crate::ids::KeyId;
use crate::secret::SecretText;
use crate::web::{Answer, ApiError, Body, Empty};

/// A key as its owner sees it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct KeyJson {
    id: KeyId,
    name: String,
    hint: String,
    scopes: Vec<String>,
    models: Option<Vec<String>>,
    /// What the key may use at most, beside all other limits.
    limits: LimitSet,
    /// The networks that it is let in from; an empty list means everywhere.
    networks: Vec<String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    /// When it last came from outside of its networks, where it has since the server started.
    turned_away: Option<TurnedAwayJson>,
}

#[derive(Serialize, JsonSchema)]
struct TurnedAwayJson {
    at: Timestamp,
    address: Option<String>,
}

impl From<KeyView> for KeyJson {
    fn from(view: KeyView) -> Self {
        let turned_away = view.turned_away.map(|TurnedAway { at, address }| TurnedAwayJson {
            at,
            address: address.map(|address| address.to_string()),
        });
        Self {
            id: view.id,
            name: view.name,
            hint: view.hint,
            scopes: view.scopes,
            models: view.models,
            limits: view.limits,
            networks: view.networks,
            created_at: view.created_at,
            expires_at: view.expires_at,
            last_used_at: view.last_used_at,
            turned_away,
        }
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
    /// Up to 16 addresses and prefixes that it is let in from, such as `192.0.2.7`, `10.0.0.0/8` or
    /// `2001:db8::/32`; none means everywhere.
    networks: Option<Vec<String>>,
    expires_in_days: Option<u32>,
}

/// Makes a key; its secret is in this answer and in no other.
pub(crate) async fn create(
    grant: Grant<ManageOwnKeys>,
    body: Body<KeyBody>,
    keys: Data<Keys>,
    gate: Data<Gate>,
) -> Result<Answer<NewKey, 201>, ApiError> {
    let Body(KeyBody { name, scopes, models, limits, networks, expires_in_days }) = body;
    let (limits, networks) = (limits.unwrap_or_default(), networks.unwrap_or_default());
    let request = KeyRequest { name, scopes, models, limits, networks, expires_in_days };
    let (view, secret) = keys.create(&grant, request, &gate).await?;
    Ok(Answer::new(&NewKey { key: view.into(), secret }))
}

/// The body of `PATCH /api/me/keys/{id}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedKey {
    /// All of the networks that it is let in from; an empty list means everywhere.
    networks: Vec<String>,
}

/// Says from where a key is let in.
pub(crate) async fn change(
    grant: Grant<ManageOwnKeys>,
    id: Path<KeyId>,
    body: Body<ChangedKey>,
    keys: Data<Keys>,
) -> Result<Answer<KeyJson>, ApiError> {
    let Body(ChangedKey { networks }) = body;
    let view = keys.change_networks(&grant, id.into_inner(), &networks).await?;
    Ok(Answer::new(&view.into()))
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
