//! What a disk holds, and what of it survives the loss of power.
//!
//! A file's bytes are durable once the file was synced, a name once its folder was. What was not synced survives or
//! not: bytes sector by sector and in any order, the changes of a folder's names up to any of them, a rename as a
//! whole. Nothing that was not synced survives a change of names in its folder that was made before it. This is what
//! file systems with a journal of names do, as ext4 and XFS are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};

use vectorizer_testing::Random;

/// What is written to a disk at once, or not at all.
const SECTOR_BYTES: usize = 512;

pub(super) const ROOT: u64 = 1;

/// A folder and a name in it.
pub(super) type Place = (u64, OsString);

#[derive(Debug)]
pub(super) struct Model {
    nodes: HashMap<u64, Inode>,
    names: BTreeMap<Place, u64>,
    durable_names: BTreeMap<Place, u64>,
    unsynced_names: Vec<NameChange>,
    last: u64,
    /// Of changes, in the order in which they are made.
    changes: u64,
}

#[derive(Debug)]
pub(super) enum Inode {
    Folder,
    File(File),
}

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    durable: Vec<u8>,
    /// By number.
    unsynced: Vec<(u64, Change)>,
}

#[derive(Debug)]
pub(super) enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug)]
struct NameChange {
    number: u64,
    removed: Option<Place>,
    added: Option<(Place, u64)>,
}

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survival {
    /// Nothing.
    Nothing,
    /// What came first, and of what came last a part.
    Beginning,
    /// Whatever chance decides.
    Anything,
}

impl File {
    pub(super) fn sync(&mut self) {
        for (_, change) in self.unsynced.drain(..) {
            change.apply(&mut self.durable, |_| true);
        }
    }

    /// A sync that failed: what was not synced is still read, and no later sync will write it.
    pub(super) fn lose(&mut self) {
        self.unsynced.clear();
    }

    /// Of what was not synced nothing from the change with the number `end` on.
    fn survivor(self, survival: Survival, end: u64, random: &mut Random) -> Self {
        let mut bytes = self.durable;
        let mut unsynced = self.unsynced;
        unsynced.retain(|(number, _)| *number < end);
        let kept = match survival {
            Survival::Nothing => 0,
            Survival::Beginning => random.index(unsynced.len() + 1),
            Survival::Anything => unsynced.len(),
        };
        for (at, (_, change)) in unsynced.into_iter().enumerate().take(kept) {
            let is_torn = survival == Survival::Anything || at + 1 == kept;
            change.apply(&mut bytes, |_| !is_torn || random.coin());
        }
        Self { durable: bytes.clone(), bytes, unsynced: Vec::new() }
    }
}

impl Change {
    /// Does it to those sectors that `has_survived`.
    fn apply(&self, to: &mut Vec<u8>, mut has_survived: impl FnMut(usize) -> bool) {
        match self {
            Self::Length(bytes) => {
                if has_survived(0) {
                    to.resize(*bytes, 0);
                }
            }
            Self::Write { at, bytes } => {
                let end = at + bytes.len();
                let mut from = *at;
                while from < end {
                    let sector = from / SECTOR_BYTES;
                    let until = end.min((sector + 1) * SECTOR_BYTES);
                    if has_survived(sector) {
                        to.resize(to.len().max(until), 0);
                        to[from..until].copy_from_slice(&bytes[from - at..until - at]);
                    }
                    from = until;
                }
            }
        }
    }
}

impl NameChange {
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.removed.iter().chain(self.added.iter().map(|(place, _)| place))
    }

    fn folders(&self) -> impl Iterator<Item = u64> {
        self.places().map(|(folder, _)| *folder)
    }

    fn apply(&self, to: &mut BTreeMap<Place, u64>) {
        if let Some(place) = &self.removed {
            to.remove(place);
        }
        if let Some((place, inode)) = &self.added {
            to.insert(place.clone(), *inode);
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            nodes: HashMap::from([(ROOT, Inode::Folder)]),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            last: ROOT,
            changes: 0,
        }
    }
}

impl Model {
    pub(super) fn node(&self, inode: u64) -> Option<&Inode> {
        self.nodes.get(&inode)
    }

    pub(super) fn file(&mut self, inode: u64) -> Option<&mut File> {
        match self.nodes.get_mut(&inode) {
            Some(Inode::File(file)) => Some(file),
            Some(Inode::Folder) | None => None,
        }
    }

    /// Whether there is such a file to be changed.
    pub(super) fn change(&mut self, inode: u64, change: Change) -> bool {
        self.changes += 1;
        let number = self.changes;
        let Some(file) = self.file(inode) else { return false };
        change.apply(&mut file.bytes, |_| true);
        file.unsynced.push((number, change));
        true
    }

    pub(super) fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.names.get(&(folder, name.to_owned())).copied()
    }

    pub(super) fn entries(&self, folder: u64) -> Vec<(OsString, u64)> {
        let range = self.names.range((folder, OsString::new())..(folder + 1, OsString::new()));
        range.map(|((_, name), inode)| (name.clone(), *inode)).collect()
    }

    /// The names by which a file is known, for faults that are aimed at some.
    pub(super) fn is_named(&self, inode: u64, name: &str) -> bool {
        self.names.iter().any(|((_, it), of)| *of == inode && it == name)
    }

    pub(super) fn create(&mut self, folder: u64, name: &OsStr, node: Inode) -> u64 {
        self.last += 1;
        self.nodes.insert(self.last, node);
        self.rename_as(None, Some(((folder, name.to_owned()), self.last)));
        self.last
    }

    pub(super) fn remove(&mut self, folder: u64, name: &OsStr) {
        self.rename_as(Some((folder, name.to_owned())), None);
    }

    pub(super) fn rename(&mut self, from: Place, to: Place) {
        if let Some(inode) = self.names.get(&from).copied() {
            self.rename_as(Some(from), Some((to, inode)));
        }
    }

    fn rename_as(&mut self, removed: Option<Place>, added: Option<(Place, u64)>) {
        self.changes += 1;
        let change = NameChange { number: self.changes, removed, added };
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    /// Makes the names in a folder durable, and what they depend on.
    pub(super) fn sync_folder(&mut self, folder: u64) {
        // From the last to the first: what an earlier one has to do with a later that is synced, is too.
        let mut folders = BTreeSet::from([folder]);
        let mut synced = Vec::new();
        for at in (0..self.unsynced_names.len()).rev() {
            if self.unsynced_names[at].folders().any(|of| folders.contains(&of)) {
                folders.extend(self.unsynced_names[at].folders());
                synced.push(self.unsynced_names.remove(at));
            }
        }
        synced.iter().rev().for_each(|change| change.apply(&mut self.durable_names));
    }

    pub(super) fn bytes(&self) -> u64 {
        let used: BTreeSet<u64> = self.names.values().copied().collect();
        used.iter().filter_map(|inode| self.nodes.get(inode)).map(Inode::bytes).sum()
    }

    /// What is there when the power comes back. Nothing has the number it had before.
    pub(super) fn survivor(mut self, survival: Survival, random: &mut Random) -> Self {
        let pending = std::mem::take(&mut self.unsynced_names);
        let beginning = random.index(pending.len() + 1);
        // Of folders whose later changes are lost: the first of them.
        let mut lost: BTreeMap<u64, u64> = BTreeMap::new();
        for (at, change) in pending.into_iter().enumerate() {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::Beginning => at < beginning,
                Survival::Anything => random.index(8) > 0,
            };
            if survives && !change.folders().any(|folder| lost.contains_key(&folder)) {
                change.apply(&mut self.durable_names);
            } else {
                change.folders().for_each(|folder| {
                    lost.entry(folder).or_insert(change.number);
                });
            }
        }
        let mut survivor = Self { last: self.last, ..Self::default() };
        let mut renumbered = HashMap::from([(ROOT, ROOT)]);
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            let range = self.durable_names.range((folder, OsString::new())..(folder + 1, OsString::new()));
            for ((_, name), inode) in range {
                let node = match self.nodes.remove(inode) {
                    Some(Inode::Folder) => Inode::Folder,
                    Some(Inode::File(file)) => {
                        let end = lost.get(&folder).copied().unwrap_or(u64::MAX);
                        Inode::File(file.survivor(survival, end, random))
                    }
                    // There are no second names.
                    None => continue,
                };
                survivor.last += 1;
                renumbered.insert(*inode, survivor.last);
                if matches!(node, Inode::Folder) {
                    folders.push(*inode);
                }
                survivor.nodes.insert(survivor.last, node);
                survivor.names.insert((renumbered[&folder], name.clone()), survivor.last);
            }
        }
        survivor.durable_names = survivor.names.clone();
        survivor
    }
}

impl Inode {
    fn bytes(&self) -> u64 {
        match self {
            Self::Folder => 0,
            Self::File(file) => file.bytes.len() as u64,
        }
    }
}
