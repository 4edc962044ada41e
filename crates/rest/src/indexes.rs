//! Declaring, listing and dropping payload indexes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use vectorizer_engine::admission::{Admin, Read};
use vectorizer_replay::Outcome;
use vectorizer_service::rendered;
use vectorizer_wire::indexes::{IndexDeclared, IndexDropped, IndexList};

use super::answer::large_json;
use super::conditions::WriteRequest;
use super::extract::{CollectionPath, IndexPath};
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::{App, vectors};

/// Declare an index of a payload path.
///
/// Every path is indexed automatically while there is room. A declared path is always indexed. Existing payloads are
/// indexed in the background.
#[utoipa::path(put, path = "/api/v1/collections/{name}/indexes/{path}", operation_id = "declare_index",
    params(("name" = String, Path), ("path" = String, Path)), responses(
    (status = 200, description = "The path was declared before.", body = IndexDeclared),
    (status = 201, description = "The path is declared.", body = IndexDeclared),
    (status = 409, description = "The collection has 64 declared paths, the most it may have."),
))]
pub(super) async fn declare(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    IndexPath(name, path): IndexPath,
    WriteRequest { body, headers: _, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    // There is only one kind of index, so the path says everything.
    if !body.bytes.is_empty() {
        return Err(Problem::invalid(
            "unexpected-body",
            "the path of the request declares the index; send no body",
        ));
    }
    let input = body.nothing();
    let committed = app.service().declare_index(&tenant, name, path.clone(), input, conditions).await?;
    let is_new = matches!(committed.outcome, Outcome::IndexDeclared { is_new: true });
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(vectors::written(status, committed, &IndexDeclared::of(&committed, &path)))
}

/// List a collection's payload indexes.
#[utoipa::path(get, path = "/api/v1/collections/{name}/indexes", operation_id = "list_indexes",
    params(("name" = String, Path)), responses((status = 200, body = IndexList)))]
pub(super) async fn list(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    CollectionPath(name): CollectionPath,
) -> Result<Response, Problem> {
    let list = IndexList::from(app.service().list_indexes(&tenant, &name).await?);
    let (memory, bytes) = (app.service().answer_memory(&tenant), list.bytes());
    rendered(bytes, move || large_json(&memory, bytes, &list)).await
}

/// Drop the declaration of an index.
///
/// The path stays indexed while there is room.
#[utoipa::path(delete, path = "/api/v1/collections/{name}/indexes/{path}", operation_id = "drop_index",
    params(("name" = String, Path), ("path" = String, Path)), responses((status = 200, body = IndexDropped)))]
pub(super) async fn undeclare(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    IndexPath(name, path): IndexPath,
    WriteRequest { body, headers: _, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    let input = body.nothing();
    let committed = app.service().drop_index(&tenant, name, path.clone(), input, conditions).await?;
    Ok(vectors::written(StatusCode::OK, committed, &IndexDropped::of(&committed, &path)))
}
