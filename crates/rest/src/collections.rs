//! Creating, describing and deleting collections.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use vectorizer_engine::admission::{Admin, Read};
use vectorizer_service::rendered;
use vectorizer_wire::collections::{
    CollectionAnswer, CollectionCreated, CollectionDeleted, CollectionList, NewCollection,
};

use super::answer::{json, large_json};
use super::body::expect_content_type;
use super::conditions::WriteRequest;
use super::extract::CollectionPath;
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::{App, vectors};

/// Create a collection.
#[utoipa::path(post, path = "/api/v1/collections", operation_id = "create_collection",
    request_body = NewCollection, responses(
    (status = 201, body = CollectionCreated, headers(("Location" = String, description = "The path of the collection."))),
    (status = 409, description = "The name is taken."),
))]
pub(super) async fn create(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    WriteRequest { body, headers, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    expect_content_type(&headers, &["application/json"])?;
    let input = body.json(NewCollection::checked);
    let (name, committed) = app.service().create_collection(&tenant, input, conditions).await?;
    let created = CollectionCreated::of(&committed, &name);
    let mut response = vectors::written(StatusCode::CREATED, committed, &created);
    // A collection's name has only characters that a header value can have.
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/collections/{name}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// List all collections.
#[utoipa::path(get, path = "/api/v1/collections", operation_id = "list_collections",
    responses(
    (status = 200, body = CollectionList),
    (status = 422, description = "There are too many collections for one answer."),
))]
pub(super) async fn list(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
) -> Result<Response, Problem> {
    let (collections, bytes) = app.service().list_collections(&tenant).await?;
    let memory = app.service().answer_memory(&tenant);
    rendered(bytes, move || large_json(&memory, bytes, &CollectionList::of(collections))).await
}

/// Describe a collection.
#[utoipa::path(get, path = "/api/v1/collections/{name}", operation_id = "describe_collection",
    params(("name" = String, Path)), responses(
    (status = 200, body = CollectionAnswer, headers(("ETag" = String, description = "The seq of the last change, for If-Match."))),
))]
pub(super) async fn describe(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    CollectionPath(name): CollectionPath,
) -> Result<Response, Problem> {
    let facts = app.service().describe_collection(&tenant, &name).await?;
    let tag =
        HeaderValue::from_str(&format!("\"{}\"", facts.last_change)).map_err(|_| Problem::internal())?;
    let mut response = json(StatusCode::OK, &CollectionAnswer::from(facts));
    response.headers_mut().insert(header::ETAG, tag);
    Ok(response)
}

/// Delete a collection with all its vectors.
#[utoipa::path(delete, path = "/api/v1/collections/{name}", operation_id = "delete_collection",
    params(("name" = String, Path)), responses(
    (status = 200, body = CollectionDeleted),
))]
pub(super) async fn delete(
    State(app): State<App>,
    Granted(tenant): Granted<Admin>,
    CollectionPath(name): CollectionPath,
    WriteRequest { body, headers: _, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    let committed = app.service().delete_collection(&tenant, name, body.nothing(), conditions).await?;
    Ok(vectors::written(StatusCode::OK, committed, &CollectionDeleted::of(&committed)))
}
