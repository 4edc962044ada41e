//! The JSON of searches and counts.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use vectorizer_index::{Filter, Hit, StoredPoint};
use vectorizer_json::{AtMost, Limit};
use vectorizer_service::{Error, RankBy, SEARCHES_MAX, SearchArguments, Show};

use super::schema;
use super::values::{VectorInput, filter, given};
use super::vectors::PointAnswer;

/// A search. It needs a vector, a text or both.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchInput {
    /// The query vector: numbers, or base64 of little-endian f32. With `text`, the search uses both.
    #[schema(value_type = Option<schema::Vector>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    vector: Option<VectorInput>,
    /// The query text. A search finds texts that have any of its words, ranked by BM25. It ignores case, accents and
    /// the order of words. Of a long text it uses the first 64 KiB, and at most the 256 rarest words that the
    /// collection has.
    #[schema(nullable = false, min_length = 1)]
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    /// The basis of the ranking: `text`, `vector` or `both`. By default it is all that the request has. A text alone
    /// is also searched by its embedding if the server makes embeddings of the collection's dimension.
    rank_by: Option<RankByInput>,
    /// The most results, 1 to 1,000; by default 10. It does not change the first results of a ranking by both.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// The filter of the results. A filter without a condition (`{}`, or with clauses that are empty or have only such
    /// filters) matches every vector.
    #[schema(value_type = Option<schema::Filter>)]
    filter: Option<Box<RawValue>>,
    /// The number of candidates in the graph search, 1 to 4,096.
    #[schema(minimum = 1, maximum = 4096)]
    ef: Option<u32>,
    /// Compare with every vector instead of using the graph.
    exact: Option<bool>,
    /// The lowest score of a result, or, for a vector search by euclidean distance, the largest distance. Only with
    /// `exact` is a vector search certain to find all results within it.
    #[schema(minimum = -3.402_823_466_385_288_6e38, maximum = 3.402_823_466_385_288_6e38)]
    score_threshold: Option<f32>,
    /// Include payloads; by default true.
    with_payload: Option<bool>,
    /// Include texts; by default true.
    with_text: Option<bool>,
    /// Include vectors; by default false.
    with_vector: Option<bool>,
}

/// The basis of a ranking.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RankBy)]
enum RankByInput {
    Text,
    Vector,
    Both,
}

/// The limit on the searches of a batch.
#[derive(Debug)]
pub struct BatchLimit;

impl Limit for BatchLimit {
    const MAX: usize = SEARCHES_MAX;
    const CODE: &'static str = "invalid-batch";

    fn refuse(f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it holds {} or more, it must be 1 to {SEARCHES_MAX}", SEARCHES_MAX + 1)
    }
}

/// A batch of searches.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchBatchInput {
    /// The searches, 1 to 100.
    #[schema(value_type = Vec<SearchInput>, min_items = 1, max_items = 100)]
    searches: AtMost<SearchInput, BatchLimit>,
}

/// The results of a search.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchAnswer<'a> {
    /// The results, best first. Equal scores are ordered by id.
    results: Vec<ScoredPoint<'a>>,
}

/// A result.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Found)]
pub struct ScoredPoint<'a> {
    /// Its id.
    #[schema(value_type = schema::VectorId)]
    id: &'a str,
    /// Its payload, if it has one and the request includes payloads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Payload>, nullable = false)]
    payload: Option<&'a RawValue>,
    /// Its text as it was written, if it has one and the request includes texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    text: Option<&'a str>,
    /// Its vector, bit for bit as it was written, if it has one and the request includes vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    vector: Option<&'a [f32]>,
    /// For a vector search: the similarity (cosine, dot: higher is better) or the distance (euclidean: lower is
    /// better). For a text search: the BM25 score (higher is better). For both: the sum of 1 / (60 + rank) over the
    /// rankings that have it among their first 100 results (higher is better). A result that neither ranking has
    /// among its first 100 comes after those, with 1 / (60 + its better rank).
    score: f32,
}

/// The results of a batch of searches.
#[derive(Debug, Serialize, ToSchema)]
pub struct SearchBatchAnswer<'a> {
    /// The results of each search, in order.
    searches: Vec<SearchAnswer<'a>>,
}

/// A count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CountInput {
    /// Count only vectors that match this filter. A filter without a condition matches every vector.
    #[schema(value_type = Option<schema::Filter>)]
    filter: Option<Box<RawValue>>,
}

/// The result of a count.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountAnswer {
    /// The number of vectors.
    count: usize,
}

impl From<RankByInput> for RankBy {
    fn from(input: RankByInput) -> Self {
        match input {
            RankByInput::Text => Self::Text,
            RankByInput::Vector => Self::Vector,
            RankByInput::Both => Self::Both,
        }
    }
}

impl SearchInput {
    /// The same search by this vector.
    #[must_use]
    pub fn with_vector(self, vector: VectorInput) -> Self {
        Self { vector: Some(vector), ..self }
    }

    /// The arguments of the search. The filter may be nested at most `depth_max` deep.
    pub fn into_arguments(self, depth_max: usize) -> Result<SearchArguments, Error> {
        let vector = self.vector.map(VectorInput::into_vector).transpose();
        Ok(SearchArguments {
            vector: vector.map_err(|error| error.at("vector"))?,
            text: self.text,
            rank_by: self.rank_by.map(RankBy::from),
            limit: self.limit,
            filter: filter(self.filter.as_deref(), depth_max)?,
            ef: self.ef,
            exact: self.exact == Some(true),
            score_threshold: self.score_threshold,
            show: Show::with_defaults(self.with_payload, self.with_text, self.with_vector),
        })
    }
}

impl SearchBatchInput {
    /// The arguments of each search.
    pub fn into_arguments(self, depth_max: usize) -> Result<Vec<SearchArguments>, Error> {
        let arguments = |(number, search): (usize, SearchInput)| {
            search.into_arguments(depth_max).map_err(|error| error.at(format_args!("searches[{number}]")))
        };
        self.searches.elements.into_iter().enumerate().map(arguments).collect()
    }
}

impl CountInput {
    /// Parses the filter, if there is one.
    pub fn into_filter(self, depth_max: usize) -> Result<Option<Filter>, Error> {
        filter(self.filter.as_deref(), depth_max)
    }
}

impl<'a> SearchAnswer<'a> {
    /// The answer with these results.
    pub fn of(hits: &'a [Hit], show: Show) -> Self {
        Self { results: hits.iter().map(|hit| ScoredPoint::of(&hit.point, hit.score, show)).collect() }
    }
}

impl<'a> SearchBatchAnswer<'a> {
    /// The answer with the results of each search.
    pub fn of(found: &'a [(Vec<Hit>, Show)]) -> Self {
        Self { searches: found.iter().map(|(hits, show)| SearchAnswer::of(hits, *show)).collect() }
    }
}

impl CountAnswer {
    /// The answer with this count.
    pub fn of(count: usize) -> Self {
        Self { count }
    }
}

impl<'a> ScoredPoint<'a> {
    /// What the answer shows of this result.
    pub fn of(point: &'a StoredPoint, score: f32, show: Show) -> Self {
        let PointAnswer { id, payload, text, vector } = PointAnswer::of(point, show);
        Self { id, payload, text, vector, score }
    }
}

/// Renders a result as JSON.
pub fn scored(point: &StoredPoint, score: f32, show: Show) -> Result<Box<RawValue>, Error> {
    to_raw_value(&ScoredPoint::of(point, score, show)).map_err(|error| {
        tracing::error!(%error, "a result cannot be serialized");
        Error::internal()
    })
}
