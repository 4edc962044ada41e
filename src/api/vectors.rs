//! Writing, reading and deleting vectors.

use std::fmt;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use vectorizer_index::{Filter, StoredPoint};
use vectorizer_log::{CollectionName, Document, Payload, PointId, Text};

use super::answer::{self, Show, expect_answer, made, shown_bytes};
use super::body::{Parameters, expect_content_type, parse_body};
use super::conditions::Submitted;
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::values::{InCollection, OfVector, VectorInput, expect_plain, filter, given, limit, payload};
use super::{App, openapi};
use crate::auth::{Read, Write};
use crate::json::{self, AtMost, Limit, Unreadable};
use crate::tenancy::{Committed, MergePatch, Tenant, VectorChange};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// How many vectors a page has unless the request says otherwise.
const PAGE_DEFAULT: usize = 100;

/// The most vectors that one request writes or deletes by their ids.
const VECTORS_MAX: usize = 100_000;

/// How many vectors or ids one request may have.
#[derive(Debug)]
pub(super) struct InOneWrite;

impl Limit for InOneWrite {
    const MAX: usize = VECTORS_MAX;
    const CODE: &'static str = "write-too-large";

    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds more than {VECTORS_MAX}, the most that one request takes; send several")
    }
}

/// Vectors to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Upsert {
    /// 1 to 100,000, with distinct ids.
    #[schema(value_type = Vec<PointInput>, min_items = 1, max_items = 100_000)]
    vectors: AtMost<PointInput, InOneWrite>,
}

/// One vector to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PointInput {
    /// 1 to 256 bytes without control characters.
    #[schema(value_type = openapi::VectorId)]
    id: String,
    /// Numbers, or base64 of little-endian f32; needed in a collection with a dimension, unless the server
    /// is configured to make embeddings of texts; refused in a collection without.
    #[schema(value_type = Option<openapi::Vector>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    vector: Option<VectorInput>,
    /// 1 byte to 64 KiB of any characters, found by its words. Only in a collection with texts; needed in one without
    /// a dimension.
    #[schema(nullable = false, min_length = 1, max_length = 65536)]
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    /// A JSON object of up to 64 KiB.
    #[schema(value_type = Option<openapi::Payload>)]
    payload: Option<Box<RawValue>>,
}

impl PointInput {
    fn into_document(self, depth_max: usize) -> Result<Document, Problem> {
        let id = PointId::text(self.id)?;
        let of = |problem: Problem| problem.at(format_args!("vector {:?}", id.as_str()));
        let vector = self.vector.map(VectorInput::into_vector).transpose().map_err(of)?;
        let payload = payload(self.payload, depth_max).map_err(of)?;
        let text = self.text.map(Text::new).transpose().map_err(|invalid| of(invalid.into()))?;
        Ok(Document { id, vector, payload, text })
    }
}

/// Vectors were written.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Upserted {
    /// The record that did it.
    seq: u64,
    /// How many, new or in place of older ones.
    upserted: u64,
}

/// Vectors were deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deleted {
    /// The record that did it; the last record of the log if none existed.
    seq: u64,
    /// How many existed.
    deleted: u64,
}

/// A payload was changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PayloadChanged {
    /// The record that did it.
    seq: u64,
}

/// What of each vector is shown.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "they are the names of parameters")]
pub(super) struct Shown {
    /// Show payloads; true unless said otherwise.
    with_payload: Option<bool>,
    /// Show texts; true unless said otherwise.
    with_text: Option<bool>,
    /// Show vectors; false unless said otherwise.
    with_vector: Option<bool>,
}

/// A page of vectors.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParameters {
    /// 1 to 1,000; 100 unless said otherwise.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    #[param(min_length = 2, max_length = 342, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Show payloads; true unless said otherwise.
    with_payload: Option<bool>,
    /// Show texts; true unless said otherwise.
    with_text: Option<bool>,
    /// Show vectors; false unless said otherwise.
    with_vector: Option<bool>,
}

/// One vector.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PointAnswer<'a> {
    /// Its id.
    #[schema(value_type = openapi::VectorId)]
    pub(super) id: &'a str,
    /// Its payload, if it has one and it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<openapi::Payload>, nullable = false)]
    pub(super) payload: Option<&'a RawValue>,
    /// Its text, if it has one and it was asked for; as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) text: Option<&'a str>,
    /// Its numbers, if it has any and they were asked for; bit for bit as they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) vector: Option<&'a [f32]>,
}

impl<'a> PointAnswer<'a> {
    pub(super) fn of(point: &'a StoredPoint, show: Show) -> Self {
        Self {
            id: point.id(),
            payload: point.payload().filter(|_| show.payload).and_then(raw),
            text: point.text().filter(|_| show.text).map(Text::as_str),
            vector: Some(point.vector()).filter(|vector| show.vector && !vector.is_empty()),
        }
    }
}

fn raw(payload: &Payload) -> Option<&RawValue> {
    serde_json::from_str(payload.as_str()).ok()
}

/// Vectors in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<'a> {
    /// The vectors.
    vectors: Vec<PointAnswer<'a>>,
    /// Where the next page starts; null on the last one.
    next_cursor: Option<String>,
}

/// Which vectors to delete: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteSelection {
    /// These, as far as they exist; up to 100,000.
    #[schema(value_type = Option<Vec<openapi::VectorId>>, max_items = 100_000)]
    ids: Option<AtMost<String, InOneWrite>>,
    /// Those that fulfil this filter, which must have a condition.
    #[schema(value_type = Option<openapi::Filter>)]
    filter: Option<Box<RawValue>>,
    /// Every vector of the collection, if it is true.
    all: Option<bool>,
}

/// The answer to a write.
pub(super) fn written<T: Serialize>(status: StatusCode, committed: Committed, body: &T) -> Response {
    let mut response = answer::json(status, body);
    if committed.repeated {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Write vectors, new or in place of those with the same ids.
#[utoipa::path(put, path = "/api/v1/collections/{name}/vectors", operation_id = "upsert_vectors",
    params(("name" = String, Path)),
    request_body(content((Upsert = "application/json"), (PointInput = "application/x-ndjson"))),
    responses((status = 200, body = Upserted)))]
pub(super) async fn upsert(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    InCollection(name): InCollection,
    submitted: Submitted,
) -> Result<Response, Problem> {
    let lines = expect_content_type(&submitted.headers, &[JSON, NDJSON])? == NDJSON;
    let depth_max = app.json_depth_max();
    expect_collection(&tenant, &name, &submitted).await?;
    let mut documents = submitted
        .body
        .parsed(
            move |bytes| if lines { parse_lines(bytes, depth_max) } else { parse_batch(bytes, depth_max) },
        )
        .await?;
    // What was answered before is answered again, whoever can be asked for embeddings now.
    let answered = match submitted.idempotency() {
        Some(idempotency) => tenant.has_answered(idempotency).await?,
        None => false,
    };
    if let Some(embedder) = app.embedder()
        && !answered
        && let Some(facts) = tenant.existing(&name).await?
    {
        embedder.complete(&facts, &mut documents).await?;
    }
    let committed = tenant.change_vectors(submitted.write(name, VectorChange::Upsert(documents))).await?;
    let upserted = committed.outcome.vectors();
    Ok(written(StatusCode::OK, committed, &Upserted { seq: committed.seq.get(), upserted }))
}

fn parse_batch(bytes: &[u8], depth_max: usize) -> Result<Vec<Document>, Problem> {
    let Upsert { vectors } = parse_body(bytes)?;
    let point = |(number, point): (usize, PointInput)| {
        point.into_document(depth_max).map_err(|problem| problem.at(format_args!("vectors[{number}]")))
    };
    not_empty(vectors.elements.into_iter().enumerate().map(point).collect::<Result<_, _>>()?)
}

fn parse_lines(bytes: &[u8], depth_max: usize) -> Result<Vec<Document>, Problem> {
    let mut points = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if points.len() == VECTORS_MAX {
            let detail = format!(
                "line {number}: there are more than {VECTORS_MAX} vectors, the most that one request takes; send several"
            );
            return Err(Problem::too_large("write-too-large", detail));
        }
        let parse = || parse_line(line)?.into_document(depth_max);
        points.push(parse().map_err(|problem| problem.at(format_args!("line {number}")))?);
    }
    not_empty(points)
}

fn parse_line(line: &[u8]) -> Result<PointInput, Problem> {
    json::read(line)
        .map_err(|unreadable| match unreadable {
            // Which line it is is said in front.
            Unreadable::NotJson(why) => {
                Unreadable::NotJson(why.replace(", at line 1, column", ", at column"))
            }
            Unreadable::Wrong(wrong) => Unreadable::Wrong(wrong),
        })
        .map_err(Problem::from)
}

fn not_empty(points: Vec<Document>) -> Result<Vec<Document>, Problem> {
    if points.is_empty() {
        Err(Problem::invalid("no-vectors", "vectors: there are none"))
    } else {
        Ok(points)
    }
}

/// Page through vectors, in the order of their ids.
#[utoipa::path(get, path = "/api/v1/collections/{name}/vectors", operation_id = "list_vectors",
    params(("name" = String, Path), PageParameters), responses(
    (status = 200, body = Page),
))]
pub(super) async fn list(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    Parameters(parameters): Parameters<PageParameters>,
) -> Result<Response, Problem> {
    let PageParameters { limit: asked, cursor, with_payload, with_text, with_vector } = parameters;
    let show = Show::asked(with_payload, with_text, with_vector);
    let limit = limit(asked, PAGE_DEFAULT)?;
    let after = cursor.as_deref().map(read_cursor).transpose()?;
    // One more than asked for, to know whether there is a next page.
    let mut points = tenant.page(&name, after.as_ref(), limit + 1).await?;
    let more = points.len() > limit;
    points.truncate(limit);
    let bytes = points.iter().map(|point| shown_bytes(point, show)).sum();
    expect_answer(bytes)?;
    let answers = app.answer_room(&tenant);
    made(bytes, move || {
        let next_cursor = points.last().filter(|_| more).map(|point| write_cursor(point.id()));
        let vectors = points.iter().map(|point| PointAnswer::of(point, show)).collect();
        answers.json(bytes, &Page { vectors, next_cursor })
    })
    .await
}

/// A cursor is the last id of its page. It names a place in an order, so it stays good whatever is
/// written meanwhile, and means nothing outside the tenant that uses it.
fn write_cursor(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

fn read_cursor(cursor: &str) -> Result<PointId, Problem> {
    let invalid =
        || Problem::invalid("invalid-cursor", format!("cursor {cursor:?} is none that was given out"));
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| invalid())?;
    let id = String::from_utf8(bytes).map_err(|_| invalid())?;
    PointId::text(id).map_err(|_| invalid())
}

/// Read one vector.
#[utoipa::path(get, path = "/api/v1/collections/{name}/vectors/{id}", operation_id = "get_vector",
    params(("name" = String, Path), ("id" = String, Path), Shown), responses(
    (status = 200, body = PointAnswer),
))]
pub(super) async fn get(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    OfVector(name, id): OfVector,
    Parameters(Shown { with_payload, with_text, with_vector }): Parameters<Shown>,
) -> Result<Response, Problem> {
    let show = Show::asked(with_payload, with_text, with_vector);
    let point = tenant.point(&name, &id).await?;
    let bytes = shown_bytes(&point, show);
    app.answer_room(&tenant).json(bytes, &PointAnswer::of(&point, show))
}

/// Delete one vector.
#[utoipa::path(delete, path = "/api/v1/collections/{name}/vectors/{id}", operation_id = "delete_vector",
    params(("name" = String, Path), ("id" = String, Path)), responses(
    (status = 200, body = Deleted),
))]
pub(super) async fn delete(
    Granted(tenant): Granted<Write>,
    OfVector(name, id): OfVector,
    submitted: Submitted,
) -> Result<Response, Problem> {
    let committed = tenant.change_vectors(submitted.write(name, VectorChange::DeleteOne(id))).await?;
    Ok(deleted(committed))
}

/// Delete vectors by id, by filter, or all of them.
///
/// A filter deletes only if it has a condition: an empty one, one with an empty alternative, and one whose conditions
/// list no value where that selects every vector are refused with `filter-selects-all`.
#[utoipa::path(post, path = "/api/v1/collections/{name}/vectors/delete", operation_id = "delete_vectors",
    params(("name" = String, Path)),
    request_body = DeleteSelection, responses(
    (status = 200, body = Deleted),
))]
pub(super) async fn delete_many(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    InCollection(name): InCollection,
    submitted: Submitted,
) -> Result<Response, Problem> {
    expect_content_type(&submitted.headers, &[JSON])?;
    expect_collection(&tenant, &name, &submitted).await?;
    let depth_max = app.json_depth_max();
    let change = submitted.body.checked(move |selection| deletion(selection, depth_max)).await?;
    Ok(deleted(tenant.change_vectors(submitted.write(name, change)).await?))
}

fn deletion(selection: DeleteSelection, depth_max: usize) -> Result<VectorChange, Problem> {
    let DeleteSelection { ids, filter: selection, all } = selection;
    match (ids, filter(selection.as_deref(), depth_max)?, all.unwrap_or(false)) {
        (Some(ids), None, false) => {
            let id = |(number, id): (usize, String)| {
                let at = |invalid| Problem::from(invalid).at(format_args!("ids[{number}]"));
                PointId::text(id).map_err(at)
            };
            let ids = ids.elements.into_iter().enumerate().map(id);
            Ok(VectorChange::DeleteMany(ids.collect::<Result<_, _>>()?))
        }
        (None, Some(filter), false) => match filter.unconditional() {
            None => Ok(VectorChange::DeleteMatching(filter)),
            Some(unconditional) => {
                let detail = format!("filter: {unconditional}; `\"all\": true` deletes every vector");
                Err(Problem::invalid("filter-selects-all", detail))
            }
        },
        (None, None, true) => Ok(VectorChange::DeleteMatching(Filter::default())),
        (Some(_), _, _) | (_, Some(_), _) | (None, None, false) => {
            let detail = "give either ids or filter, or `\"all\": true` to delete every vector";
            Err(Problem::invalid("invalid-selection", detail))
        }
    }
}

/// Refuses a large body for a collection that is not there before any work is done on it. What was answered before is
/// answered again, even if the collection has been deleted since.
async fn expect_collection(
    tenant: &Tenant<Write>,
    name: &CollectionName,
    submitted: &Submitted,
) -> Result<(), Problem> {
    if submitted.body.is_large() && submitted.idempotency().is_none() {
        tenant.collection(name).await?;
    }
    Ok(())
}

fn deleted(committed: Committed) -> Response {
    let deleted = committed.outcome.vectors();
    written(StatusCode::OK, committed, &Deleted { seq: committed.seq.get(), deleted })
}

/// Change one vector's payload by a JSON merge patch (RFC 7396).
#[utoipa::path(patch, path = "/api/v1/collections/{name}/vectors/{id}/payload", operation_id = "change_payload",
    params(("name" = String, Path), ("id" = String, Path)),
    request_body(content((openapi::MergePatch = "application/merge-patch+json"), (openapi::MergePatch = "application/json"))), responses(
    (status = 200, body = PayloadChanged),
))]
pub(super) async fn change_payload(
    State(app): State<App>,
    Granted(tenant): Granted<Write>,
    OfVector(name, id): OfVector,
    submitted: Submitted,
) -> Result<Response, Problem> {
    expect_content_type(&submitted.headers, &[MERGE_PATCH, JSON])?;
    expect_collection(&tenant, &name, &submitted).await?;
    let depth_max = app.json_depth_max();
    let patch = submitted.body.checked(move |patch: Box<RawValue>| {
        expect_plain(&patch, depth_max)?;
        Ok(MergePatch::new(&patch)?)
    });
    let patch = patch.await?;
    let committed =
        tenant.change_vectors(submitted.write(name, VectorChange::ChangePayload { id, patch })).await?;
    Ok(written(StatusCode::OK, committed, &PayloadChanged { seq: committed.seq.get() }))
}
