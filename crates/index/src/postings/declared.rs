//! Declared paths, which are indexed whatever the other paths take.

use std::collections::BTreeSet;
use std::sync::Arc;

use vectorizer_log::PayloadPath;

/// The declared paths of a collection. Cheap to clone, as snapshots contain them.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Declared(Arc<BTreeSet<PayloadPath>>);

impl Declared {
    pub(in super::super) fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// All paths, in ascending order.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &PayloadPath> {
        self.0.iter()
    }

    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a path. Returns whether it is new.
    pub(super) fn insert(&mut self, path: &PayloadPath) -> bool {
        Arc::make_mut(&mut self.0).insert(path.clone())
    }

    /// Removes a path. Returns whether it was there.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        Arc::make_mut(&mut self.0).remove(path)
    }
}

impl FromIterator<PayloadPath> for Declared {
    fn from_iter<I: IntoIterator<Item = PayloadPath>>(paths: I) -> Self {
        Self(Arc::new(paths.into_iter().collect()))
    }
}
