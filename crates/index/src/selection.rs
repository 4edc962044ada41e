//! What a filter selects of a collection.

use super::filter::Filter;
use super::postings::Candidates;
use super::slots::Slots;

/// A filter, and what is known of the points that fulfil it as of one moment (see
/// [`Collection::select`](super::Collection::select)). Made from nothing but a filter it knows nothing,
/// and whoever uses it has to look at payloads.
#[derive(Clone, Debug)]
pub struct Selection {
    filter: Filter,
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    candidates: Candidates,
    /// What the candidates are numbers of. Of any other slots, earlier or later ones too, they say nothing.
    of: Slots,
}

impl Selection {
    pub(super) fn among(filter: Filter, candidates: Candidates, of: Slots) -> Self {
        Self { filter, known: Some(Known { candidates, of }) }
    }

    /// What is to be fulfilled.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// How many points there are to look at, and whether all of them fulfil the filter, so that there is
    /// nothing to look for; `None` if they are all points.
    pub fn candidates(&self) -> Option<(usize, bool)> {
        let candidates = &self.known.as_ref()?.candidates;
        Some((candidates.len(), candidates.exact))
    }

    /// The candidates among these slots, if it was made for them.
    pub(super) fn candidates_in(&self, slots: &Slots) -> Option<&Candidates> {
        self.known.as_ref().filter(|known| known.of.are(slots)).map(|known| &known.candidates)
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
