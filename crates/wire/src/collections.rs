//! The JSON of collections.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use vectorizer_engine::tenancy::{CollectionFacts, Committed, SearchState};
use vectorizer_index::PayloadIndex;
use vectorizer_log::{
    CollectionName, Dimension, IndexParameters, InvalidDimension, InvalidLanguage, Language, Metric,
    TextParameters, VectorParameters,
};
use vectorizer_service::{Error, index_parameters};

use super::schema;
use super::values::given;

/// A collection to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCollection {
    /// The name: `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`
    #[schema(value_type = schema::CollectionName)]
    name: String,
    /// The number of elements of each vector, 1 to 16,384. A collection with `text` may omit both the dimension and the
    /// metric: then it has texts and no vectors.
    #[schema(example = 3, minimum = 1, maximum = 16384, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    dimension: Option<u32>,
    /// The metric of vectors: `cosine`, `dot` or `euclidean`.
    #[schema(value_type = Option<MetricName>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    metric: Option<Metric>,
    /// Whether vectors may have texts for full-text search; by default false. With `{"language": "en"}`, a search finds
    /// all forms of a word in that language, and ignores stop words unless the text has no other words.
    text: Option<TextInput>,
    /// The parameters of the vector index. Each has a default.
    index: Option<IndexInput>,
}

impl NewCollection {
    /// Checks the fields and their combination.
    pub fn checked(self) -> Result<vectorizer_service::NewCollection, Error> {
        let Self { name, dimension, metric, text, index } = self;
        let name = name.parse().map_err(|invalid| Error::from(invalid).at("name"))?;
        let texts = text.map(TextInput::checked).transpose()?.flatten();
        let missing = |field: &str| {
            let detail = format!(
                "missing field {field:?}: only a collection with `text: true` may omit dimension and metric, and only both together"
            );
            Error::invalid("invalid-body", detail)
        };
        let vectors = match (dimension, metric) {
            (Some(dimension), Some(metric)) => {
                let dimension = Dimension::try_from(dimension).map_err(|invalid: InvalidDimension| {
                    Error::invalid("invalid-dimension", invalid.to_string())
                })?;
                Some(VectorParameters { dimension, metric, index: index.unwrap_or_default().checked()? })
            }
            (Some(_), None) => return Err(missing("metric")),
            (None, Some(_)) => return Err(missing("dimension")),
            (None, None) if texts.is_none() => return Err(missing("dimension")),
            (None, None) if index.is_some() => {
                let detail =
                    "index configures the vector index, which a collection without a dimension does not have";
                return Err(Error::invalid("invalid-index", detail));
            }
            (None, None) => None,
        };
        Ok(vectorizer_service::NewCollection { name, vectors, texts })
    }
}

/// Whether the collection has texts, or their options.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TextInput {
    /// Whether the collection has texts.
    Whether(bool),
    /// The collection has texts with these options.
    Options(TextOptions),
}

/// The options of texts.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextOptions {
    /// The language of the texts: `ar`, `da`, `nl`, `en`, `fi`, `fr`, `de`, `el`, `hu`, `it`, `no`, `pt`, `ro`, `ru`,
    /// `es`, `sv`, `ta` or `tr`. Without one, a search finds words only in the form of the text.
    #[schema(example = "en")]
    language: Option<String>,
}

impl<'de> Deserialize<'de> for TextInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TextInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or an object with a language")
            }

            fn visit_bool<E: de::Error>(self, whether: bool) -> Result<TextInput, E> {
                Ok(TextInput::Whether(whether))
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<TextInput, A::Error> {
                TextOptions::deserialize(MapAccessDeserializer::new(fields)).map(TextInput::Options)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl TextInput {
    /// Checks the options. `None` if the collection has no texts.
    fn checked(self) -> Result<Option<TextParameters>, Error> {
        let language = match self {
            Self::Whether(false) => return Ok(None),
            Self::Whether(true) => None,
            Self::Options(TextOptions { language }) => language,
        };
        let language =
            language.map(|code| code.parse()).transpose().map_err(|invalid: InvalidLanguage| {
                Error::invalid("invalid-language", invalid.to_string()).at("text")
            })?;
        Ok(Some(TextParameters { language }))
    }
}

/// The metric of vectors.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the words of `Metric`")]
enum MetricName {
    Cosine,
    Dot,
    Euclidean,
}

/// The parameters of a vector index.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IndexInput {
    /// The number of links per vector and level, 2 to 128.
    #[schema(minimum = 2, maximum = 128)]
    m: Option<u16>,
    /// The number of candidates while linking, 4 to 4,096.
    #[schema(minimum = 4, maximum = 4096)]
    ef_construction: Option<u16>,
    /// The default number of candidates while searching, 1 to 4,096.
    #[schema(minimum = 1, maximum = 4096)]
    ef: Option<u16>,
}

impl IndexInput {
    fn checked(self) -> Result<IndexParameters, Error> {
        index_parameters(self.m, self.ef_construction, self.ef)
    }
}

/// The description of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionAnswer {
    /// Its name.
    #[schema(value_type = schema::CollectionName)]
    name: String,
    /// The dimension of its vectors; null if it has only texts.
    dimension: Option<u32>,
    /// The metric of its vectors; null if it has only texts.
    #[schema(value_type = Option<MetricName>)]
    metric: Option<&'static str>,
    /// Whether its vectors may have texts.
    text: bool,
    /// The language of its texts; null if there is none.
    language: Option<&'static str>,
    /// The number of its vectors, or of its texts if it has no vectors.
    count: usize,
    /// The logical size in bytes: for each vector 4 × dimension + id + payload + text + 32.
    bytes: u64,
    /// The vector index.
    index: IndexAnswer,
    /// The payload index.
    payload_index: PayloadIndexAnswer,
    /// When it was created, in RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// The seq of its last change: what `If-Match` compares with.
    last_change: u64,
}

/// The payload index of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayloadIndexAnswer {
    /// The number of indexed payload paths. Filters on them do not read payloads.
    paths: usize,
    /// The number of declared paths, including those that no payload has.
    declared: usize,
    /// The number of declared paths that are still being indexed. Filters on them read payloads until then.
    building: usize,
    /// The number of other paths that are not indexed for lack of room. Filters on them are exact, too, and read
    /// payloads.
    left_out: usize,
    /// The first sixteen of those, in the form of filter keys.
    left_out_first: Vec<String>,
    /// The approximate memory of the index, in bytes.
    bytes: usize,
}

/// The state of the graph.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the words of `SearchState`")]
enum IndexState {
    Exact,
    Linking,
    Linked,
}

/// The vector index of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexAnswer {
    /// `exact`: searches compare every vector. `linked`: searches use a graph. `linking`: searches use a graph, and
    /// compare vectors that are not in it yet one by one.
    #[schema(value_type = IndexState)]
    state: &'static str,
    /// The number of vectors that searches compare one by one because they are not linked yet.
    unlinked: usize,
    /// The number of links per vector and level, if the collection was created with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    m: Option<u16>,
    /// The number of candidates while linking, if the collection was created with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ef_construction: Option<u16>,
    /// The number of candidates while searching, if the collection was created with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ef: Option<u16>,
}

impl From<CollectionFacts> for CollectionAnswer {
    fn from(facts: CollectionFacts) -> Self {
        let vectors = facts.parameters;
        let IndexParameters { m, ef_construction, ef } =
            vectors.map(|vectors| vectors.index).unwrap_or_default();
        let dimension =
            |vectors: VectorParameters| u32::try_from(vectors.dimension.get()).unwrap_or(Dimension::MAX);
        let (state, unlinked) = match facts.search {
            SearchState::Exact => ("exact", 0),
            SearchState::Linking { unlinked } => ("linking", unlinked),
            SearchState::Linked => ("linked", 0),
        };
        let PayloadIndex { indexed: paths, declared, building, left_out, left_out_first, bytes } =
            facts.payload_index;
        let payload_index = PayloadIndexAnswer { paths, declared, building, left_out, left_out_first, bytes };
        Self {
            name: facts.name.to_string(),
            dimension: vectors.map(dimension),
            metric: vectors.map(|vectors| vectors.metric.as_str()),
            text: facts.texts.is_some(),
            language: facts.texts.and_then(|texts| texts.language).map(Language::code),
            count: facts.vectors,
            bytes: facts.logical_bytes,
            index: IndexAnswer { state, unlinked, m, ef_construction, ef },
            payload_index,
            created_at: facts.created_at.to_string(),
            last_change: facts.last_change.get(),
        }
    }
}

/// All collections of a tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionList {
    /// The collections, ordered by name.
    collections: Vec<CollectionAnswer>,
}

/// A collection was created.
#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionCreated<'a> {
    /// The seq of the record.
    seq: u64,
    /// Its name.
    #[schema(value_type = schema::CollectionName)]
    name: &'a str,
}

/// A collection was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionDeleted {
    /// The seq of the record.
    seq: u64,
    /// The number of vectors that were deleted with it.
    vectors_deleted: u64,
}

impl CollectionList {
    /// The answer that lists these collections.
    pub fn of(collections: Vec<CollectionFacts>) -> Self {
        Self { collections: collections.into_iter().map(CollectionAnswer::from).collect() }
    }
}

impl<'a> CollectionCreated<'a> {
    /// The answer to this write.
    pub fn of(committed: &Committed, name: &'a CollectionName) -> Self {
        Self { seq: committed.seq.get(), name: name.as_str() }
    }
}

impl CollectionDeleted {
    /// The answer to this write.
    pub fn of(committed: &Committed) -> Self {
        Self { seq: committed.seq.get(), vectors_deleted: committed.outcome.vectors() }
    }
}
