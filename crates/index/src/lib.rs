//! Collections of points in memory, and search over them.
//!
//! [`Index`] holds the collections of one tenant. It changes by [records](vectorizer_log::Record) alone, and
//! answers searches by vector, by filter and by [words](TextQuery).
//!
//! - `index`: all collections of a tenant; `collection`: one collection; `ids`: the slot of each id.
//! - `slots`: the points themselves, in append-only blocks that readers share with the writer.
//! - `snapshot`: a collection as of one moment, readable without a lock while writes go on.
//! - `search`, `distance`: the best points by score, and the scores.
//! - `filter`: conditions on ids and payloads; `postings`: which slots hold which values; `selection`: what a
//!   filter selects, as far as the postings tell; `filter_plan`: whether that is for a scan or a walk.
//! - `indexing`: postings for payloads that were there before their path was indexed.
//! - `text`: the full-text index; `matches`: the best points by the words of their texts; `fusion`: one ranking
//!   of that and the one by vector.
//! - `pool`: reusable working memory, so that a search allocates nothing but its answer.
//! - `change`: what an event did, and why one cannot happen; `estimate`: what it would do.
//! - `checkpoint`: the sections of a checkpoint; `memory`: accounting of the heap.
//!
//! A collection of some size has a `graph` beside its slots, linked behind the writes (`linking`); searches
//! of smaller ones are exact: they score every vector. A slot never changes its vector and is never used
//! twice between compactions, so a graph links slots, postings list them, and a snapshot carries the
//! graph along with the blocks.

mod change;
pub mod checkpoint;
mod collection;
mod compaction;
mod distance;
mod estimate;
mod filter;
mod filter_plan;
mod fusion;
mod graph;
mod ids;
mod index;
mod indexing;
mod linking;
mod logical_size;
mod matches;
pub mod memory;
mod pool;
mod postings;
mod prefetch;
mod search;
mod selection;
mod slots;
mod snapshot;
mod sums;
mod text;

pub use change::{Change, InvalidEvent};
pub use collection::Collection;
pub use compaction::{Compaction, Removed};
pub use filter::{Filter, InvalidFilter, InvalidIndexPath, InvalidKey, Key, Unconditional};
pub use fusion::{FUSED_DEPTH, fused};
pub use graph::{LinkThreads, Interrupted, UnusableGraph};
pub use index::{FrozenIndex, Index, StoredIndex};
pub use indexing::Indexing;
pub use logical_size::{VECTOR_OVERHEAD_BYTES, vector_logical_bytes};
pub use matches::{TextMatches, TextRequest};
pub use memory::HeldBytes;
pub use postings::{IndexState, Indexes, PayloadIndex};
pub use search::{Hit, InvalidQuery, SearchMode, SearchRequest};
pub use selection::Selection;
pub use slots::StoredPoint;
pub use snapshot::Snapshot;
pub use text::{InvalidTextQuery, TextIndexSize, TextQuery};
