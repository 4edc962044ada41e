//! Creating, describing and deleting collections.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use vectorizer_index::PayloadIndex;
use vectorizer_log::{
    CollectionName, Dimension, IndexParameters, InvalidDimension, InvalidLanguage, Language, Metric,
    TextParameters, VectorParameters,
};

use super::schema;
use super::values::given;
use crate::service::{self, Error, index_parameters};
use crate::tenancy::{CollectionFacts, Committed, SearchState};

/// A collection to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCollection {
    /// `[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`
    #[schema(value_type = schema::CollectionName)]
    name: String,
    /// How many numbers each vector has: 1 to 16,384. With `text` it may be left out, together with the metric:
    /// then there are texts and no vectors.
    #[schema(example = 3, minimum = 1, maximum = 16384, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    dimension: Option<u32>,
    /// How vectors compare: `cosine`, `dot` or `euclidean`.
    #[schema(value_type = Option<MetricName>, nullable = false)]
    #[serde(default, deserialize_with = "given")]
    metric: Option<Metric>,
    /// Whether vectors may have texts, which are searched by their words; false unless said otherwise. With
    /// `{"language": "en"}` words are found in all their forms in that language, and its stop words are not looked for
    /// unless there is nothing else.
    text: Option<TextInput>,
    /// What is asked of the index of vectors; everything has a default.
    index: Option<IndexInput>,
}

impl NewCollection {
    /// The collection, if its parts go together.
    pub(crate) fn checked(self) -> Result<service::NewCollection, Error> {
        let Self { name, dimension, metric, text, index } = self;
        let name = name.parse().map_err(|invalid| Error::from(invalid).at("name"))?;
        let texts = text.map(TextInput::checked).transpose()?.flatten();
        let missing = |field: &str| {
            let detail = format!(
                "missing field {field:?}: only a collection with `text: true` may do without dimension and metric, and then without both"
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
                let detail = "index is that of vectors, and a collection without a dimension has none";
                return Err(Error::invalid("invalid-index", detail));
            }
            (None, None) => None,
        };
        Ok(service::NewCollection { name, vectors, texts })
    }
}

/// Whether there are texts, or how they are read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TextInput {
    /// Whether there are some.
    Whether(bool),
    /// There are, and they are read like this.
    Options(TextOptions),
}

/// How texts are read.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextOptions {
    /// The language that they are in: `ar`, `da`, `nl`, `en`, `fi`, `fr`, `de`, `el`, `hu`, `it`, `no`, `pt`, `ro`, `ru`,
    /// `es`, `sv`, `ta` or `tr`. Without one, words are found as they are written.
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
    /// `None` if there are no texts.
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

/// How vectors compare.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the words of `Metric`")]
enum MetricName {
    Cosine,
    Dot,
    Euclidean,
}

/// What is asked of an index.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IndexInput {
    /// Links per vector and level: 2 to 128.
    #[schema(minimum = 2, maximum = 128)]
    m: Option<u16>,
    /// Candidates kept while linking: 4 to 4,096.
    #[schema(minimum = 4, maximum = 4096)]
    ef_construction: Option<u16>,
    /// Candidates kept while searching, unless a search says otherwise: 1 to 4,096.
    #[schema(minimum = 1, maximum = 4096)]
    ef: Option<u16>,
}

impl IndexInput {
    fn checked(self) -> Result<IndexParameters, Error> {
        index_parameters(self.m, self.ef_construction, self.ef)
    }
}

/// A collection as it is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionAnswer {
    /// Its name.
    #[schema(value_type = schema::CollectionName)]
    name: String,
    /// Of all its vectors; null if it has texts only.
    dimension: Option<u32>,
    /// How they compare; null if it has texts only.
    #[schema(value_type = Option<MetricName>)]
    metric: Option<&'static str>,
    /// Whether its vectors may have texts.
    text: bool,
    /// The language that they are read in; null if they are read as they are written.
    language: Option<&'static str>,
    /// How many vectors it has, or texts if it has nothing else.
    count: usize,
    /// Their logical size: for each 4 × dimension + id + payload + text + 32.
    bytes: u64,
    /// How searches are answered.
    index: IndexAnswer,
    /// How filters are answered.
    payload_index: PayloadIndexAnswer,
    /// When it was created, in RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// The seq of its last change: what `If-Match` compares with.
    last_change: u64,
}

/// How filters are answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PayloadIndexAnswer {
    /// How many paths of payloads are indexed: filters on them look at no payloads.
    paths: usize,
    /// How many paths were declared, those among them that no payload has too.
    declared: usize,
    /// How many declared paths are being indexed: until they are, filters on them look at payloads.
    building: usize,
    /// How many others are not, since there was no room for them: filters on them are as exact, and look at payloads.
    left_out: usize,
    /// The first sixteen of those, as the keys of filters are written.
    left_out_first: Vec<String>,
    /// About how many bytes of memory the index takes.
    bytes: usize,
}

/// Whether there is a graph.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the words of `SearchState`")]
enum IndexState {
    Exact,
    Linking,
    Linked,
}

/// How searches are answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IndexAnswer {
    /// `exact`: every vector is compared. `linked`: by a graph. `linking`: by a graph, and what is not in
    /// it yet is compared one by one.
    #[schema(value_type = IndexState)]
    state: &'static str,
    /// How many vectors are compared one by one beside the graph.
    unlinked: usize,
    /// Links per vector and level, if they were given when the collection was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    m: Option<u16>,
    /// Candidates kept while linking, if they were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ef_construction: Option<u16>,
    /// Candidates kept while searching, if they were given.
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
pub(crate) struct CollectionList {
    /// Ordered by name.
    collections: Vec<CollectionAnswer>,
}

/// A collection was created.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionCreated<'a> {
    /// The record that did it.
    seq: u64,
    /// Its name.
    #[schema(value_type = schema::CollectionName)]
    name: &'a str,
}

/// A collection was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionDeleted {
    /// The record that did it.
    seq: u64,
    /// The vectors that went with it.
    vectors_deleted: u64,
}

impl CollectionList {
    pub(crate) fn of(collections: Vec<CollectionFacts>) -> Self {
        Self { collections: collections.into_iter().map(CollectionAnswer::from).collect() }
    }
}

impl<'a> CollectionCreated<'a> {
    pub(crate) fn of(committed: &Committed, name: &'a CollectionName) -> Self {
        Self { seq: committed.seq.get(), name: name.as_str() }
    }
}

impl CollectionDeleted {
    pub(crate) fn of(committed: &Committed) -> Self {
        Self { seq: committed.seq.get(), vectors_deleted: committed.outcome.vectors() }
    }
}
