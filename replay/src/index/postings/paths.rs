//! What is said about the paths of a collection's payloads.

use super::Postings;

/// How the payloads of a collection are indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadIndex {
    /// Paths on which filters are answered without looking at payloads.
    pub indexed: usize,
    /// Paths that there was no room for.
    pub left_out: usize,
    /// The first of those that were left out, written as filters' keys are.
    pub left_out_first: Vec<String>,
    /// About how many bytes of memory all of it takes.
    pub bytes: usize,
}

impl PayloadIndex {
    /// How many of the paths that were left out are named.
    pub const NAMED_MAX: usize = 16;
}

impl Postings {
    /// How the payloads are indexed.
    pub(in super::super) fn describe(&self) -> PayloadIndex {
        let named = self.left_out.keys().take(PayloadIndex::NAMED_MAX);
        PayloadIndex {
            indexed: self.fields.len(),
            left_out: self.left_out.len(),
            left_out_first: named.map(ToString::to_string).collect(),
            bytes: self.memory_bytes(),
        }
    }
}
