//! Writing, reading and deleting vectors.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use vectorizer_engine::admission::{Read, Write};
use vectorizer_engine::tenancy::Committed;
use vectorizer_service::{Show, rendered, shown_bytes};
use vectorizer_wire::vectors::{
    DeleteSelection, Deleted, Page, PayloadChanged, PointAnswer, PointInput, Upsert, Upserted, merge_patch,
    parse_batch, parse_lines, read_cursor,
};

use super::answer::{self, large_json};
use super::body::{Parameters, expect_content_type};
use super::conditions::WriteRequest;
use super::extract::{CollectionPath, VectorPath};
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::{App, openapi};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// Which parts of a vector the answer includes.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the names of parameters")]
pub(super) struct Shown {
    /// Include payloads; by default true.
    with_payload: Option<bool>,
    /// Include texts; by default true.
    with_text: Option<bool>,
    /// Include vectors; by default false.
    with_vector: Option<bool>,
}

/// The parameters of listing vectors.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParameters {
    /// The most vectors on the page, 1 to 1,000; by default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// `next_cursor` of the previous page.
    #[param(min_length = 2, max_length = 342, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Include payloads; by default true.
    with_payload: Option<bool>,
    /// Include texts; by default true.
    with_text: Option<bool>,
    /// Include vectors; by default false.
    with_vector: Option<bool>,
}

/// The answer to a write.
pub(super) fn written<T: Serialize>(status: StatusCode, committed: Committed, body: &T) -> Response {
    let mut response = answer::json(status, body);
    if committed.repeated {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Upsert vectors: insert them, or replace those with the same ids.
#[utoipa::path(put, path = "/api/v1/collections/{name}/vectors", operation_id = "upsert_vectors",
    params(("name" = String, Path)),
    request_body(content((Upsert = "application/json"), (PointInput = "application/x-ndjson"))),
    responses((status = 200, body = Upserted)))]
pub(super) async fn upsert(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    CollectionPath(name): CollectionPath,
    WriteRequest { body, headers, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    let lines = expect_content_type(&headers, &[JSON, NDJSON])? == NDJSON;
    let depth_max = app.json_depth_max();
    let input = body.input(
        move |bytes| {
            if lines { parse_lines(bytes, depth_max) } else { parse_batch(bytes, depth_max) }
        },
    );
    let committed = app.service().upsert_vectors(&tenant, name, input, conditions).await?;
    Ok(written(StatusCode::OK, committed, &Upserted::of(&committed)))
}

/// List vectors in the order of their ids, page by page.
#[utoipa::path(get, path = "/api/v1/collections/{name}/vectors", operation_id = "list_vectors",
    params(("name" = String, Path), PageParameters), responses(
    (status = 200, body = Page),
))]
pub(super) async fn list(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    CollectionPath(name): CollectionPath,
    Parameters(parameters): Parameters<PageParameters>,
) -> Result<Response, Problem> {
    let PageParameters { limit, cursor, with_payload, with_text, with_vector } = parameters;
    let show = Show::with_defaults(with_payload, with_text, with_vector);
    let after = cursor.as_deref().map(read_cursor).transpose()?;
    let page = app.service().list_vectors(&tenant, &name, limit, after.as_ref(), show).await?;
    let memory = app.service().answer_memory(&tenant);
    rendered(page.bytes, move || large_json(&memory, page.bytes, &Page::of(&page, show))).await
}

/// Read a vector.
#[utoipa::path(get, path = "/api/v1/collections/{name}/vectors/{id}", operation_id = "get_vector",
    params(("name" = String, Path), ("id" = String, Path), Shown), responses(
    (status = 200, body = PointAnswer),
))]
pub(super) async fn get(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    VectorPath(name, id): VectorPath,
    Parameters(Shown { with_payload, with_text, with_vector }): Parameters<Shown>,
) -> Result<Response, Problem> {
    let show = Show::with_defaults(with_payload, with_text, with_vector);
    let point = app.service().get_vector(&tenant, &name, &id).await?;
    let memory = app.service().answer_memory(&tenant);
    large_json(&memory, shown_bytes(&point, show), &PointAnswer::of(&point, show))
}

/// Delete a vector.
#[utoipa::path(delete, path = "/api/v1/collections/{name}/vectors/{id}", operation_id = "delete_vector",
    params(("name" = String, Path), ("id" = String, Path)), responses(
    (status = 200, body = Deleted),
))]
pub(super) async fn delete(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    VectorPath(name, id): VectorPath,
    WriteRequest { body, headers: _, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    let committed = app.service().delete_vector(&tenant, name, id, body.nothing(), conditions).await?;
    Ok(written(StatusCode::OK, committed, &Deleted::of(&committed)))
}

/// Delete vectors by id, by filter, or all of them.
///
/// A filter must have a condition. A filter that selects every vector is rejected with `filter-selects-all`: an empty
/// filter, one with an empty alternative, and one whose conditions list no value where that selects every vector.
#[utoipa::path(post, path = "/api/v1/collections/{name}/vectors/delete", operation_id = "delete_vectors",
    params(("name" = String, Path)),
    request_body = DeleteSelection, responses(
    (status = 200, body = Deleted),
))]
pub(super) async fn delete_many(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    CollectionPath(name): CollectionPath,
    WriteRequest { body, headers, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    expect_content_type(&headers, &[JSON])?;
    let depth_max = app.json_depth_max();
    let input = body.json(move |selection: DeleteSelection| selection.into_selection(depth_max));
    let committed = app.service().delete_vectors(&tenant, name, input, conditions).await?;
    Ok(written(StatusCode::OK, committed, &Deleted::of(&committed)))
}

/// Change a vector's payload by a JSON merge patch (RFC 7396).
#[utoipa::path(patch, path = "/api/v1/collections/{name}/vectors/{id}/payload", operation_id = "change_payload",
    params(("name" = String, Path), ("id" = String, Path)),
    request_body(content((openapi::MergePatch = "application/merge-patch+json"), (openapi::MergePatch = "application/json"))), responses(
    (status = 200, body = PayloadChanged),
))]
pub(super) async fn change_payload(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    VectorPath(name, id): VectorPath,
    WriteRequest { body, headers, conditions }: WriteRequest,
) -> Result<Response, Problem> {
    expect_content_type(&headers, &[MERGE_PATCH, JSON])?;
    let depth_max = app.json_depth_max();
    let input = body.input(move |bytes| merge_patch(bytes, depth_max));
    let committed = app.service().change_payload(&tenant, name, id, input, conditions).await?;
    Ok(written(StatusCode::OK, committed, &PayloadChanged::of(&committed)))
}
