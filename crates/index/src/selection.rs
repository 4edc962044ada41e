//! A filter, evaluated with the payload indexes of a collection.

use super::filter::Filter;
use super::postings::Candidates;
use super::slots::Slots;

/// A filter and the points that may match it, as of one moment (see [`Collection::select`](super::Collection::select)).
/// A selection made from a filter alone has no candidates, so a search checks every point.
#[derive(Clone, Debug)]
pub struct Selection {
    filter: Filter,
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    candidates: Candidates,
    /// The slots that the candidates' numbers refer to. The numbers are meaningless for any other slots, including
    /// earlier and later states of these slots.
    of: Slots,
}

impl Selection {
    pub(super) fn among(filter: Filter, candidates: Candidates, of: Slots) -> Self {
        Self { filter, known: Some(Known { candidates, of }) }
    }

    /// The filter.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How many candidates there are, and whether all of them match the filter; `None` if every point is a candidate.
    pub fn candidates(&self) -> Option<(usize, bool)> {
        let candidates = &self.known.as_ref()?.candidates;
        Some((candidates.len(), candidates.exact))
    }

    /// The candidates, if they are slot numbers of `slots`.
    pub(super) fn candidates_in(&self, slots: &Slots) -> Option<&Candidates> {
        self.known.as_ref().filter(|known| known.of.is_same_as(slots)).map(|known| &known.candidates)
    }
}

impl From<Filter> for Selection {
    fn from(filter: Filter) -> Self {
        Self { filter, known: None }
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
