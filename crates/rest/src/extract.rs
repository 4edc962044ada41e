//! Extractors for the parts of a path: handlers' arguments.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::{Deserialize, de};
use vectorizer_index::Key;
use vectorizer_log::{CollectionName, PayloadPath, PointId, TenantId};
use vectorizer_service::Error;

use super::App;
use super::problem::Problem;

/// The collection in the path.
pub(super) struct CollectionPath(pub CollectionName);

impl FromRequestParts<App> for CollectionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(name) = path::<String>(parts, app).await?;
        Ok(Self(name.parse().map_err(Error::from)?))
    }
}

/// The collection and the payload path in the path.
pub(super) struct IndexPath(pub CollectionName, pub PayloadPath);

impl FromRequestParts<App> for IndexPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path((name, path)) = path::<(String, String)>(parts, app).await?;
        Ok(Self(name.parse().map_err(Error::from)?, Key::index_path(&path).map_err(Error::from)?))
    }
}

/// The tenant in the path.
pub(super) struct TenantPath(pub TenantId);

impl FromRequestParts<App> for TenantPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(id) = path::<String>(parts, app).await?;
        Ok(Self(tenant(&id, "the tenant in the path")?))
    }
}

/// Parses a tenant's id. `place` names its source in errors.
pub(super) fn tenant(text: &str, place: &str) -> Result<TenantId, Problem> {
    text.parse().map_err(|_| {
        Problem::invalid("invalid-tenant", format!("{place} is {text:?}, which is not a tenant id"))
    })
}

/// The collection and the vector in the path.
pub(super) struct VectorPath(pub CollectionName, pub PointId);

impl FromRequestParts<App> for VectorPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Path(VectorPathParts { name, id }) = path(parts, app).await?;
        let implied = parts.extensions.get::<ImpliedId>().map(|implied| implied.0.to_owned());
        let id = id.or(implied).ok_or_else(Problem::internal)?;
        Ok(Self(name.parse().map_err(Error::from)?, PointId::text(id).map_err(Error::from)?))
    }
}

#[derive(Deserialize)]
struct VectorPathParts {
    name: String,
    /// Missing if the route implies it.
    id: Option<String>,
}

/// The id of the vector that a route implies without a path parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct ImpliedId(pub &'static str);

async fn path<T: de::DeserializeOwned + Send>(parts: &mut Parts, app: &App) -> Result<Path<T>, Problem> {
    Path::from_request_parts(parts, app)
        .await
        .map_err(|_| Problem::malformed("invalid-path", "the percent-decoded path is not UTF-8"))
}
