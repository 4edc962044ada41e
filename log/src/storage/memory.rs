//! A storage in memory for tests. It loses unsynced writes and fails on demand.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Storage, StorageError, Visit};
use crate::head::{HEAD_FILE_BYTES, SLOT_BYTES, Slot};
use crate::part::PartKey;

/// A storage in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    part_bytes_max: usize,
    state: Mutex<State>,
}

/// A fault, and when it occurs: counted in calls of its kind from now on, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A `put` fails and does nothing.
    Put {
        /// How many calls succeed before it.
        after: usize,
    },
    /// A `sync` fails, and unsynced writes may never become durable.
    Sync {
        /// How many calls succeed before it.
        after: usize,
    },
    /// A write of the head fails and does nothing.
    Head {
        /// How many calls succeed before it.
        after: usize,
    },
}

#[derive(Clone, Debug, Default)]
struct State {
    parts: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The state that a crash returns to, before unsynced calls are applied to it.
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Calls since the last sync: the key, and the value or `None` for a removal.
    unsynced: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    head: Vec<u8>,
    durable_head: Vec<u8>,
    faults: Vec<Fault>,
    poisoned: bool,
}

impl MemoryStorage {
    /// An empty storage for values of up to `part_bytes_max` bytes.
    pub fn new(part_bytes_max: usize) -> Self {
        let head = vec![0; HEAD_FILE_BYTES];
        let state = State { durable_head: head.clone(), head, ..State::default() };
        Self { part_bytes_max, state: Mutex::new(state) }
    }

    /// Arranges for a fault.
    pub fn arrange(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// How many calls a crash could undo.
    pub fn unsynced_calls(&self) -> usize {
        self.state().unsynced.len()
    }

    /// Whether a failed write or sync was reported to it.
    pub fn is_poisoned(&self) -> bool {
        self.state().poisoned
    }

    /// The state after the end of the process: of the calls since the last sync, the first `kept` survive; the head
    /// survives as written.
    #[must_use]
    pub fn after_process_death(&self, kept: usize) -> Self {
        let mut state = self.state().clone();
        state.parts.clone_from(&state.durable);
        for (key, value) in std::mem::take(&mut state.unsynced).into_iter().take(kept) {
            match value {
                Some(value) => state.parts.insert(key, value),
                None => state.parts.remove(&key),
            };
        }
        state.make_durable();
        state.faults.clear();
        Self { part_bytes_max: self.part_bytes_max, state: Mutex::new(state) }
    }

    /// The state after a loss of power, which also undoes writes of the head since its last sync.
    #[must_use]
    pub fn after_power_loss(&self, kept: usize) -> Self {
        let survivor = self.after_process_death(kept);
        {
            let state = &mut *survivor.state();
            state.head.clone_from(&state.durable_head);
        }
        survivor
    }

    /// Changes stored bytes directly: `change` gets all keys and values.
    pub fn tamper(&self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        let mut state = self.state();
        change(&mut state.parts);
        state.make_durable();
    }

    /// Changes the head file directly.
    pub fn tamper_head(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.state().head);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make_durable(&mut self) {
        self.durable.clone_from(&self.parts);
        self.unsynced.clear();
    }

    /// Counts a call of the kind that `matching` selects from the faults. Returns an error if it is to fail.
    fn call(
        &mut self,
        doing: &'static str,
        matching: fn(&mut Fault) -> Option<&mut usize>,
    ) -> Result<(), StorageError> {
        for at in 0..self.faults.len() {
            match matching(&mut self.faults[at]) {
                Some(0) => {
                    self.faults.remove(at);
                    return Err(StorageError::arranged(doing));
                }
                Some(after) => *after -= 1,
                None => {}
            }
        }
        Ok(())
    }
}

/// For `Arc`, so that a test can keep a handle of the storage of its log.
impl Storage for Arc<MemoryStorage> {
    fn part_bytes_max(&self) -> usize {
        self.part_bytes_max
    }

    fn put(&self, key: PartKey, value: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call("write a part", |fault| match fault {
            Fault::Put { after } => Some(after),
            Fault::Sync { .. } | Fault::Head { .. } => None,
        })?;
        assert!(value.len() <= self.part_bytes_max, "a part of {} bytes", value.len());
        state.parts.insert(key.to_bytes().into(), value.into());
        state.unsynced.push((key.to_bytes().into(), Some(value.into())));
        Ok(())
    }
    // Clone the parts, so that a visitor may call the storage.
    fn remove(&self, key: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state();
        state.parts.remove(key);
        state.unsynced.push((key.into(), None));
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call("sync", |fault| match fault {
            Fault::Sync { after } => Some(after),
            Fault::Put { .. } | Fault::Head { .. } => None,
        })?;
        state.make_durable();
        Ok(())
    }

    fn scan(&self, from: PartKey, visit: &mut Visit<'_>) -> Result<(), StorageError> {
        // A copy, so that a visitor may call back into the storage.
        let parts = self.state().parts.clone();
        for (key, value) in
            parts.range::<[u8], _>((Bound::Included(from.to_bytes().as_slice()), Bound::Unbounded))
        {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write_head(&self, slot: Slot, bytes: &[u8; SLOT_BYTES]) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call("write the head", |fault| match fault {
            Fault::Head { after } => Some(after),
            Fault::Put { .. } | Fault::Sync { .. } => None,
        })?;
        state.head[slot.offset()..slot.offset() + SLOT_BYTES].copy_from_slice(bytes);
        Ok(())
    }

    fn read_head(&self) -> Result<Vec<u8>, StorageError> {
        Ok(self.state().head.clone())
    }

    fn sync_head(&self) -> Result<(), StorageError> {
        let state = &mut *self.state();
        state.durable_head.clone_from(&state.head);
        Ok(())
    }

    fn mark_poisoned(&self) {
        self.state().poisoned = true;
    }
}
