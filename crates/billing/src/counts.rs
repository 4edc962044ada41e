//! Counts of requests by operation.

use std::collections::BTreeMap;

use vectorizer_access::Operation;
use vectorizer_log::{ObservedOperation, Timestamp};

/// Requests and searches, by operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    requests: [u64; Operation::ALL.len()],
    searches: [u64; Operation::ALL.len()],
    /// Operations of another version of this server.
    others: BTreeMap<String, (u64, u64)>,
    /// The times of the first and the last request; `None` without requests.
    span: Option<(Timestamp, Timestamp)>,
}

impl Default for Counts {
    fn default() -> Self {
        let nothing = [0; Operation::ALL.len()];
        Self { requests: nothing, searches: nothing, others: BTreeMap::new(), span: None }
    }
}

impl Counts {
    /// Counts requests and searches at this moment.
    pub(crate) fn count(&mut self, operation: Operation, requests: u64, searches: u64, at: Timestamp) {
        self.requests[operation as usize] += requests;
        self.searches[operation as usize] += searches;
        self.extend(at, at);
    }

    /// Adds counts from a journal.
    pub(crate) fn add(&mut self, operations: &[ObservedOperation], since: Timestamp, through: Timestamp) {
        for ObservedOperation { operation, requests, searches } in operations {
            if let Some(known) = Operation::ALL.into_iter().find(|known| known.name() == operation) {
                self.requests[known as usize] += requests;
                self.searches[known as usize] += searches;
            } else {
                let other = self.others.entry(operation.clone()).or_default();
                *other = (other.0 + requests, other.1 + searches);
            }
        }
        self.extend(since, through);
    }

    /// Counts all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        if let Some((since, through)) = other.span {
            self.add(&other.operations(), since, through);
        }
    }

    /// The counts by the operations' names.
    pub(crate) fn operations(&self) -> Vec<ObservedOperation> {
        let known = Operation::ALL.into_iter().map(|known| {
            let (requests, searches) = (self.requests[known as usize], self.searches[known as usize]);
            ObservedOperation { operation: known.name().to_owned(), requests, searches }
        });
        let others = self.others.iter().map(|(operation, (requests, searches))| ObservedOperation {
            operation: operation.clone(),
            requests: *requests,
            searches: *searches,
        });
        let mut operations: Vec<_> = known.chain(others).filter(|it| it.requests + it.searches > 0).collect();
        operations.sort_unstable_by(|one, other| one.operation.cmp(&other.operation));
        operations
    }

    /// The times of the first and the last request; `None` without requests.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    fn extend(&mut self, since: Timestamp, through: Timestamp) {
        self.span = Some(match self.span {
            // The clock may have been set back.
            Some((first, last)) => (first.min(since), last.max(through)),
            None => (since, through),
        });
    }
}
