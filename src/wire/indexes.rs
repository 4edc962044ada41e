//! Which paths of payloads are indexed.

use serde::Serialize;
use utoipa::ToSchema;
use vectorizer_index::{IndexState, Indexes};
use vectorizer_log::PayloadPath;

use super::schema;
use crate::tenancy::Committed;

/// About how many bytes of JSON show a path beside its text.
const SHOWN_BYTES: usize = 64;

/// How a collection's payloads are indexed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IndexList {
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
    #[schema(value_type = schema::PayloadPath)]
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
    #[schema(value_type = Vec<schema::PayloadPath>, max_items = 100)]
    first: Vec<String>,
}

/// Paths that are not indexed.
#[derive(Debug, Serialize, ToSchema)]
struct PathsLeftOut {
    /// How many.
    count: usize,
    /// The first hundred.
    #[schema(value_type = Vec<schema::PayloadPath>, max_items = 100)]
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
pub(crate) struct IndexDeclared<'a> {
    /// The record that did it; the last record of the log if it was declared before.
    seq: u64,
    /// The path in its one form, with as few quotes as possible: `a[].b` is `a.b`.
    #[schema(value_type = schema::PayloadPath)]
    path: &'a str,
}

/// A path is declared no longer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IndexDropped<'a> {
    /// The record that did it.
    seq: u64,
    /// The path in its one form.
    #[schema(value_type = schema::PayloadPath)]
    path: &'a str,
}

impl IndexList {
    /// About how many bytes of JSON show it.
    pub(crate) fn bytes(&self) -> usize {
        let paths = self.declared.iter().map(|declared| &declared.path);
        let paths = paths.chain(&self.automatic.first).chain(&self.left_out.first);
        paths.fold(SHOWN_BYTES * 4, |bytes, path| bytes + SHOWN_BYTES + path.len())
    }
}

impl<'a> IndexDeclared<'a> {
    pub(crate) fn of(committed: &Committed, path: &'a PayloadPath) -> Self {
        Self { seq: committed.seq.get(), path: path.as_str() }
    }
}

impl<'a> IndexDropped<'a> {
    pub(crate) fn of(committed: &Committed, path: &'a PayloadPath) -> Self {
        Self { seq: committed.seq.get(), path: path.as_str() }
    }
}
