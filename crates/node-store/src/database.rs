//! A database of the node, which is opened in the background.
//!
//! A full disk, or a process without descriptors or permissions, is no damage. A database that cannot be opened or
//! read for such a reason is left as it is and tried again each second; the node starts and answers in the meantime.
//! A damaged database is renamed, and an empty one created.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};
use vectorizer_log::storage::{StorageFailure, open_when_free};

use super::error::NodeStoreError;

/// The suffix of a damaged database that was renamed. It replaces an older one.
pub(super) const UNREADABLE: &str = ".unreadable";

const CACHE_BYTES: u64 = 4 << 20;
const SEGMENT_BYTES: usize = 512 << 10;
/// How long to wait for a lock that another process is releasing; longer in tests, since a busy machine may stall.
const LOCK_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 30 } else { 2 });
/// How long a write may be lost when the process is killed.
const FLUSH_EVERY_MILLISECONDS: u64 = 500;
/// The pause before a failed database is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// One database.
#[derive(Debug)]
pub(super) struct Database {
    node: PathBuf,
    name: &'static str,
    trees: &'static [&'static str],
    state: Mutex<State>,
    /// Notified when the first attempt to open has ended.
    settled: Condvar,
    /// How often it was opened.
    opened: watch::Sender<u64>,
}

#[derive(Debug)]
enum State {
    /// It is being opened for the first time; calls wait.
    Opening,
    Open(Arc<Trees>),
    /// It cannot be opened for now. It is tried again.
    Wanting(Arc<NodeStoreError>),
    /// It cannot be opened, and is not tried again.
    Failed(Arc<NodeStoreError>),
}

/// An open database.
#[derive(Debug)]
struct Trees(Vec<(&'static str, sled::Tree)>);

/// sled writes its last buffer on drop, and panics if that fails.
impl Drop for Trees {
    fn drop(&mut self) {
        let trees = std::mem::take(&mut self.0);
        if catch_unwind(AssertUnwindSafe(|| drop(trees))).is_err() {
            warn!("a database of the node could not be closed: its last records may be lost");
        }
    }
}

impl Database {
    /// A database with these trees, in the folder `name` of the `node` folder. It must be [opened](Self::open).
    pub(super) fn new(node: &Path, name: &'static str, trees: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self {
            node: node.to_owned(),
            name,
            trees,
            state: Mutex::new(State::Opening),
            settled: Condvar::new(),
            opened: watch::channel(0).0,
        })
    }

    /// Opens it. If resources are missing, it is tried again in the background.
    ///
    /// # Errors
    ///
    /// It cannot be opened for another reason.
    pub(super) fn open(self: &Arc<Self>) -> Result<(), Arc<NodeStoreError>> {
        let outcome = self.attempt();
        let wants = matches!(&outcome, Err(error) if error.is_want());
        let (state, outcome) = match outcome {
            Ok(trees) => (State::Open(Arc::new(trees)), Ok(())),
            Err(error) => {
                let error = Arc::new(error);
                if wants {
                    let why = &*error as &dyn std::error::Error;
                    warn!(
                        error = why,
                        database = self.name,
                        "a database of the node cannot be opened for now"
                    );
                    (State::Wanting(error), Ok(()))
                } else {
                    (State::Failed(Arc::clone(&error)), Err(error))
                }
            }
        };
        *self.state() = state;
        self.settled.notify_all();
        if wants {
            self.try_again();
        } else if outcome.is_ok() {
            self.opened.send_modify(|times| *times += 1);
        }
        outcome
    }

    /// Whether calls do not wait.
    pub(super) fn is_settled(&self) -> bool {
        !matches!(*self.state(), State::Opening)
    }

    /// Whether it cannot be used because resources are missing.
    pub(super) fn is_wanting(&self) -> bool {
        matches!(*self.state(), State::Wanting(_))
    }

    /// Changes each time it was opened.
    pub(super) fn openings(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    /// Calls `work` with one of its trees. Waits while it is opened for the first time. After a failure for missing
    /// resources it is opened again, since sled does not recover from one.
    pub(super) fn with<T>(
        self: &Arc<Self>,
        tree: &str,
        call: impl FnOnce(&sled::Tree) -> Result<T, NodeStoreError>,
    ) -> Result<T, NodeStoreError> {
        let trees = self.trees()?;
        let (_, tree) = trees.0.iter().find(|(name, _)| *name == tree).ok_or(NodeStoreError::NoSuchTree)?;
        let done = guarded(|| call(tree));
        if let Err(error) = &done
            && error.is_want()
        {
            self.lost(&trees, error);
        }
        done
    }

    fn trees(&self) -> Result<Arc<Trees>, NodeStoreError> {
        let is_opening = |state: &mut State| matches!(state, State::Opening);
        let state = self.settled.wait_while(self.state(), is_opening).unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(trees) => Ok(Arc::clone(trees)),
            State::Wanting(error) | State::Failed(error) => Err(NodeStoreError::Unopened(Arc::clone(error))),
            State::Opening => Err(NodeStoreError::NoSuchTree),
        }
    }

    /// A call has failed because resources are missing.
    fn lost(self: &Arc<Self>, failed: &Arc<Trees>, error: &NodeStoreError) {
        let mut state = self.state();
        if !matches!(&*state, State::Open(trees) if Arc::ptr_eq(trees, failed)) {
            return;
        }
        warn!(
            error = error as &dyn std::error::Error,
            database = self.name,
            "a database of the node cannot be used for now"
        );
        let reason = NodeStoreError::Wanting(error.to_string());
        let before = std::mem::replace(&mut *state, State::Wanting(Arc::new(reason)));
        drop(state);
        drop(before);
        self.try_again();
    }

    /// Tries to open it until that succeeds or fails for good.
    fn try_again(self: &Arc<Self>) {
        let database: Weak<Self> = Arc::downgrade(self);
        let work = move || {
            loop {
                thread::sleep(RETRY_PAUSE);
                let Some(database) = database.upgrade() else { return };
                let outcome = database.attempt();
                let state = match outcome {
                    Err(error) if error.is_want() => continue,
                    Err(error) => State::Failed(Arc::new(error)),
                    Ok(trees) => {
                        info!(database = database.name, "a database of the node is open again");
                        State::Open(Arc::new(trees))
                    }
                };
                let is_open = matches!(state, State::Open(_));
                *database.state() = state;
                if is_open {
                    database.opened.send_modify(|times| *times += 1);
                }
                return;
            }
        };
        if let Err(error) = thread::Builder::new().name("node-store".to_owned()).spawn(work) {
            warn!(%error, database = self.name, "a database of the node will not be opened before the next start");
        }
    }

    fn attempt(&self) -> Result<Trees, NodeStoreError> {
        // IMPORTANT: there must be an outcome in any case, since calls wait for it.
        guarded(|| {
            let database = open_or_begin_anew(&self.node, self.name)?;
            let tree = |name: &&'static str| Ok((*name, database.open_tree(name)?));
            let trees = self.trees.iter().map(tree).collect::<Result<_, NodeStoreError>>()?;
            Ok(Trees(trees))
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// sled may panic on damage, and when a system call fails.
fn guarded<T>(call: impl FnOnce() -> Result<T, NodeStoreError>) -> Result<T, NodeStoreError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown");
        let reason = format!("sled panicked: {message}");
        Err(if StorageFailure::of_panic(message).is_unavailable() {
            NodeStoreError::Wanting(reason)
        } else {
            NodeStoreError::Damaged(reason)
        })
    })
}

/// Opens the database in this folder; an empty one if it is damaged.
fn open_or_begin_anew(node: &Path, folder: &str) -> Result<sled::Db, NodeStoreError> {
    let path = node.join(folder);
    // A held lock is no damage.
    open_when_free(LOCK_PATIENCE, || open(&path)).or_else(|error| {
        if error.is_want() {
            return Err(error);
        }
        let reason = error.to_string();
        warn!(reason, ?path, "a database of the node cannot be read; an empty one replaces it");
        let aside = node.join(format!("{folder}{UNREADABLE}"));
        let failed = |source| NodeStoreError::Folder { path: path.clone(), source };
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        fs::rename(&path, &aside).map_err(failed)?;
        open(&path)
    })
}

fn open(path: &Path) -> Result<sled::Db, NodeStoreError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SEGMENT_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MILLISECONDS));
    guarded(|| Ok(config.open()?))
}
