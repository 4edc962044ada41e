//! What the path of a request names, as arguments of handlers.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::{Deserialize, de};
use vectorizer_index::Key;
use vectorizer_log::{CollectionName, PayloadPath, PointId, TenantId};

use super::App;
use super::problem::Problem;
use crate::service::Error;

/// The collection that a path names.
pub(super) struct InCollection(pub CollectionName);

impl FromRequestParts<App> for InCollection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(name) = path::<String>(parts, app).await?;
        Ok(Self(name.parse().map_err(Error::from)?))
    }
}

/// The path of payloads that a path names, and its collection.
pub(super) struct OfIndex(pub CollectionName, pub PayloadPath);

impl FromRequestParts<App> for OfIndex {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path((name, path)) = path::<(String, String)>(parts, app).await?;
        Ok(Self(name.parse().map_err(Error::from)?, Key::index_path(&path).map_err(Error::from)?))
    }
}

/// The tenant that a path names.
pub(super) struct OfTenant(pub TenantId);

impl FromRequestParts<App> for OfTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = path::<String>(parts, app).await?;
        Ok(Self(tenant(&id, "the tenant in the path")?))
    }
}

/// A tenant's id, found in `place`.
pub(super) fn tenant(text: &str, place: &str) -> Result<TenantId, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("invalid-tenant", format!("{place} is {text:?}, which is no tenant id"))
    })
}

/// The vector that a path names, and its collection.
pub(super) struct OfVector(pub CollectionName, pub PointId);

impl FromRequestParts<App> for OfVector {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(VectorPath { name, id }) = path(parts, app).await?;
        let implied = parts.extensions.get::<ImpliedId>().map(|implied| implied.0.to_owned());
        let id = id.or(implied).ok_or_else(Problem::internal)?;
        Ok(Self(name.parse().map_err(Error::from)?, PointId::text(id).map_err(Error::from)?))
    }
}

#[derive(Deserialize)]
struct VectorPath {
    name: String,
    /// Missing where the route implies it.
    id: Option<String>,
}

/// The id of the vector that a path leads to without naming it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImpliedId(pub &'static str);

async fn path<T: de::DeserializeOwned + Send>(parts: &mut Parts, app: &App) -> Result<Path<T>, Problem> {
    Path::from_request_parts(parts, app)
        .await
        .map_err(|_| Problem::malformed("invalid-path", "the path is not UTF-8 once it is percent-decoded"))
}
