//! Declaring which paths of payloads are indexed, and seeing which are.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_index::{IndexState, Indexes};
use vectorizer_replay::Outcome;

use super::answer::made;
use super::conditions::Submitted;
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::values::{InCollection, OfIndex};
use super::{App, openapi, vectors};
use crate::auth::{Admin, Read};
use crate::tenancy::CollectionChange;

/// About how many bytes of JSON show a path beside its text.
const SHOWN_BYTES: usize = 64;

/// How a collection's payloads are indexed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IndexList {
    /// The paths that were declared, by their text: at most 64. They are indexed whatever other paths there are.
    #[schema(max_items = 64)]
    declared: Vec<DeclaredIndex>,
    /// Other paths that are indexed, by themselves.
    automatic: AutomaticIndexes,
    /// Other paths that are not: filters on them are as exact, and look at payloads.
    left_out: PathsLeftOut,
}

/// A declared path.
#[derive(Debug, Serialize, ToSchema)]
struct DeclaredIndex {
    /// As the keys of filters are written.
    #[schema(value_type = openapi::PayloadPath)]
    path: String,
    /// `ready`: filters on it look at no payloads. `building`: they still do.
    #[schema(value_type = IndexStateName)]
    state: &'static str,
}

/// Where an index stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the words of `IndexState`")]
enum IndexStateName {
    Ready,
    Building,
}

/// Paths that are indexed by themselves.
#[derive(Debug, Serialize, ToSchema)]
struct AutomaticIndexes {
    /// How many.
    count: usize,
    /// The first hundred.
    #[schema(value_type = Vec<openapi::PayloadPath>, max_items = 100)]
    first: Vec<String>,
}

/// Paths that are not indexed.
#[derive(Debug, Serialize, ToSchema)]
struct PathsLeftOut {
    /// How many.
    count: usize,
    /// The first hundred.
    #[schema(value_type = Vec<openapi::PayloadPath>, max_items = 100)]
    first: Vec<String>,
    /// Why they are not.
    #[schema(value_type = LeftOutReason)]
    reason: &'static str,
}

/// Why paths are not indexed. `no-room`: the index of all paths but the declared ones takes as much memory as it may, 16
/// MiB or the bytes of all payloads if that is more, beside its values. They come in when an eighth of it is free.
#[derive(ToSchema)]
#[schema(rename_all = "kebab-case")]
#[expect(dead_code, reason = "it describes the only reason there is")]
enum LeftOutReason {
    NoRoom,
}

impl From<Indexes> for IndexList {
    fn from(indexes: Indexes) -> Self {
        let Indexes { declared, automatic, automatic_first, left_out, left_out_first } = indexes;
        let state = |state| match state {
            IndexState::Ready => "ready",
            IndexState::Building => "building",
        };
        let declared = declared.into_iter().map(|(path, at)| DeclaredIndex { path, state: state(at) });
        Self {
            declared: declared.collect(),
            automatic: AutomaticIndexes { count: automatic, first: automatic_first },
            left_out: PathsLeftOut { count: left_out, first: left_out_first, reason: "no-room" },
        }
    }
}

/// A path is declared.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IndexDeclared<'a> {
    /// The record that did it; the last record of the log if it was declared before.
    seq: u64,
    /// The path in its one form, with as few quotes as possible: `a[].b` is `a.b`.
    #[schema(value_type = openapi::PayloadPath)]
    path: &'a str,
}

/// A path is declared no longer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IndexDropped<'a> {
    /// The record that did it.
    seq: u64,
    /// The path in its one form.
    #[schema(value_type = openapi::PayloadPath)]
    path: &'a str,
}

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
    Granted(tenant): Granted<Admin>,
    OfIndex(name, path): OfIndex,
    submitted: Submitted,
) -> Result<Response, Problem> {
    // There are no kinds of indexes to choose from: all that is asked for is in the path.
    if !submitted.body.bytes.is_empty() {
        return Err(Problem::invalid(
            "unexpected-body",
            "an index is declared by its path alone; send no body",
        ));
    }
    let change = CollectionChange::DeclareIndex(path.clone());
    let committed = tenant.change_collections(submitted.write(name, change)).await?;
    let is_new = matches!(committed.outcome, Outcome::IndexDeclared { is_new: true });
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let body = IndexDeclared { seq: committed.seq.get(), path: path.as_str() };
    Ok(vectors::written(status, committed, &body))
}

/// See how a collection's payloads are indexed.
#[utoipa::path(get, path = "/api/v1/collections/{name}/indexes", operation_id = "list_indexes",
    params(("name" = String, Path)), responses((status = 200, body = IndexList)))]
pub(super) async fn list(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
) -> Result<Response, Problem> {
    let answers = app.answer_room(&tenant);
    let list = IndexList::from(tenant.indexes(&name).await?);
    let paths = list.declared.iter().map(|declared| &declared.path);
    let paths = paths.chain(&list.automatic.first).chain(&list.left_out.first);
    let bytes = paths.fold(SHOWN_BYTES * 4, |bytes, path| bytes + SHOWN_BYTES + path.len());
    made(bytes, move || answers.json(bytes, &list)).await
}

/// Make a declared path one like all others.
///
/// It stays indexed if there is room.
#[utoipa::path(delete, path = "/api/v1/collections/{name}/indexes/{path}", operation_id = "drop_index",
    params(("name" = String, Path), ("path" = String, Path)), responses((status = 200, body = IndexDropped)))]
pub(super) async fn undeclare(
    Granted(tenant): Granted<Admin>,
    OfIndex(name, path): OfIndex,
    submitted: Submitted,
) -> Result<Response, Problem> {
    let change = CollectionChange::DropIndex(path.clone());
    let committed = tenant.change_collections(submitted.write(name, change)).await?;
    let body = IndexDropped { seq: committed.seq.get(), path: path.as_str() };
    Ok(vectors::written(StatusCode::OK, committed, &body))
}
