//! Declaring which paths of payloads are indexed, and seeing which are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use vectorizer_replay::Outcome;

use super::answer::large_json;
use super::conditions::Submitted;
use super::extract::{InCollection, OfIndex};
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::{App, vectors};
use crate::auth::{Admin, Read};
use crate::service::rendered;
use crate::wire::indexes::{IndexDeclared, IndexDropped, IndexList};

/// Have a path of payloads indexed whatever other paths there are.
///
/// Every path is indexed by itself as long as there is room; a declared one always is. Payloads that are there already
/// are indexed behind the scenes.
#[utoipa::path(put, path = "/api/v1/collections/{name}/indexes/{path}", operation_id = "declare_index",
    params(("name" = String, Path), ("path" = String, Path)), responses(
    (status = 200, description = "It was declared before.", body = IndexDeclared),
    (status = 201, description = "It is declared from now on.", body = IndexDeclared),
    (status = 409, description = "As many paths are declared as may be, 64 in one collection."),
))]
pub(super) async fn declare(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    OfIndex(name, path): OfIndex,
    Submitted { body, headers: _, conditions }: Submitted,
) -> Result<Response, Problem> {
    // There are no kinds of indexes to choose from: all that is asked for is in the path.
    if !body.bytes.is_empty() {
        return Err(Problem::invalid(
            "unexpected-body",
            "an index is declared by its path alone; send no body",
        ));
    }
    let input = body.nothing();
    let committed = app.service().declare_index(&tenant, name, path.clone(), input, conditions).await?;
    let is_new = matches!(committed.outcome, Outcome::IndexDeclared { is_new: true });
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(vectors::written(status, committed, &IndexDeclared::of(&committed, &path)))
}

/// See how a collection's payloads are indexed.
#[utoipa::path(get, path = "/api/v1/collections/{name}/indexes", operation_id = "list_indexes",
    params(("name" = String, Path)), responses((status = 200, body = IndexList)))]
pub(super) async fn list(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
) -> Result<Response, Problem> {
    let list = IndexList::from(app.service().list_indexes(&tenant, &name).await?);
    let (memory, bytes) = (app.service().answer_memory(&tenant), list.bytes());
    rendered(bytes, move || large_json(&memory, bytes, &list)).await
}

/// Make a declared path one like all others.
///
/// It stays indexed if there is room.
#[utoipa::path(delete, path = "/api/v1/collections/{name}/indexes/{path}", operation_id = "drop_index",
    params(("name" = String, Path), ("path" = String, Path)), responses((status = 200, body = IndexDropped)))]
pub(super) async fn undeclare(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    OfIndex(name, path): OfIndex,
    Submitted { body, headers: _, conditions }: Submitted,
) -> Result<Response, Problem> {
    let input = body.nothing();
    let committed = app.service().drop_index(&tenant, name, path.clone(), input, conditions).await?;
    Ok(vectors::written(StatusCode::OK, committed, &IndexDropped::of(&committed, &path)))
}
