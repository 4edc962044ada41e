//! How a search applies a selection: which slots it looks at, which filter it still has to evaluate, and whether it
//! walks or scans.

use roaring::RoaringBitmap;

use super::filter::Filter;
use super::selection::Selection;
use super::slots::Slots;

/// The approximate maximum number of nodes that a walk compares for each node that it expands.
const COMPARED_PER_EXPANDED: usize = 20;
/// A walk may pass over this many times the average number of nodes for each match before its first match. If matches
/// were spread evenly, it would have found one by then. Beyond that, it keeps more candidates.
const SKIPS_PER_MATCH: usize = 4;

/// A selection, applied to one snapshot.
#[derive(Clone, Copy)]
pub(super) struct FilterPlan<'a> {
    /// The slots that may match. All of them hold points. `None` for all slots.
    pub(super) slots: Option<&'a RoaringBitmap>,
    /// The filter that each point must still match.
    pub(super) filter: Option<&'a Filter>,
    /// An upper bound of the number of matching points.
    pub(super) points_max: usize,
}

impl<'a> FilterPlan<'a> {
    /// The plan of `selection` for the points in these slots.
    pub(super) fn of(selection: Option<&'a Selection>, slots: &Slots) -> Self {
        let Some(selection) = selection else {
            return Self { slots: None, filter: None, points_max: slots.live() };
        };
        let filter = Some(selection.filter());
        match selection.candidates_in(slots) {
            Some(candidates) => Self {
                slots: Some(&candidates.slots),
                filter: filter.filter(|_| !candidates.exact),
                points_max: candidates.len(),
            },
            None => Self { slots: None, filter, points_max: slots.live() },
        }
    }

    /// About how many nodes a walk among `nodes` nodes compares. To find `ef` matches, it expands `ef` times the
    /// average number of nodes for each match.
    pub(super) fn walk_compares(&self, ef: usize, nodes: usize) -> usize {
        ef.saturating_mul(nodes).saturating_mul(COMPARED_PER_EXPANDED) / self.points_max.max(1)
    }

    /// Whether a walk among `nodes` nodes is likely to compare fewer vectors than a scan of the candidates.
    pub(super) fn prefers_walk(&self, ef: usize, nodes: usize) -> bool {
        self.slots.is_none() || self.walk_compares(ef, nodes) < self.points_max
    }

    /// How many of `nodes` nodes a walk may pass over before the first match.
    pub(super) fn skips_max(&self, nodes: usize) -> usize {
        match self.slots {
            Some(_) => SKIPS_PER_MATCH.saturating_mul(nodes) / self.points_max.max(1),
            // The number of matches is not known.
            None => usize::MAX,
        }
    }
}
