//! Searching and counting.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use vectorizer_index::{Filter, Hit, StoredPoint};

use super::schema;
use super::values::{VectorInput, filter, given};
use super::vectors::PointAnswer;
use crate::json::{AtMost, Limit};
use crate::service::{Error, RankBy, SEARCHES_MAX, SearchArguments, Show};

/// What to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchInput {
    /// Numbers, or base64 of little-endian f32. With `text`, both are looked for.
    #[schema(value_type = Option<schema::Vector>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    vector: Option<VectorInput>,
    /// Words: what has any of them is found, ranked by BM25. Case, accents and the order of words make no difference. Of a
    /// long text the first 64 KiB are looked at, and of more than 256 words that the collection has, the rarest.
    #[schema(nullable = false, min_length = 1)]
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    /// What the ranking is made of: `text`, `vector` or `both`. Unless said otherwise, what was sent; a text alone is
    /// also looked for by its embedding, if the server makes embeddings of the collection's dimension.
    rank_by: Option<RankByInput>,
    /// 1 to 1,000; 10 unless said otherwise. The first results of a ranking by both do not depend on it.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
    /// What a result must fulfil. A filter without a condition (`{}`, clauses that are empty or hold nothing but such
    /// filters) is fulfilled by every vector.
    #[schema(value_type = Option<schema::Filter>)]
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
#[schema(as = RankBy)]
enum RankByInput {
    Text,
    Vector,
    Both,
}

/// How many searches a batch may have.
#[derive(Debug)]
pub(crate) struct InOneBatch;

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
pub(crate) struct SearchBatchInput {
    /// 1 to 100.
    #[schema(value_type = Vec<SearchInput>, min_items = 1, max_items = 100)]
    searches: AtMost<SearchInput, InOneBatch>,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SearchAnswer<'a> {
    /// Best first; equal scores in the order of ids.
    results: Vec<Found<'a>>,
}

/// One result.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Found<'a> {
    /// Its id.
    #[schema(value_type = schema::VectorId)]
    id: &'a str,
    /// Its payload, if it has one and it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Payload>, nullable = false)]
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
pub(crate) struct SearchBatchAnswer<'a> {
    /// In the order of the searches.
    searches: Vec<SearchAnswer<'a>>,
}

/// What to count.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountInput {
    /// Only what fulfils this; a filter without a condition is fulfilled by every vector.
    #[schema(value_type = Option<schema::Filter>)]
    filter: Option<Box<RawValue>>,
}

/// How many there are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountAnswer {
    /// Vectors.
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
    /// The arguments, with a payload filter that is nested at most `depth_max` deep.
    pub(crate) fn into_arguments(self, depth_max: usize) -> Result<SearchArguments, Error> {
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
            show: Show::asked(self.with_payload, self.with_text, self.with_vector),
        })
    }
}

impl SearchBatchInput {
    /// The arguments of each search.
    pub(crate) fn into_arguments(self, depth_max: usize) -> Result<Vec<SearchArguments>, Error> {
        let arguments = |(number, search): (usize, SearchInput)| {
            search.into_arguments(depth_max).map_err(|error| error.at(format_args!("searches[{number}]")))
        };
        self.searches.elements.into_iter().enumerate().map(arguments).collect()
    }
}

impl CountInput {
    /// The filter, if there is one.
    pub(crate) fn into_filter(self, depth_max: usize) -> Result<Option<Filter>, Error> {
        filter(self.filter.as_deref(), depth_max)
    }
}

impl<'a> SearchAnswer<'a> {
    pub(crate) fn of(hits: &'a [Hit], show: Show) -> Self {
        Self { results: hits.iter().map(|hit| Found::of(&hit.point, hit.score, show)).collect() }
    }
}

impl<'a> SearchBatchAnswer<'a> {
    pub(crate) fn of(found: &'a [(Vec<Hit>, Show)]) -> Self {
        Self { searches: found.iter().map(|(hits, show)| SearchAnswer::of(hits, *show)).collect() }
    }
}

impl CountAnswer {
    pub(crate) fn of(count: usize) -> Self {
        Self { count }
    }
}

impl<'a> Found<'a> {
    fn of(point: &'a StoredPoint, score: f32, show: Show) -> Self {
        let PointAnswer { id, payload, text, vector } = PointAnswer::of(point, show);
        Self { id, payload, text, vector, score }
    }
}

/// One result as JSON.
pub(crate) fn scored(point: &StoredPoint, score: f32, show: Show) -> Result<Box<RawValue>, Error> {
    to_raw_value(&Found::of(point, score, show)).map_err(|error| {
        tracing::error!(%error, "a result could not be written as JSON");
        Error::internal()
    })
}
