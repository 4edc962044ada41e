//! What is said about the paths of a collection's payloads.

use super::Postings;

/// How the payloads of a collection are indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadIndex {
    /// Paths on which filters are answered without looking at payloads.
    pub indexed: usize,
    /// Paths that were declared, those among them that no payload has too.
    pub declared: usize,
    /// Declared paths whose index is being made: until it is, filters on them look at payloads.
    pub building: usize,
    /// Other paths that there was no room for.
    pub left_out: usize,
    /// The first of those that were left out, written as filters' keys are.
    pub left_out_first: Vec<String>,
    /// About how many bytes of memory all of it takes.
    pub bytes: usize,
}

/// How the payloads of a collection are indexed, path by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// The paths that were declared, in their order.
    pub declared: Vec<(String, IndexState)>,
    /// How many others are indexed.
    pub automatic: usize,
    /// The first of them.
    pub automatic_first: Vec<String>,
    /// How many others there was no room for.
    pub left_out: usize,
    /// The first of them.
    pub left_out_first: Vec<String>,
}

/// Where the index of a declared path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Filters on it are answered by the index.
    Ready,
    /// It is being made. Filters on it look at payloads.
    Building,
}

impl PayloadIndex {
    /// How many of the paths that were left out are named.
    pub const NAMED_MAX: usize = 16;
    /// How many paths of one collection may be declared. What decides about a declaration holds to it; the fold does
    /// not.
    pub const DECLARED_MAX: usize = 64;
}

impl Indexes {
    /// How many paths of each kind are named.
    pub const NAMED_MAX: usize = 100;
}

impl Postings {
    /// How the payloads are indexed.
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

    /// The same, path by path.
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

    /// The first paths that there was no room for, without the declared ones.
    fn left_out_others(&self, most: usize) -> Vec<String> {
        let others = self.left_out.keys().filter(|path| !self.declared.contains(path));
        others.take(most).map(ToString::to_string).collect()
    }
}
