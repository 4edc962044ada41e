//! The slots of a collection's points, ordered by id.
//!
//! The ids themselves are in the slots. This index holds slot numbers in sorted runs of a few hundred. Beside each
//! number it keeps eight bytes of the id, taken after the prefix that all ids of the run share. So nearly every
//! comparison is one of two integers and reads no id.

use super::slots::{Slot, SlotMap, Slots};
use crate::memory::list;

/// The most slots in a run: few enough to move half of them for each insertion.
const RUN_MAX: usize = 512;
/// A full run moves slots to the run before it if that has at most this many. So ids inserted in ascending order
/// leave runs that are more than half full, wherever they are inserted.
const MOVES_BELOW: usize = RUN_MAX / 4 * 3;
/// Two adjacent runs with fewer slots than this are merged.
const MERGES_BELOW: usize = RUN_MAX / 2;
/// Keys are rebuilt when the ids of a run share this many more bytes than the keys skip.
const COMMON_MIN: usize = 4;

/// The slots of all points, ordered by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// No run is empty.
    runs: Vec<Run>,
    /// The first slot of each run.
    firsts: Run,
    len: usize,
    /// The heap bytes of all runs, without the entries of `runs` themselves.
    runs_bytes: usize,
}

/// A sorted run of slots.
#[derive(Clone, Debug, Default)]
struct Run {
    /// The length of the common prefix of all ids, which the keys skip.
    skipped: usize,
    keys: Vec<u64>,
    slots: Vec<Slot>,
}

impl Ids {
    /// An index of `ordered`, or `None` if the ids of these slots do not ascend.
    pub(super) fn of_ordered(slots: &Slots, ordered: &[Slot]) -> Option<Self> {
        if !ordered.is_sorted_by(|one, next| slots.id(*one) < slots.id(*next)) {
            return None;
        }
        let runs: Vec<Run> = ordered.chunks(MOVES_BELOW).map(|run| Run::of(slots, run)).collect();
        let firsts: Vec<Slot> = runs.iter().filter_map(|run| run.slots.first().copied()).collect();
        let runs_bytes = runs.iter().map(Run::memory_bytes).sum();
        Some(Self { firsts: Run::of(slots, &firsts), runs, len: ordered.len(), runs_bytes })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The heap bytes, in constant time.
    pub(super) fn memory_bytes(&self) -> usize {
        list::<Run>(self.runs.capacity()) + self.firsts.memory_bytes() + self.runs_bytes
    }

    /// The slot of the point with this id.
    pub(super) fn get(&self, slots: &Slots, id: &str) -> Option<Slot> {
        let run = self.runs.get(self.run_of(slots, id))?;
        run.find(slots, id).ok().map(|at| run.slots[at])
    }

    /// Inserts the slot of a point. Returns the slot that held the point with the same id before.
    pub(super) fn insert(&mut self, slots: &Slots, slot: Slot) -> Option<Slot> {
        let id = slots.id(slot);
        loop {
            let number = self.run_of(slots, id);
            let Some(run) = self.runs.get_mut(number) else {
                self.begin_run(slots, number, slot);
                return None;
            };
            match run.find(slots, id) {
                Ok(at) => {
                    let replaced = std::mem::replace(&mut run.slots[at], slot);
                    if at == 0 {
                        self.firsts.slots[number] = slot;
                    }
                    return Some(replaced);
                }
                Err(at) if run.len() < RUN_MAX => {
                    let before = run.memory_bytes();
                    run.insert(slots, at, slot);
                    self.runs_bytes = self.runs_bytes + run.memory_bytes() - before;
                    if at == 0 {
                        self.firsts.set(slots, number, slot);
                    }
                    self.len += 1;
                    return None;
                }
                // Ids that only ascend or only descend: nothing will be inserted between them.
                Err(at) if at == RUN_MAX && number + 1 == self.runs.len() => {
                    self.begin_run(slots, number + 1, slot);
                    return None;
                }
                // Before all others.
                Err(0) => {
                    self.begin_run(slots, 0, slot);
                    return None;
                }
                Err(_) => self.split_or_move(slots, number),
            }
        }
    }

    /// Removes the point with this id and returns its slot.
    pub(super) fn remove(&mut self, slots: &Slots, id: &str) -> Option<Slot> {
        let number = self.run_of(slots, id);
        let run = self.runs.get_mut(number)?;
        let at = run.find(slots, id).ok()?;
        let removed = run.remove(at);
        self.len -= 1;
        match run.slots.first() {
            None => {
                self.runs_bytes -= self.runs.remove(number).memory_bytes();
                self.firsts.remove(number);
                return Some(removed);
            }
            Some(first) if at == 0 => self.firsts.set(slots, number, *first),
            Some(_) => {}
        }
        let next = self.runs.get(number + 1).map(Run::len);
        if next.is_some_and(|next| self.runs[number].len() + next < MERGES_BELOW) {
            let next = self.runs.remove(number + 1);
            self.firsts.remove(number + 1);
            let run = &mut self.runs[number];
            let before = run.memory_bytes() + next.memory_bytes();
            run.append(slots, &next.slots);
            self.runs_bytes = self.runs_bytes + run.memory_bytes() - before;
        }
        Some(removed)
    }

    /// The slots of all points whose id is greater than `after`, in ascending order.
    pub(super) fn beyond(&self, slots: &Slots, after: Option<&str>) -> impl Iterator<Item = Slot> {
        let (first, skipped) = match after {
            None => (0, 0),
            Some(after) => {
                let number = self.run_of(slots, after);
                let place = self.runs.get(number).map(|run| run.find(slots, after));
                (number, place.map_or(0, |place| place.map_or_else(|at| at, |at| at + 1)))
            }
        };
        self.runs[first.min(self.runs.len())..].iter().flat_map(|run| &run.slots).copied().skip(skipped)
    }

    /// Replaces each slot by its new one.
    pub(super) fn renumber(&mut self, slot_map: &SlotMap) {
        for slot in self.runs.iter_mut().chain([&mut self.firsts]).flat_map(|run| &mut run.slots) {
            *slot = slot_map.of(*slot);
        }
    }

    /// The run that holds this id, or the one to insert it into.
    fn run_of(&self, slots: &Slots, id: &str) -> usize {
        self.firsts.find(slots, id).unwrap_or_else(|next| next.saturating_sub(1))
    }

    fn begin_run(&mut self, slots: &Slots, number: usize, slot: Slot) {
        if let Some(before) = number.checked_sub(1).and_then(|before| self.runs.get_mut(before)) {
            before.tighten(slots);
        }
        let mut run = Run::default();
        run.insert(slots, 0, slot);
        self.runs_bytes += run.memory_bytes();
        self.runs.insert(number, run);
        self.firsts.insert(slots, number, slot);
        self.firsts.tighten(slots);
        self.len += 1;
    }

    fn split_or_move(&mut self, slots: &Slots, number: usize) {
        let before = number.checked_sub(1).filter(|before| self.runs[*before].len() <= MOVES_BELOW);
        if let Some(before) = before {
            let given = (RUN_MAX - self.runs[before].len()) / 2;
            let bytes = self.runs[before].memory_bytes() + self.runs[number].memory_bytes();
            let kept = self.runs[number].split_off(given);
            let given = std::mem::replace(&mut self.runs[number], kept);
            self.runs[before].append(slots, &given.slots);
            let after = self.runs[before].memory_bytes() + self.runs[number].memory_bytes();
            self.runs_bytes = self.runs_bytes + after - bytes;
            self.firsts.set(slots, number, self.runs[number].slots[0]);
        } else {
            let bytes = self.runs[number].memory_bytes();
            let mut upper = self.runs[number].split_off(RUN_MAX / 2);
            self.runs[number].tighten(slots);
            upper.tighten(slots);
            let after = self.runs[number].memory_bytes() + upper.memory_bytes();
            self.runs_bytes = self.runs_bytes + after - bytes;
            self.firsts.insert(slots, number + 1, upper.slots[0]);
            self.firsts.tighten(slots);
            self.runs.insert(number + 1, upper);
        }
    }
}

impl Run {
    /// A run of slots that are in the order of their ids.
    fn of(slots: &Slots, ordered: &[Slot]) -> Self {
        let mut run = Self { skipped: 0, keys: vec![0; ordered.len()], slots: ordered.to_vec() };
        let skipped = match ordered {
            [first, .., last] => common(slots.id(*first), slots.id(*last)),
            [_] | [] => 0,
        };
        run.skip(slots, skipped);
        run
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    /// The heap bytes of the keys and slots.
    fn memory_bytes(&self) -> usize {
        list::<u64>(self.keys.capacity()) + list::<Slot>(self.slots.capacity())
    }

    /// The position of this id, or where to insert it.
    fn find(&self, slots: &Slots, id: &str) -> Result<usize, usize> {
        if let Some(first) = self.slots.first().filter(|_| self.skipped > 0) {
            let common = &slots.id(*first).as_bytes()[..self.skipped];
            let start = &id.as_bytes()[..self.skipped.min(id.len())];
            if start != common {
                return Err(if start < common { 0 } else { self.len() });
            }
        }
        let key = key(id, self.skipped);
        let start = self.keys.partition_point(|other| *other < key);
        let same = self.keys[start..].partition_point(|other| *other == key);
        // No id has a zero byte, so this id ends within its key, and equal keys mean equal ids.
        if key.trailing_zeros() >= u8::BITS {
            return if same > 0 { Ok(start) } else { Err(start) };
        }
        let found = self.slots[start..start + same].binary_search_by(|slot| slots.id(*slot).cmp(id));
        found.map(|at| start + at).map_err(|at| start + at)
    }

    fn insert(&mut self, slots: &Slots, at: usize, slot: Slot) {
        let id = slots.id(slot);
        let common = self.slots.first().map_or(0, |other| common(slots.id(*other), id));
        self.skip_at_most(slots, common);
        self.keys.insert(at, key(id, self.skipped));
        self.slots.insert(at, slot);
    }

    /// Replaces the slot at `at` by one whose id sorts at the same position.
    fn set(&mut self, slots: &Slots, at: usize, slot: Slot) {
        let id = slots.id(slot);
        self.skip_at_most(slots, common(slots.id(self.slots[at]), id));
        self.keys[at] = key(id, self.skipped);
        self.slots[at] = slot;
    }

    fn remove(&mut self, at: usize) -> Slot {
        self.keys.remove(at);
        self.slots.remove(at)
    }

    fn append(&mut self, slots: &Slots, upper: &[Slot]) {
        for slot in upper {
            self.insert(slots, self.len(), *slot);
        }
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { skipped: self.skipped, keys: self.keys.split_off(at), slots: self.slots.split_off(at) }
    }

    fn skip_at_most(&mut self, slots: &Slots, bytes: usize) {
        if bytes < self.skipped {
            self.skip(slots, bytes);
        }
    }

    /// Makes the keys skip the common prefix of all ids, if it has become much longer.
    fn tighten(&mut self, slots: &Slots) {
        if let (Some(first), Some(last)) = (self.slots.first(), self.slots.last()) {
            let common = common(slots.id(*first), slots.id(*last));
            if self.len() > 1 && common >= self.skipped + COMMON_MIN {
                self.skip(slots, common);
            }
        }
    }

    fn skip(&mut self, slots: &Slots, bytes: usize) {
        self.skipped = bytes;
        for (kept, slot) in self.keys.iter_mut().zip(&self.slots) {
            *kept = key(slots.id(*slot), bytes);
        }
    }
}

/// Eight bytes of `id` after the first `skipped`, as an integer that orders as they do; padded with zeros.
fn key(id: &str, skipped: usize) -> u64 {
    let rest = id.as_bytes().get(skipped..).unwrap_or_default();
    let key = rest.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0; 8];
        padded[..rest.len()].copy_from_slice(rest);
        padded
    });
    u64::from_be_bytes(key)
}

/// The length of the common prefix of two ids, in bytes.
fn common(left: &str, right: &str) -> usize {
    left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count()
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;
