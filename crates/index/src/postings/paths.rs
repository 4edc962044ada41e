//! Statistics of the paths of a collection's payloads.

use super::Postings;

/// A summary of the payload indexes of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadIndex {
    /// How many paths are indexed: filters on them are answered without reading payloads.
    pub indexed: usize,
    /// How many paths are declared, including those that no payload has.
    pub declared: usize,
    /// How many declared paths have an index that is not built yet. Filters on them read payloads.
    pub building: usize,
    /// How many other paths have no index, for lack of room.
    pub left_out: usize,
    /// The first of the paths that were left out, as keys of filters.
    pub left_out_first: Vec<String>,
    /// About how many bytes of memory all indexes take.
    pub bytes: usize,
}

/// The payload indexes of a collection, path by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// The declared paths, in ascending order.
    pub declared: Vec<(String, IndexState)>,
    /// How many other paths are indexed.
    pub automatic: usize,
    /// The first of them.
    pub automatic_first: Vec<String>,
    /// How many other paths have no index, for lack of room.
    pub left_out: usize,
    /// The first of them.
    pub left_out_first: Vec<String>,
}

/// The state of the index of a declared path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// The index answers filters on the path.
    Ready,
    /// The index is not built yet. Filters on the path read payloads.
    Building,
}

impl PayloadIndex {
    /// The most paths that `left_out_first` names.
    pub const NAMED_MAX: usize = 16;
    /// The most declared paths of one collection. Declarations are checked against it, but not the fold.
    pub const DECLARED_MAX: usize = 64;
}

impl Indexes {
    /// The most paths of each kind that are named.
    pub const NAMED_MAX: usize = 100;
}

impl Postings {
    /// A summary of the payload indexes.
    pub(in super::super) fn describe(&self) -> PayloadIndex {
        let building = self.building().count();
        PayloadIndex {
            indexed: self.fields.len(),
            declared: self.declared.len(),
            building,
            left_out: self.left_out.len() - building,
            left_out_first: self.left_out_others(PayloadIndex::NAMED_MAX),
            bytes: self.memory_bytes(),
        }
    }

    /// The payload indexes, path by path.
    pub(in super::super) fn indexes(&self) -> Indexes {
        let declared = self.declared.iter().map(|path| {
            let is_building = self.left_out.contains_key(path.as_str());
            (path.to_string(), if is_building { IndexState::Building } else { IndexState::Ready })
        });
        let indexed = self.declared.iter().filter(|path| self.fields.contains_key(path.as_str())).count();
        let automatic = self.fields.keys().filter(|path| !self.declared.contains(path));
        Indexes {
            declared: declared.collect(),
            automatic: self.fields.len() - indexed,
            automatic_first: automatic.take(Indexes::NAMED_MAX).map(ToString::to_string).collect(),
            left_out: self.left_out.len() - self.building().count(),
            left_out_first: self.left_out_others(Indexes::NAMED_MAX),
        }
    }

    /// The first paths that were left out, without declared ones.
    fn left_out_others(&self, most: usize) -> Vec<String> {
        let others = self.left_out.keys().filter(|path| !self.declared.contains(path));
        others.take(most).map(ToString::to_string).collect()
    }
}
