//! A storage in memory for tests. It loses unsynced writes and fails on demand.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{BodyPlacement, Storage, StorageError, VisitPart};
use crate::head::{HEAD_FILE_BYTES, SLOT_BYTES, Slot};
use crate::part::PartKey;

/// The size of a block of bodies: small, so that small tests have many of them.
const BLOCK_BYTES: usize = 16;

/// Into how many calls a write of bodies is split at most, so that a crash may leave any of these prefixes.
const PIECES: usize = 3;

/// A storage in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    part_bytes_max: usize,
    placement: BodyPlacement,
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
    /// An `append_bodies` fails after it has written a part of the bodies.
    AppendBodies {
        /// How many calls succeed before it.
        after: usize,
    },
    /// A `sync_bodies` fails, and unsynced bodies may never become durable.
    SyncBodies {
        /// How many calls succeed before it.
        after: usize,
    },
}

/// What a loss of power leaves of the bodies that were written but not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnsyncedBodies {
    /// Nothing: the file is as long as before.
    Lost,
    /// The length of the file, and zeros in place of the bytes.
    Zeroed,
    /// Their second half, and zeros in place of the first.
    Torn,
    /// All of their bytes.
    Kept,
}

/// A call that a crash may undo.
#[derive(Clone, Debug)]
enum Call {
    /// A part is stored, or removed if it is `None`.
    Part(Vec<u8>, Option<Vec<u8>>),
    /// Bytes are written at an offset of the file of bodies.
    Bodies(usize, Vec<u8>),
    /// The file of bodies is synced.
    SyncBodies,
}

#[derive(Clone, Debug, Default)]
struct State {
    parts: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The state that a crash returns to, before unsynced calls are applied to it.
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    bodies: Vec<u8>,
    /// Like `durable`, for the file of bodies.
    durable_bodies: Vec<u8>,
    /// Calls since the last sync.
    unsynced: Vec<Call>,
    head: Vec<u8>,
    durable_head: Vec<u8>,
    faults: Vec<Fault>,
    poisoned: bool,
}

impl MemoryStorage {
    /// An empty storage for values of up to `part_bytes_max` bytes, without bodies.
    pub fn new(part_bytes_max: usize) -> Self {
        Self::placing(part_bytes_max, BodyPlacement::Parts)
    }

    /// Like [`new`](Self::new), with this placement of envelopes.
    pub fn placing(part_bytes_max: usize, placement: BodyPlacement) -> Self {
        let head = vec![0; HEAD_FILE_BYTES];
        let state = State { durable_head: head.clone(), head, ..State::default() };
        Self { part_bytes_max, placement, state: Mutex::new(state) }
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

    /// How many of these calls wrote or removed a part, among the first `kept`.
    pub fn unsynced_parts(&self, kept: usize) -> usize {
        self.state().unsynced.iter().take(kept).filter(|call| matches!(call, Call::Part(..))).count()
    }

    /// The state after the end of the process: of the calls since the last sync, the first `kept` survive; the head
    /// survives as written.
    #[must_use]
    pub fn after_process_death(&self, kept: usize) -> Self {
        self.survivor(kept, UnsyncedBodies::Kept)
    }

    /// The state after a loss of power, which also undoes writes of the head since its last sync. Of the first `kept`
    /// calls, those survive that change parts, and bodies that were synced by one of them.
    #[must_use]
    pub fn after_power_loss(&self, kept: usize, unsynced: UnsyncedBodies) -> Self {
        let survivor = self.survivor(kept, unsynced);
        {
            let state = &mut *survivor.state();
            state.head.clone_from(&state.durable_head);
        }
        survivor
    }

    fn survivor(&self, kept: usize, unsynced: UnsyncedBodies) -> Self {
        let mut state = self.state().clone();
        state.parts.clone_from(&state.durable);
        state.bodies.clone_from(&state.durable_bodies);
        let calls = std::mem::take(&mut state.unsynced);
        let calls = &calls[..kept.min(calls.len())];
        let synced = calls.iter().rposition(|call| matches!(call, Call::SyncBodies)).unwrap_or(0);
        for (at, call) in calls.iter().enumerate() {
            match call {
                Call::Part(key, Some(value)) => drop(state.parts.insert(key.clone(), value.clone())),
                Call::Part(key, None) => drop(state.parts.remove(key)),
                Call::Bodies(offset, bytes) if at < synced || unsynced == UnsyncedBodies::Kept => {
                    write_at(&mut state.bodies, *offset, bytes);
                }
                Call::Bodies(offset, bytes) => match unsynced {
                    UnsyncedBodies::Lost => {}
                    UnsyncedBodies::Zeroed => write_at(&mut state.bodies, *offset, &vec![0; bytes.len()]),
                    UnsyncedBodies::Torn | UnsyncedBodies::Kept => {
                        let (first, second) = bytes.split_at(bytes.len() / 2);
                        write_at(&mut state.bodies, offset + first.len(), second);
                    }
                },
                Call::SyncBodies => {}
            }
        }
        state.make_durable();
        state.faults.clear();
        Self { part_bytes_max: self.part_bytes_max, placement: self.placement, state: Mutex::new(state) }
    }

    /// Changes stored bytes directly: `change` gets all keys and values.
    pub fn tamper(&self, change: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        let mut state = self.state();
        change(&mut state.parts);
        state.make_durable();
    }

    /// Changes the file of bodies directly.
    pub fn tamper_bodies(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        change(&mut state.bodies);
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
    /// As a sync of the parts does: bodies are durable only if they were synced themselves.
    fn make_parts_durable(&mut self) {
        self.durable.clone_from(&self.parts);
        let calls = std::mem::take(&mut self.unsynced);
        let synced = calls.iter().rposition(|call| matches!(call, Call::SyncBodies)).unwrap_or(0);
        for (at, call) in calls.into_iter().enumerate() {
            if let Call::Bodies(offset, bytes) = call {
                if at < synced {
                    write_at(&mut self.durable_bodies, offset, &bytes);
                } else {
                    self.unsynced.push(Call::Bodies(offset, bytes));
                }
            }
        }
    }

    fn make_durable(&mut self) {
        self.durable.clone_from(&self.parts);
        self.durable_bodies.clone_from(&self.bodies);
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

/// Writes `bytes` at `offset`, with zeros in front if `file` is shorter.
fn write_at(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    file.resize(file.len().max(offset + bytes.len()), 0);
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// For `Arc`, so that a test can keep a handle of the storage of its log.
impl Storage for Arc<MemoryStorage> {
    fn part_bytes_max(&self) -> usize {
        self.part_bytes_max
    }

    fn put(&self, key: PartKey, value: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call(
            "write a part",
            |fault| if let Fault::Put { after } = fault { Some(after) } else { None },
        )?;
        assert!(value.len() <= self.part_bytes_max, "a part of {} bytes", value.len());
        state.parts.insert(key.to_bytes().into(), value.into());
        state.unsynced.push(Call::Part(key.to_bytes().into(), Some(value.into())));
        Ok(())
    }

    fn remove(&self, key: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state();
        state.parts.remove(key);
        state.unsynced.push(Call::Part(key.into(), None));
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call("sync", |fault| if let Fault::Sync { after } = fault { Some(after) } else { None })?;
        state.make_parts_durable();
        Ok(())
    }

    fn scan_parts(&self, from: PartKey, visit: &mut VisitPart<'_>) -> Result<(), StorageError> {
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

    fn placement(&self) -> BodyPlacement {
        self.placement
    }

    fn append_bodies(&self, bodies: &[&[u8]]) -> Result<u64, StorageError> {
        let bytes = bodies.concat();
        let mut state = self.state();
        let start = state.bodies.len().next_multiple_of(BLOCK_BYTES);
        let failed = state.call("write bodies", |fault| {
            if let Fault::AppendBodies { after } = fault { Some(after) } else { None }
        });
        let written = if failed.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let mut at = start;
        for piece in bytes[..written].chunks(bytes.len().div_ceil(PIECES).max(1)) {
            write_at(&mut state.bodies, at, piece);
            state.unsynced.push(Call::Bodies(at, piece.into()));
            at += piece.len();
        }
        failed.map(|()| start as u64)
    }

    fn sync_bodies(&self) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call("sync the bodies", |fault| {
            if let Fault::SyncBodies { after } = fault { Some(after) } else { None }
        })?;
        state.unsynced.push(Call::SyncBodies);
        Ok(())
    }

    fn bodies_end(&self) -> Result<u64, StorageError> {
        Ok(self.state().bodies.len() as u64)
    }

    fn read_body(&self, offset: u64, body: &mut [u8]) -> Result<(), StorageError> {
        let start = usize::try_from(offset).expect("the caller has compared it with the end");
        body.copy_from_slice(&self.state().bodies[start..start + body.len()]);
        Ok(())
    }

    fn write_head(&self, slot: Slot, bytes: &[u8; SLOT_BYTES]) -> Result<(), StorageError> {
        let mut state = self.state();
        state.call(
            "write the head",
            |fault| if let Fault::Head { after } = fault { Some(after) } else { None },
        )?;
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
