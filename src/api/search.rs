//! Searching and counting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::timeout;
use utoipa::ToSchema;
use vectorizer_log::Vector;
use vectorizer_replay::{Effort, Filter, Hit, SearchRequest, Selection, Snapshot};

use super::App;
use super::answer::{expect_answer, json, shown_bytes};
use super::body::Json;
use super::middleware::auth::Granted;
use super::problem::{Problem, ProblemBody};
use super::values::{InCollection, VectorInput, filter, limit};
use super::vectors::PointAnswer;
use crate::auth::{Operation, Read};

/// How many results a search has unless it says otherwise.
const RESULTS_DEFAULT: usize = 10;
/// The most searches in one batch.
const SEARCHES_MAX: usize = 100;
/// The most candidates a search may keep.
const EF_MAX: u32 = 4_096;
/// A search over fewer numbers than this is done on the spot: handing one to another thread and back was
/// measured to cost as much as comparing so many.
const INLINE_NUMBERS_MAX: usize = 1024 * 1024;
/// How long a search waits for a core.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// How much more it takes to write a number as text than to compare with it.
const SHOWN_WEIGHT: usize = 16;

/// What to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchInput {
    /// Numbers, or base64 of little-endian f32.
    #[schema(value_type = Vec<f32>)]
    vector: VectorInput,
    /// 1 to 1,000; 10 unless said otherwise.
    limit: Option<u64>,
    /// What a result must fulfil.
    #[schema(value_type = Option<Object>)]
    filter: Option<Box<RawValue>>,
    /// Candidates to keep while walking a graph: 1 to 4,096.
    ef: Option<u32>,
    /// Compare with every vector, graph or not.
    exact: Option<bool>,
    /// The least similarity or the largest distance of a result. All that reach it are only sure to be found
    /// with `exact`.
    score_threshold: Option<f32>,
    /// Show payloads; true unless said otherwise.
    with_payload: Option<bool>,
    /// Show vectors; false unless said otherwise.
    with_vector: Option<bool>,
}

/// Several things to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBatchInput {
    /// 1 to 100.
    searches: Vec<SearchInput>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchAnswer<'a> {
    /// Best first; equal scores in the order of ids.
    results: Vec<Found<'a>>,
}

/// One result.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Found<'a> {
    /// The vector.
    #[serde(flatten)]
    point: PointAnswer<'a>,
    /// Similarity (cosine, dot: higher is better) or distance (euclidean: lower is better).
    score: f32,
}

/// What was found, search by search.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchBatchAnswer<'a> {
    /// In the order of the searches.
    searches: Vec<SearchAnswer<'a>>,
}

/// What to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CountInput {
    /// Only what fulfils this.
    #[schema(value_type = Option<Object>)]
    filter: Option<Box<RawValue>>,
}

/// How many there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CountAnswer {
    /// Vectors.
    count: usize,
}

/// A search that has been checked.
struct Search {
    vector: Vector,
    limit: usize,
    score_threshold: Option<f32>,
    effort: Effort,
    with_payload: Option<bool>,
    with_vector: Option<bool>,
}

impl SearchInput {
    /// The search, and what its results must fulfil.
    fn checked(self, depth_max: usize) -> Result<(Search, Option<Filter>), Problem> {
        if let Some(ef) = self.ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            return Err(Problem::invalid("invalid-ef", format!("ef is {ef}, it must be 1 to {EF_MAX}")));
        }
        if self.score_threshold.is_some_and(|score| !score.is_finite()) {
            return Err(Problem::invalid("not-finite", "score_threshold is beyond f32"));
        }
        let search = Search {
            vector: self.vector.into_vector().map_err(|problem| problem.at("vector"))?,
            limit: limit(self.limit, RESULTS_DEFAULT)?,
            score_threshold: self.score_threshold,
            effort: match (self.exact, self.ef) {
                (Some(true), _) => Effort::Exact,
                (_, Some(ef)) => Effort::Candidates(ef as usize),
                (_, None) => Effort::Usual,
            },
            with_payload: self.with_payload,
            with_vector: self.with_vector,
        };
        Ok((search, filter(self.filter.as_deref(), depth_max)?))
    }
}

impl Search {
    fn run(&self, snapshot: &Snapshot, selection: Option<&Selection>) -> Result<Vec<Hit>, Problem> {
        Ok(snapshot.search(&self.request(selection))?)
    }

    fn request<'a>(&'a self, selection: Option<&'a Selection>) -> SearchRequest<'a> {
        SearchRequest {
            vector: self.vector.as_dense(),
            limit: self.limit,
            filter: selection,
            score_threshold: self.score_threshold,
            effort: self.effort,
        }
    }

    /// How many numbers it may show.
    fn numbers(&self) -> usize {
        if self.with_vector.unwrap_or(false) { self.limit * self.vector.dimension() } else { self.limit }
    }

    fn bytes(&self, hits: &[Hit]) -> usize {
        hits.iter().map(|hit| shown_bytes(&hit.point, self.with_payload, self.with_vector)).sum()
    }

    fn answer<'a>(&self, hits: &'a [Hit]) -> SearchAnswer<'a> {
        let found = |hit: &'a Hit| Found {
            point: PointAnswer::of(&hit.point, self.with_payload, self.with_vector),
            score: hit.score,
        };
        SearchAnswer { results: hits.iter().map(found).collect() }
    }
}

/// Search.
#[utoipa::path(post, path = "/api/v1/collections/{name}/search", params(("name" = String, Path)),
    request_body = SearchInput, responses(
    (status = 200, body = SearchAnswer),
    (status = 404, body = ProblemBody),
    (status = 422, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
pub(super) async fn search(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    Json { value: input, room }: Json<SearchInput>,
) -> Result<Response, Problem> {
    let (search, filter) = input.checked(app.json_depth_max())?;
    let numbers = search.numbers();
    let answers = app.answer_room(&tenant);
    let (snapshot, mut selections) = tenant.snapshot(&name, [filter])?;
    let selection = selections.pop().flatten();
    let metrics = app.metrics().clone();
    let request = search.request(selection.as_ref());
    let points = snapshot.compared(&request);
    // At most about as much as may be done on the spot; if that is not enough, it was not much.
    let briefly = INLINE_NUMBERS_MAX.saturating_sub(SHOWN_WEIGHT * numbers) / snapshot.dimension().get();
    let started = Instant::now();
    if points > briefly
        && let Some(hits) = snapshot.search_briefly(&request, briefly)?
    {
        metrics.searched(started.elapsed());
        let answer = answers.json(search.bytes(&hits), &search.answer(&hits))?;
        tenant.searched(Operation::Search, 1);
        return Ok(answer);
    }
    let answer = on_snapshot(&app, snapshot, points, numbers, move |snapshot| {
        let _room = room;
        let started = Instant::now();
        let hits = search.run(snapshot, selection.as_ref())?;
        metrics.searched(started.elapsed());
        answers.json(search.bytes(&hits), &search.answer(&hits))
    })
    .await?;
    tenant.searched(Operation::Search, 1);
    Ok(answer)
}

/// Several searches at once, against the same state.
#[utoipa::path(post, path = "/api/v1/collections/{name}/search/batch", params(("name" = String, Path)),
    request_body = SearchBatchInput, responses(
    (status = 200, body = SearchBatchAnswer),
    (status = 404, body = ProblemBody),
    (status = 422, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
pub(super) async fn search_batch(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    Json { value: SearchBatchInput { searches }, room }: Json<SearchBatchInput>,
) -> Result<Response, Problem> {
    if !(1..=SEARCHES_MAX).contains(&searches.len()) {
        let detail = format!("searches holds {}, it must be 1 to {SEARCHES_MAX}", searches.len());
        return Err(Problem::invalid("invalid-batch", detail));
    }
    let at = |number: usize| move |problem: Problem| problem.at(format_args!("searches[{number}]"));
    let depth_max = app.json_depth_max();
    let (searches, filters): (Vec<Search>, Vec<Option<Filter>>) = (0..)
        .zip(searches)
        .map(|(number, search)| search.checked(depth_max).map_err(at(number)))
        .collect::<Result<_, _>>()?;
    let numbers = searches.iter().map(Search::numbers).sum();
    let answers = app.answer_room(&tenant);
    let (snapshot, selections) = tenant.snapshot(&name, filters)?;
    let compared = |(search, selection): (&Search, &Option<Selection>)| {
        snapshot.compared(&search.request(selection.as_ref()))
    };
    let points = searches.iter().zip(&selections).map(compared).fold(0, usize::saturating_add);
    let (metrics, count) = (app.metrics().clone(), searches.len());
    let answer = on_snapshot(&app, snapshot, points, numbers, move |snapshot| {
        let _room = room;
        let mut bytes = 0;
        let mut hits = Vec::with_capacity(searches.len());
        for (number, (search, selection)) in (0..).zip(searches.iter().zip(&selections)) {
            let started = Instant::now();
            let found = search.run(snapshot, selection.as_ref()).map_err(at(number))?;
            metrics.searched(started.elapsed());
            bytes += search.bytes(&found);
            expect_answer(bytes)?;
            hits.push(found);
        }
        let searches = searches.iter().zip(&hits).map(|(search, hits)| search.answer(hits)).collect();
        answers.json(bytes, &SearchBatchAnswer { searches })
    })
    .await?;
    tenant.searched(Operation::SearchBatch, count);
    Ok(answer)
}

/// Count vectors.
#[utoipa::path(post, path = "/api/v1/collections/{name}/count", params(("name" = String, Path)),
    request_body = CountInput, responses(
    (status = 200, body = CountAnswer),
    (status = 404, body = ProblemBody),
    (status = 422, body = ProblemBody),
    (status = 503, body = ProblemBody),
))]
pub(super) async fn count(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    Json { value: input, room }: Json<CountInput>,
) -> Result<Response, Problem> {
    let filter = filter(input.filter.as_deref(), app.json_depth_max())?;
    let (snapshot, mut selections) = tenant.snapshot(&name, [filter])?;
    let selection = selections.pop().flatten();
    let points = match &selection {
        None => 0,
        Some(selection) if selection.candidates().is_some_and(|(_, exact)| exact) => 0,
        // Payloads may be large, and there may be many.
        Some(_) => usize::MAX,
    };
    on_snapshot(&app, snapshot, points, 1, move |snapshot| {
        let _room = room;
        let count = snapshot.count(selection.as_ref());
        Ok(json(StatusCode::OK, &CountAnswer { count }))
    })
    .await
}

/// Runs `work`, which compares about `points` vectors of the snapshot and shows up to `shown` numbers: at once
/// if it is short, else away from the async threads, as many at a time as there are cores. What `work` holds
/// is held until it has been done.
async fn on_snapshot(
    app: &App,
    snapshot: Snapshot,
    points: usize,
    shown: usize,
    work: impl FnOnce(&Snapshot) -> Result<Response, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let compared = points.saturating_mul(snapshot.dimension().get());
    if compared.saturating_add(SHOWN_WEIGHT * shown) <= INLINE_NUMBERS_MAX {
        return work(&snapshot);
    }
    let turn = timeout(TURN_PATIENCE, Arc::clone(&app.shared.searching).acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(Problem::unavailable("busy", "too many searches are under way", 1));
    };
    let span = tracing::Span::current();
    let work = move || {
        // Kept for as long as the work lasts, also when nobody waits for it any more.
        let _turn = turn;
        span.in_scope(|| work(&snapshot))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Problem::internal()))
}
