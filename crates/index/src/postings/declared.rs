//! Which paths a tenant has declared: these are indexed whatever other paths there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use vectorizer_log::PayloadPath;

/// Declared paths. Cheap to clone: snapshots carry them along.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Declared(Arc<BTreeSet<PayloadPath>>);

impl Declared {
    pub(in super::super) fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// In their order.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &PayloadPath> {
        self.0.iter()
    }

    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it was not among them.
    pub(super) fn insert(&mut self, path: &PayloadPath) -> bool {
        Arc::make_mut(&mut self.0).insert(path.clone())
    }

    /// Whether it was among them.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        Arc::make_mut(&mut self.0).remove(path)
    }
}

impl FromIterator<PayloadPath> for Declared {
    fn from_iter<I: IntoIterator<Item = PayloadPath>>(paths: I) -> Self {
        Self(Arc::new(paths.into_iter().collect()))
    }
}
