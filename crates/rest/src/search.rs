//! Searching and counting.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use vectorizer_engine::admission::Read;
use vectorizer_wire::search::{
    CountAnswer, CountInput, SearchAnswer, SearchBatchAnswer, SearchBatchInput, SearchInput,
};

use super::App;
use super::answer::{json, large_json};
use super::body::JsonBody;
use super::extract::CollectionPath;
use super::middleware::auth::Granted;
use super::problem::Problem;

/// Search a collection.
#[utoipa::path(post, path = "/api/v1/collections/{name}/search", params(("name" = String, Path)),
    request_body = SearchInput, responses(
    (status = 200, body = SearchAnswer),
))]
pub(super) async fn search(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    CollectionPath(name): CollectionPath,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let depth_max = app.json_depth_max();
    let input = body.json(move |input: SearchInput| input.into_arguments(depth_max));
    let found = app.service().search(&tenant, &name, input).await?;
    let memory = app.service().answer_memory(&tenant);
    found.render(move |hits, show, bytes| large_json(&memory, bytes, &SearchAnswer::of(hits, show))).await
}

/// Run several searches of a collection against the same state.
#[utoipa::path(post, path = "/api/v1/collections/{name}/search/batch", params(("name" = String, Path)),
    request_body = SearchBatchInput, responses(
    (status = 200, body = SearchBatchAnswer),
))]
pub(super) async fn search_batch(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    CollectionPath(name): CollectionPath,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let depth_max = app.json_depth_max();
    let input = body.json(move |input: SearchBatchInput| input.into_arguments(depth_max));
    let found = app.service().search_batch(&tenant, &name, input).await?;
    let memory = app.service().answer_memory(&tenant);
    found.render(move |found, bytes| large_json(&memory, bytes, &SearchBatchAnswer::of(found))).await
}

/// Count a collection's vectors, or those that match a filter.
#[utoipa::path(post, path = "/api/v1/collections/{name}/count", params(("name" = String, Path)),
    request_body = CountInput, responses(
    (status = 200, body = CountAnswer),
))]
pub(super) async fn count(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    CollectionPath(name): CollectionPath,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let depth_max = app.json_depth_max();
    let input = body.json(move |input: CountInput| input.into_filter(depth_max));
    let count = app.service().count(&tenant, &name, input).await?;
    Ok(json(StatusCode::OK, &CountAnswer::of(count)))
}
