//! What a search looks for, as far as points have it and not their vectors.

use roaring::RoaringBitmap;

use super::filter::Filter;
use super::selection::Selection;
use super::slots::Slots;

/// About how many nodes a walk compares for each one that it expands, at most.
const COMPARED_PER_EXPANDED: usize = 20;
/// Of this many times as many points as hold one of those sought on average, one or more would be among the
/// nearest if they lay there as everywhere.
const PATIENCE: usize = 4;

/// What a selection comes to for one snapshot.
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    /// All of it is in these slots, which hold points.
    pub(super) among: Option<&'a RoaringBitmap>,
    /// What is still to be asked of each point.
    pub(super) filter: Option<&'a Filter>,
    /// No more points than this are sought.
    pub(super) points_max: usize,
}

impl<'a> Sought<'a> {
    /// What `selection` comes to among the points in these slots.
    pub(super) fn of(selection: Option<&'a Selection>, slots: &Slots) -> Self {
        let Some(selection) = selection else {
            return Self { among: None, filter: None, points_max: slots.live() };
        };
        let filter = Some(selection.filter());
        match selection.candidates_in(slots) {
            Some(candidates) => Self {
                among: Some(&candidates.slots),
                filter: filter.filter(|_| !candidates.exact),
                points_max: candidates.len(),
            },
            None => Self { among: None, filter, points_max: slots.live() },
        }
    }

    /// About how many nodes a walk among `nodes` nodes compares. To find `ef` of those sought it expands as
    /// many times as many as there are nodes for each of them.
    pub(super) fn walked(&self, ef: usize, nodes: usize) -> usize {
        ef.saturating_mul(nodes).saturating_mul(COMPARED_PER_EXPANDED) / self.points_max.max(1)
    }

    /// Whether a walk among `nodes` nodes promises to compare fewer than a scan of the candidates.
    pub(super) fn is_for_a_walk(&self, ef: usize, nodes: usize) -> bool {
        self.among.is_none() || self.walked(ef, nodes) < self.points_max
    }

    /// How many of `nodes` nodes a walk may pass over in front of the first that is sought.
    pub(super) fn patience(&self, nodes: usize) -> usize {
        match self.among {
            Some(_) => PATIENCE.saturating_mul(nodes) / self.points_max.max(1),
            // How many are sought is not known.
            None => usize::MAX,
        }
    }
}
