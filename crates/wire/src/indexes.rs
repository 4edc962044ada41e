//! The JSON of payload indexes.

use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_engine::tenancy::Committed;
use vectorizer_index::{IndexState, Indexes};
use vectorizer_log::PayloadPath;

use super::schema;

/// The approximate size of a path in JSON beside its text, in bytes.
const SHOWN_BYTES: usize = 64;

/// The payload indexes of a collection.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexList {
    /// The declared paths, ordered: at most 64. They are always indexed.
    #[schema(max_items = 64)]
    declared: Vec<DeclaredIndex>,
    /// Other paths, which are indexed automatically.
    automatic: AutomaticIndexes,
    /// Paths that are not indexed. Filters on them are exact, too, and read payloads.
    left_out: PathsLeftOut,
}

/// A declared path.
#[derive(Debug, Serialize, ToSchema)]
struct DeclaredIndex {
    /// The path, in the form of a filter key.
    #[schema(value_type = schema::PayloadPath)]
    path: String,
    /// `ready`: filters on it do not read payloads. `building`: they do until the index is built.
    #[schema(value_type = IndexStateName)]
    state: &'static str,
}

/// The state of an index.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "it describes the words of `IndexState`")]
enum IndexStateName {
    Ready,
    Building,
}

/// Paths that are indexed automatically.
#[derive(Debug, Serialize, ToSchema)]
struct AutomaticIndexes {
    /// The number of paths.
    count: usize,
    /// The first hundred paths.
    #[schema(value_type = Vec<schema::PayloadPath>, max_items = 100)]
    first: Vec<String>,
}

/// Paths that are not indexed.
#[derive(Debug, Serialize, ToSchema)]
struct PathsLeftOut {
    /// The number of paths.
    count: usize,
    /// The first hundred paths.
    #[schema(value_type = Vec<schema::PayloadPath>, max_items = 100)]
    first: Vec<String>,
    /// Why they are not indexed.
    #[schema(value_type = LeftOutReason)]
    reason: &'static str,
}

/// Why paths are not indexed. `no-room`: the index of undeclared paths has reached its memory limit, which is 16 MiB or
/// the size of all payloads if that is more, not counting its values. More paths are indexed when an eighth is free.
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

/// An index was declared.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexDeclared<'a> {
    /// The seq of the record; the last record of the log if the path was declared before.
    seq: u64,
    /// The path in canonical form, with as few quotes as possible: `a[].b` becomes `a.b`.
    #[schema(value_type = schema::PayloadPath)]
    path: &'a str,
}

/// The declaration of an index was dropped.
#[derive(Debug, Serialize, ToSchema)]
pub struct IndexDropped<'a> {
    /// The seq of the record.
    seq: u64,
    /// The path in canonical form.
    #[schema(value_type = schema::PayloadPath)]
    path: &'a str,
}

impl IndexList {
    /// Its approximate size in JSON, in bytes.
    pub fn bytes(&self) -> usize {
        let paths = self.declared.iter().map(|declared| &declared.path);
        let paths = paths.chain(&self.automatic.first).chain(&self.left_out.first);
        paths.fold(SHOWN_BYTES * 4, |bytes, path| bytes + SHOWN_BYTES + path.len())
    }
}

impl<'a> IndexDeclared<'a> {
    /// The answer to this write.
    pub fn of(committed: &Committed, path: &'a PayloadPath) -> Self {
        Self { seq: committed.seq.get(), path: path.as_str() }
    }
}

impl<'a> IndexDropped<'a> {
    /// The answer to this write.
    pub fn of(committed: &Committed, path: &'a PayloadPath) -> Self {
        Self { seq: committed.seq.get(), path: path.as_str() }
    }
}
