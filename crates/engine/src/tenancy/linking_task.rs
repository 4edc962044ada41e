//! The steps of a linker: linking, and the upkeep of graphs and of the index of payloads.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use vectorizer_index::{Collection, Compaction, Indexing, Interrupted, LinkThreads, Snapshot, UnusableGraph};
use vectorizer_log::CollectionId;
use vectorizer_scheduling::{Priority, throttle, yield_point};

use super::graph_files::GraphFiles;
use super::shared_state::SharedState;

/// The time of a step. Meanwhile no other collection's vectors are linked, nor any other tenant's.
const TURN: Duration = Duration::from_millis(200);
/// How often a compaction, or an index, is brought up to date before it is put in place.
const CATCH_UPS: usize = 3;

#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Take the graph of an earlier life.
    Read,
    Link,
    /// See to it that all that is linked is found.
    Repair,
    Compact,
    /// Index payloads by paths that were declared, or that have got room.
    Index,
    /// Keep the graph for a later life.
    Write,
}

/// What is to be done next, and on what.
pub(super) struct Task {
    pub(super) work: Work,
    pub(super) id: CollectionId,
    pub(super) snapshot: Snapshot,
}

/// What came of a task.
pub(super) enum Done {
    /// So much was linked, or is linked by now if it was read or written.
    Linked(usize),
    /// It is yet to be put in place.
    Compacted(Box<Compaction>),
    /// It is yet to be put in place.
    Indexed(Box<Indexing>),
}

impl Task {
    /// Does it, where it may take long.
    pub(super) fn run(
        self,
        state: &SharedState,
        files: &GraphFiles,
        stop: &CancellationToken,
    ) -> Result<Done, Interrupted> {
        let Self { work, id, snapshot } = self;
        // Asked every fifty microseconds, or between two points.
        let stopped = || {
            yield_point();
            stop.is_cancelled()
        };
        match work {
            Work::Read => read(files, id, &snapshot, &stopped).map(Done::Linked),
            Work::Link => {
                let started = Instant::now();
                let enough = || started.elapsed() >= TURN;
                snapshot.link_until(usize::MAX, link_threads(), &stopped, &enough).map(Done::Linked)
            }
            Work::Repair => {
                snapshot.repair(&stopped)?;
                debug!(collection = %id.seq(), "repaired the graph");
                Ok(Done::Linked(snapshot.linked()))
            }
            Work::Compact => {
                let mut compaction = snapshot.compact(&stopped)?;
                // What was written meanwhile, as far as possible without holding anybody up.
                for _ in 0..CATCH_UPS {
                    if let Some(now) = look(state, id, Collection::snapshot) {
                        compaction.catch_up_with(&now);
                    }
                }
                Ok(Done::Compacted(Box::new(compaction)))
            }
            Work::Index => {
                // It was deleted meanwhile.
                let Some(mut indexing) = look(state, id, Collection::indexing) else {
                    return Ok(Done::Linked(0));
                };
                indexing.gather(&stopped)?;
                for _ in 0..CATCH_UPS {
                    if let Some(now) = look(state, id, Collection::snapshot) {
                        indexing.catch_up_with(&now);
                    }
                }
                Ok(Done::Indexed(Box::new(indexing)))
            }
            Work::Write => {
                match files.write(id, &snapshot, stop) {
                    Ok(bytes) => debug!(collection = %id.seq(), bytes, "kept the graph"),
                    Err(_) if stop.is_cancelled() => return Err(Interrupted),
                    // It only saves time, and is tried again when the graph has grown.
                    Err(error) => warn!(collection = %id.seq(), %error, "the graph could not be kept"),
                }
                Ok(Done::Linked(snapshot.linked()))
            }
        }
    }
}

/// What is seen of a collection now, if it still exists.
fn look<T>(state: &SharedState, id: CollectionId, see: impl FnOnce(&Collection) -> T) -> Option<T> {
    state.read().projection.index().by_id(id).map(see)
}

/// The threads that link: at `SCHED_IDLE`, except for one that has its share of a core. A core that runs only the
/// former is free for a search.
fn link_threads() -> LinkThreads {
    let helpers = std::thread::available_parallelism().map_or(1, usize::from);
    LinkThreads { helpers, on_start: || Priority::Idle.apply(), after_each: throttle }
}

fn read(
    files: &GraphFiles,
    id: CollectionId,
    snapshot: &Snapshot,
    stopped: &(impl Fn() -> bool + Sync),
) -> Result<usize, Interrupted> {
    let bytes = match files.read(id, snapshot.graph_bytes_max()) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(0),
        Err(error) => {
            warn!(collection = %id.seq(), %error, "the kept graph could not be read and is built anew");
            return Ok(0);
        }
    };
    let started = Instant::now();
    // What came behind the kept graph is linked in turns, as it is without one.
    let enough = || started.elapsed() >= TURN;
    match snapshot.read_graph_until(&bytes, link_threads(), stopped, &enough) {
        Ok(()) => {
            info!(collection = %id.seq(), vectors = snapshot.linked(), "the kept graph is in use");
            Ok(snapshot.linked())
        }
        Err(UnusableGraph::Interrupted(stopped)) => Err(stopped),
        Err(error @ (UnusableGraph::Damaged | UnusableGraph::Other)) => {
            warn!(collection = %id.seq(), %error, "the kept graph is of no use and is built anew");
            Ok(0)
        }
    }
}
