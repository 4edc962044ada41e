//! Collections of points in memory, and search over them.
//!
//! [`Index`] holds the collections of one tenant. It changes by [records](vectorizer_log::Record) alone, and
//! answers searches by vector, by filter and by [words](TextQuery).
//!
//! - `index`: all collections of a tenant; `collection`: one collection; `ids`: its slots in the order of ids.
//! - `slots`: the points themselves, in append-only blocks that readers share with the writer.
//! - `snapshot`: a collection as of one moment, readable without a lock while writes go on.
//! - `search`, `distance`, `sums`: the best points by score, and the scores.
//! - `filter`: conditions on ids and payloads; `postings`: the slots of each value; `selection`: the candidates of a
//!   filter; `filter_plan`: whether a search walks or scans them.
//! - `graph`: approximate search; `graph_cell`: a collection's graph; `linking`: linking points into it.
//! - `text`: the full-text index; `texts`: that of a collection; `matches`: search in it; `fusion`: one ranking made of
//!   two.
//! - `compaction`, `indexing`: background work on a collection; `interrupted`: its end; `removed`: memory to drop
//!   later.
//! - `change`: what an event changes, and why an event is invalid; `estimate`: the change before it is made.
//! - `checkpoint`: the sections of a checkpoint; `memory`: accounting of heap memory.
//! - `pool`, `prefetch`: buffers and caches of searches.
//!
//! A collection of more than a few thousand points has a graph, which is linked in the background after the writes.
//! Searches of smaller ones are exact: they compare every vector. A slot never changes its vector and is not reused
//! before the next compaction. So a graph links slots, postings list slots, and a snapshot shares the graph and the
//! blocks.

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
mod graph_cell;
mod ids;
mod index;
mod indexing;
mod interrupted;
mod linking;
mod matches;
pub mod memory;
mod pool;
mod postings;
mod prefetch;
mod removed;
mod search;
mod selection;
mod slots;
mod snapshot;
mod sums;
mod text;
mod texts;

pub use change::{Change, InvalidEvent};
pub use collection::Collection;
pub use compaction::Compaction;
pub use filter::{Filter, InvalidFilter, InvalidIndexPath, InvalidKey, Key, Unconditional};
pub use fusion::{FUSED_DEPTH, fused};
pub use graph::{LinkThreads, UnusableGraph};
pub use index::{FrozenIndex, Index, StoredIndex};
pub use indexing::Indexing;
pub use interrupted::Interrupted;
pub use matches::{TextMatches, TextRequest};
pub use memory::HeldBytes;
pub use postings::{IndexState, Indexes, PayloadIndex};
pub use removed::Removed;
pub use search::{Hit, InvalidQuery, SearchMode, SearchRequest};
pub use selection::Selection;
pub use slots::StoredPoint;
pub use snapshot::Snapshot;
pub use text::{InvalidTextQuery, TextIndexSize, TextQuery};
