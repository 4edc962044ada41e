//! Why a writer has ended, for those who wait for it.

use std::sync::{Arc, OnceLock};

use tracing::error;
use vectorizer_log::Error;

use super::command::WriteError;
use super::live_tenant::WakeError;

/// The writer cannot go on; its tenant has to be opened again.
pub(super) struct Failed;

/// What a writer that cannot go on has failed at. It is set before anybody can learn that the writer has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<OnceLock<Cause>>);

#[derive(Clone, Copy, Debug)]
enum Cause {
    Storage,
    StorageFull,
    /// What was read or written could not be applied.
    Fold,
}

impl Failure {
    /// What a command is told that was handed over.
    pub(super) fn of_begun(&self) -> WriteError {
        match self.0.get() {
            Some(Cause::StorageFull) => WriteError::StorageFull,
            Some(Cause::Storage | Cause::Fold) | None => WriteError::StorageFailed,
        }
    }

    /// What a command is told that was not.
    pub(super) fn of_refused(&self) -> WriteError {
        match self.0.get() {
            Some(Cause::StorageFull) => WriteError::StorageFullBefore,
            Some(Cause::Storage | Cause::Fold) | None => WriteError::StorageClosed,
        }
    }

    pub(super) fn by_log(&self, error: &Error) -> Failed {
        let cause = if error.is_storage_full() { Cause::StorageFull } else { Cause::Storage };
        self.by(cause, error)
    }

    pub(super) fn by_waking(&self, error: &WakeError) -> Failed {
        if let WakeError::Log(error) = error { self.by_log(error) } else { self.by_fold(error) }
    }

    pub(super) fn by_fold(&self, error: &dyn std::error::Error) -> Failed {
        self.by(Cause::Fold, error)
    }

    fn by(&self, cause: Cause, error: &dyn std::error::Error) -> Failed {
        // The first is the cause of all others.
        let _ = self.0.set(cause);
        error!(%error, "the tenant takes no more writes until its log has been opened again");
        Failed
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn who_handed_a_command_over_is_not_told_that_nothing_was_done_and_the_first_failure_counts() {
        let failure = Failure::default();
        assert!(matches!(failure.of_begun(), WriteError::StorageFailed));
        assert!(matches!(failure.of_refused(), WriteError::StorageClosed));
        let _failed = failure.by_waking(&WakeError::Log(Error::NotFound(PathBuf::new())));
        let _failed = failure.by_waking(&WakeError::Stopping);
        assert!(matches!(failure.0.get(), Some(Cause::Storage)));
        let full = Failure(Arc::new(OnceLock::from(Cause::StorageFull)));
        assert!(matches!(full.of_begun(), WriteError::StorageFull));
        assert!(matches!(full.of_refused(), WriteError::StorageFullBefore));
    }
}
