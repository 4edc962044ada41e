//! Searching and counting.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use utoipa::ToSchema;
use vectorizer_index::{
    FUSED_DEPTH, Filter, Hit, InvalidTextQuery, SearchMode, SearchRequest, Snapshot, StoredPoint, TextQuery,
    TextRequest, fused,
};
use vectorizer_log::{CollectionName, Language, Vector};

use super::answer::{Show, expect_answer, json, shown_bytes};
use super::body::{JsonBody, Received};
use super::middleware::auth::Granted;
use super::problem::Problem;
use super::values::{InCollection, VectorInput, filter, given, limit};
use super::vectors::PointAnswer;
use super::{App, openapi};
use crate::auth::{Operation, Read};
use crate::json::{AtMost, Limit};
use crate::scheduling::in_bulk;
use crate::tenancy::{CollectionFacts, Ground, Share, Tenant};

/// How many results a search has unless it says otherwise.
const RESULTS_DEFAULT: usize = 10;
/// How far down two rankings are looked at, if more results of both are asked for than their first places have.
const DEPTH_MAX: usize = 1_000;
/// The most searches in one batch.
const SEARCHES_MAX: usize = 100;
/// The most candidates a search may keep.
const EF_MAX: u32 = 4_096;
/// A search over fewer numbers than this is done on the spot: handing one to another thread and back was
/// measured to cost as much as comparing so many.
const INLINE_NUMBERS_MAX: usize = 1024 * 1024;
/// How much more it takes to read an entry of the index of words than to compare a number.
const POSTING_WEIGHT: usize = 16;
/// How long a search waits for a core.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// How many searches wait for a core, all together and of one tenant: more would only wait in vain.
pub(super) const WAITING_MAX: usize = 256;
pub(super) const WAITING_EACH_MAX: usize = 64;
/// A search over more numbers than this takes long: it gives way to those that do not.
const LONG_NUMBERS: usize = 8 * 1024 * 1024;
/// How much more it takes to write a number as text than to compare with it.
const SHOWN_WEIGHT: usize = 16;

/// What to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchInput {
    /// Numbers, or base64 of little-endian f32. With `text`, both are looked for.
    #[schema(value_type = Option<openapi::Vector>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    vector: Option<VectorInput>,
    /// Words: what has any of them is found, ranked by BM25. Case, accents and the order of words make no difference. Of a
    /// long text the first 64 KiB are looked at, and of more than 256 words that the collection has, the rarest.
    #[schema(nullable = false, min_length = 1)]
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    /// What the ranking is made of: `text`, `vector` or `both`. Unless said otherwise, what was sent; a text alone is
    /// also looked for by its embedding, if the server makes embeddings of the collection's dimension.
    rank_by: Option<RankBy>,
    /// 1 to 1,000; 10 unless said otherwise. The first results of a ranking by both do not depend on it.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// What a result must fulfil. A filter without a condition (`{}`, clauses that are empty or hold nothing but such
    /// filters) is fulfilled by every vector.
    #[schema(value_type = Option<openapi::Filter>)]
    filter: Option<Box<RawValue>>,
    /// Candidates to keep while walking a graph: 1 to 4,096.
    #[schema(minimum = 1, maximum = 4096)]
    ef: Option<u32>,
    /// Compare with every vector, graph or not.
    exact: Option<bool>,
    /// The least score of a result, or, for vectors alone under euclidean, its largest distance. Of vectors, all that
    /// reach it are only sure to be found with `exact`.
    #[schema(minimum = -3.402_823_466_385_288_6e38, maximum = 3.402_823_466_385_288_6e38)]
    score_threshold: Option<f32>,
    /// Show payloads; true unless said otherwise.
    with_payload: Option<bool>,
    /// Show texts; true unless said otherwise.
    with_text: Option<bool>,
    /// Show vectors; false unless said otherwise.
    with_vector: Option<bool>,
}

/// What a ranking is made of.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RankBy {
    Text,
    Vector,
    Both,
}

/// How many searches a batch may have.
#[derive(Debug)]
pub(super) struct InOneBatch;

impl Limit for InOneBatch {
    const MAX: usize = SEARCHES_MAX;
    const CODE: &'static str = "invalid-batch";

    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds {} or more, it must be 1 to {SEARCHES_MAX}", SEARCHES_MAX + 1)
    }
}

/// Several things to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBatchInput {
    /// 1 to 100.
    #[schema(value_type = Vec<SearchInput>, min_items = 1, max_items = 100)]
    searches: AtMost<SearchInput, InOneBatch>,
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
    /// Its id.
    #[schema(value_type = openapi::VectorId)]
    id: &'a str,
    /// Its payload, if it has one and it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<openapi::Payload>, nullable = false)]
    payload: Option<&'a RawValue>,
    /// Its text, if it has one and it was asked for; as it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<&'a str>,
    /// Its numbers, if it has any and they were asked for; bit for bit as they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    vector: Option<&'a [f32]>,
    /// For a vector, its similarity (cosine, dot: higher is better) or distance (euclidean: lower is better). For a
    /// text, its BM25 (higher is better). For both (higher is better): the sum of 1 / (60 + place) over the rankings in
    /// whose first 100 places it is; for a result that is in neither, and so comes behind those, 1 / (60 + its better place).
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
    /// Only what fulfils this; a filter without a condition is fulfilled by every vector.
    #[schema(value_type = Option<openapi::Filter>)]
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
    sought: Asked,
    limit: usize,
    score_threshold: Option<f32>,
    mode: SearchMode,
    show: Show,
}

/// What is looked for: a vector, words, or both.
struct Asked {
    vector: Option<Vector>,
    /// What has yet to become the vector.
    embed: Option<String>,
    words: Option<TextQuery>,
}

impl Asked {
    /// `embeds` says whether embeddings of this collection's dimension are made.
    fn of(
        vector: Option<Vector>,
        text: Option<String>,
        rank_by: Option<RankBy>,
        embeds: bool,
        language: Option<Language>,
    ) -> Result<Self, Problem> {
        let no_sense = |detail: &str| Err(Problem::invalid("invalid-rank-by", format!("rank_by: {detail}")));
        let (words, embed) = match (&vector, &text, rank_by) {
            (None, None, _) => {
                return Err(Problem::invalid("nothing-sought", "give vector, text or both"));
            }
            (Some(_), Some(_), None | Some(RankBy::Both)) | (None, Some(_), Some(RankBy::Text)) => {
                (true, false)
            }
            (Some(_), None, None | Some(RankBy::Vector)) => (false, false),
            (Some(_), _, Some(RankBy::Text)) => return no_sense("text, and a vector is given"),
            (Some(_), Some(_), Some(RankBy::Vector)) => {
                return no_sense("vector, and a text is given beside one");
            }
            (Some(_), None, Some(RankBy::Both)) => return no_sense("both, and no text is given"),
            (None, Some(_), None) => (true, embeds),
            (None, Some(_), Some(RankBy::Vector)) => (false, true),
            (None, Some(_), Some(RankBy::Both)) => (true, true),
        };
        let words = text.as_deref().filter(|_| words).map(|text| TextQuery::for_language(text, language));
        // What a text says without words, its vector may say.
        if vector.is_none() && !embed && words.as_ref().is_some_and(TextQuery::is_empty) {
            return Err(InvalidTextQuery.into());
        }
        let embed = text.filter(|_| embed).map(|mut text| {
            text.truncate(text.floor_char_boundary(TextQuery::BYTES_MAX));
            text
        });
        if embed.as_ref().is_some_and(String::is_empty) {
            return Err(Problem::invalid("invalid-text", "text: it is empty"));
        }
        Ok(Self { vector, embed, words })
    }
}

/// Whether embeddings of this collection's dimension are made.
fn embeds(app: &App, facts: Option<&CollectionFacts>) -> bool {
    app.embedder().zip(facts).is_some_and(|(embedder, facts)| facts.texts.is_some() && embedder.fits(facts))
}

/// The language of this collection's texts.
fn language(facts: Option<&CollectionFacts>) -> Option<Language> {
    facts.and_then(|facts| facts.texts).and_then(|texts| texts.language)
}

/// Refuses a large body for a collection that is not there before any work is done on it.
async fn expect_collection(
    tenant: &Tenant<Read>,
    name: &CollectionName,
    body: &Received,
) -> Result<(), Problem> {
    if body.is_large() {
        tenant.collection(name).await?;
    }
    Ok(())
}

/// What has to be known of the collection to read texts in its language and to make embeddings of them. That it does
/// not exist is said later if the body is small.
async fn facts(
    tenant: &Tenant<Read>,
    name: &CollectionName,
    body: &Received,
) -> Result<Option<CollectionFacts>, Problem> {
    expect_collection(tenant, name, body).await?;
    Ok(tenant.existing(name).await?)
}

/// Turns the texts that are to be looked for by their embeddings into vectors.
async fn embed(
    app: &App,
    facts: Option<&CollectionFacts>,
    searches: impl Iterator<Item = &mut Search>,
) -> Result<(), Problem> {
    let mut asked: Vec<&mut Asked> =
        searches.map(|search| &mut search.sought).filter(|asked| asked.embed.is_some()).collect();
    let texts: Vec<String> = asked.iter_mut().filter_map(|asked| asked.embed.take()).collect();
    if texts.is_empty() {
        return Ok(());
    }
    let (Some(embedder), Some(facts)) = (app.embedder(), facts) else {
        let detail = "rank_by: this server makes no embeddings, so a vector has to be given";
        return Err(Problem::invalid("invalid-rank-by", detail));
    };
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (asked, vector) in asked.into_iter().zip(embedder.embed_for(facts, &texts).await?) {
        asked.vector = Some(vector);
    }
    Ok(())
}

impl SearchInput {
    /// The search, and what its results must fulfil.
    fn checked(
        self,
        depth_max: usize,
        embeds: bool,
        language: Option<Language>,
    ) -> Result<(Search, Option<Filter>), Problem> {
        if let Some(ef) = self.ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            return Err(Problem::invalid("invalid-ef", format!("ef is {ef}, it must be 1 to {EF_MAX}")));
        }
        if self.score_threshold.is_some_and(|score| !score.is_finite()) {
            return Err(Problem::invalid("not-finite", "score_threshold is beyond f32"));
        }
        let vector = self.vector.map(VectorInput::into_vector).transpose();
        let vector = vector.map_err(|problem| problem.at("vector"))?;
        let sought = Asked::of(vector, self.text, self.rank_by, embeds, language)?;
        let search = Search {
            sought,
            limit: limit(self.limit, RESULTS_DEFAULT)?,
            score_threshold: self.score_threshold,
            mode: match (self.exact, self.ef) {
                (Some(true), _) => SearchMode::Exact,
                (_, Some(ef)) => SearchMode::Candidates(ef as usize),
                (_, None) => SearchMode::Default,
            },
            show: Show::asked(self.with_payload, self.with_text, self.with_vector),
        };
        Ok((search, filter(self.filter.as_deref(), depth_max)?))
    }
}

impl Search {
    fn run(&self, snapshot: &Snapshot, ground: &Ground) -> Result<Vec<Hit>, Problem> {
        let depth = self.depth();
        let by_vector = self.request(ground, depth).map(|request| snapshot.search(&request)).transpose()?;
        let by_text =
            ground.matches.as_ref().map(|matches| matches.search(&self.text_request(ground, depth)));
        match (by_vector, by_text) {
            (Some(by_vector), Some(by_text)) => {
                let deeper = || self.deeper(snapshot, ground);
                fused([by_vector, by_text], deeper, self.limit, self.score_threshold)
            }
            (Some(hits), None) | (None, Some(hits)) => Ok(hits),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Both rankings as deep as they can be asked for.
    fn deeper(&self, snapshot: &Snapshot, ground: &Ground) -> Result<[Vec<Hit>; 2], Problem> {
        let by_vector =
            self.request(ground, DEPTH_MAX).map(|request| snapshot.search(&request)).transpose()?;
        let request = self.text_request(ground, DEPTH_MAX);
        let by_text = ground.matches.as_ref().map(|matches| matches.search(&request));
        Ok([by_vector.unwrap_or_default(), by_text.unwrap_or_default()])
    }

    /// Whether two rankings are made one.
    fn is_fused(&self) -> bool {
        matches!(self.sought, Asked { vector: Some(_), words: Some(_), .. })
    }

    /// How many hits of each kind there must be at first.
    fn depth(&self) -> usize {
        if self.is_fused() { FUSED_DEPTH } else { self.limit }
    }

    /// How many there may have to be.
    fn depth_max(&self) -> usize {
        if self.is_fused() && self.limit > FUSED_DEPTH { DEPTH_MAX } else { self.depth() }
    }

    /// What each hit of one kind must reach: two rankings are fused first.
    fn least(&self) -> Option<f32> {
        self.score_threshold.filter(|_| !self.is_fused())
    }

    /// The part that is for vectors.
    fn request<'a>(&'a self, ground: &'a Ground, limit: usize) -> Option<SearchRequest<'a>> {
        Some(SearchRequest {
            vector: self.sought.vector.as_ref()?.as_dense(),
            limit,
            filter: ground.selection.as_ref(),
            score_threshold: self.least(),
            mode: self.mode,
        })
    }

    fn text_request<'a>(&self, ground: &'a Ground, limit: usize) -> TextRequest<'a> {
        TextRequest { limit, filter: ground.selection.as_ref(), score_threshold: self.least() }
    }

    /// About how many numbers it compares at most.
    fn compared(&self, snapshot: &Snapshot, ground: &Ground) -> usize {
        let vectors = self
            .request(ground, self.depth_max())
            .map_or(0, |request| snapshot.compared(&request).saturating_mul(snapshot.dimension()));
        let texts = ground.matches.as_ref().map_or(0, |matches| {
            if matches.reads_payloads(ground.selection.as_ref()) {
                usize::MAX
            } else {
                POSTING_WEIGHT * matches.compared()
            }
        });
        vectors.saturating_add(texts)
    }

    /// How many numbers it may show.
    fn numbers(&self) -> usize {
        match &self.sought.vector {
            Some(vector) if self.show.vector => self.limit * vector.dimension(),
            _ => self.limit,
        }
    }

    fn bytes(&self, hits: &[Hit]) -> usize {
        hits.iter().map(|hit| shown_bytes(&hit.point, self.show)).sum()
    }

    fn answer<'a>(&self, hits: &'a [Hit]) -> SearchAnswer<'a> {
        let found = |hit: &'a Hit| {
            let PointAnswer { id, payload, text, vector } = PointAnswer::of(&hit.point, self.show);
            Found { id, payload, text, vector, score: hit.score }
        };
        SearchAnswer { results: hits.iter().map(found).collect() }
    }
}

/// A result as a search shows it.
pub(super) fn scored(point: &StoredPoint, score: f32, show: Show) -> Result<Box<RawValue>, Problem> {
    let PointAnswer { id, payload, text, vector } = PointAnswer::of(point, show);
    to_raw_value(&Found { id, payload, text, vector, score }).map_err(|error| {
        tracing::error!(%error, "a result could not be written as JSON");
        Problem::internal()
    })
}

/// Search.
#[utoipa::path(post, path = "/api/v1/collections/{name}/search", params(("name" = String, Path)),
    request_body = SearchInput, responses(
    (status = 200, body = SearchAnswer),
))]
pub(super) async fn search(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let facts = facts(&tenant, &name, &body).await?;
    let (embeds, language) = (embeds(&app, facts.as_ref()), language(facts.as_ref()));
    let depth_max = app.json_depth_max();
    let (mut search, filter) =
        body.checked(move |input: SearchInput| input.checked(depth_max, embeds, language)).await?;
    let room = body.into_room();
    embed(&app, facts.as_ref(), std::iter::once(&mut search)).await?;
    let numbers = search.numbers();
    let answers = app.answer_room(&tenant);
    let (snapshot, mut grounds) =
        tenant.snapshot_of_texts(&name, [filter], &[search.sought.words.as_ref()]).await?;
    let ground = grounds.pop().ok_or_else(Problem::internal)?;
    let metrics = app.metrics().clone();
    let compared = search.compared(&snapshot, &ground);
    // At most about as much as may be done on the spot; if that is not enough, it was not much.
    let briefly = INLINE_NUMBERS_MAX.saturating_sub(SHOWN_WEIGHT * numbers);
    let started = Instant::now();
    if compared > briefly
        && ground.matches.is_none()
        && let Some(request) = search.request(&ground, search.limit)
        && let Some(hits) = snapshot.search_bounded(&request, briefly / snapshot.dimension().max(1))?
    {
        metrics.searched(started.elapsed());
        let answer = answers.json(search.bytes(&hits), &search.answer(&hits))?;
        tenant.searched(Operation::Search, 1);
        return Ok(answer);
    }
    let answer = on_snapshot(&app, tenant.share(), snapshot, compared, numbers, move |snapshot| {
        let _room = room;
        let started = Instant::now();
        let hits = search.run(snapshot, &ground)?;
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
))]
pub(super) async fn search_batch(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let facts = facts(&tenant, &name, &body).await?;
    let (embeds, language) = (embeds(&app, facts.as_ref()), language(facts.as_ref()));
    let depth_max = app.json_depth_max();
    let at = |number: usize| move |problem: Problem| problem.at(format_args!("searches[{number}]"));
    let check = move |SearchBatchInput { searches: AtMost { elements, .. } }: SearchBatchInput| {
        if elements.is_empty() {
            let detail = format!("searches: it holds 0, it must be 1 to {SEARCHES_MAX}");
            return Err(Problem::invalid("invalid-batch", detail));
        }
        let check = |(number, search): (usize, SearchInput)| {
            search.checked(depth_max, embeds, language).map_err(at(number))
        };
        elements.into_iter().enumerate().map(check).collect::<Result<(Vec<Search>, Vec<Option<Filter>>), _>>()
    };
    let (mut searches, filters) = body.checked(check).await?;
    let room = body.into_room();
    embed(&app, facts.as_ref(), searches.iter_mut()).await?;
    let numbers = searches.iter().map(Search::numbers).sum();
    let answers = app.answer_room(&tenant);
    let questions: Vec<_> = searches.iter().map(|search| search.sought.words.as_ref()).collect();
    let (snapshot, grounds) = tenant.snapshot_of_texts(&name, filters, &questions).await?;
    let compared = |(search, ground): (&Search, &Ground)| search.compared(&snapshot, ground);
    let compared = searches.iter().zip(&grounds).map(compared).fold(0, usize::saturating_add);
    let (metrics, count) = (app.metrics().clone(), searches.len());
    let answer = on_snapshot(&app, tenant.share(), snapshot, compared, numbers, move |snapshot| {
        let _room = room;
        let mut bytes = 0;
        let mut hits = Vec::with_capacity(searches.len());
        for (number, (search, ground)) in (0..).zip(searches.iter().zip(&grounds)) {
            let started = Instant::now();
            let found = search.run(snapshot, ground).map_err(at(number))?;
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
))]
pub(super) async fn count(
    State(app): State<App>,
    Granted(tenant): Granted<Read>,
    InCollection(name): InCollection,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    expect_collection(&tenant, &name, &body).await?;
    let depth_max = app.json_depth_max();
    let check = move |input: CountInput| filter(input.filter.as_deref(), depth_max);
    let filter = body.checked(check).await?;
    let room = body.into_room();
    let (snapshot, mut selections) = tenant.snapshot(&name, [filter]).await?;
    let selection = selections.pop().flatten();
    let points = match &selection {
        None => 0,
        Some(selection) if selection.candidates().is_some_and(|(_, exact)| exact) => 0,
        // Payloads may be large, and there may be many.
        Some(_) => usize::MAX,
    };
    on_snapshot(&app, tenant.share(), snapshot, points, 1, move |snapshot| {
        let _room = room;
        let count = snapshot.count(selection.as_ref());
        Ok(json(StatusCode::OK, &CountAnswer { count }))
    })
    .await
}

/// Runs `work`, which compares about `compared` numbers of the snapshot and shows up to `shown` numbers: at once
/// if it is short, else away from the async threads, as many at a time as there are cores, and one less of one
/// tenant. What `work` holds is held until it has been done.
async fn on_snapshot(
    app: &App,
    share: &Share,
    snapshot: Snapshot,
    compared: usize,
    shown: usize,
    work: impl FnOnce(&Snapshot) -> Result<Response, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    let numbers = compared.saturating_add(SHOWN_WEIGHT * shown);
    if numbers <= INLINE_NUMBERS_MAX {
        return work(&snapshot);
    }
    let busy = || Problem::unavailable("busy", "too many searches are under way", 1);
    let place = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().map_err(|_| busy());
    let places = [place(&share.waiting_searches)?, place(&app.shared.waiting_searches)?];
    let turns = async {
        // IMPORTANT, the order: whoever waits for its own tenant's must not keep one of the node's.
        let own = Arc::clone(&share.searches).acquire_owned().await;
        (own, Arc::clone(&app.shared.searching).acquire_owned().await)
    };
    let Ok((Ok(own), Ok(turn))) = timeout(TURN_PATIENCE, turns).await else { return Err(busy()) };
    let work = move || {
        // Kept for as long as the work lasts, also when nobody waits for it any more.
        let _turns = (own, turn, places);
        work(&snapshot)
    };
    let done = if numbers > LONG_NUMBERS {
        let span = tracing::Span::current();
        app.shared.long_searches.run(move || span.in_scope(work)).await
    } else {
        in_bulk(work).await.ok()
    };
    done.unwrap_or_else(|| Err(Problem::internal()))
}
