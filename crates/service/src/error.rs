//! The error of every operation, for all faces.
//!
//! It has a kind, which says what to do; a code, for programs; and a detail, for people. Facts that are only for the
//! operator are logged where the error is created and are in none of these.

use std::time::Duration;

use vectorizer_access::{Denial, DenialReason};
use vectorizer_embedding::EmbeddingError;
use vectorizer_engine::tenancy::{DeletionError, WakeError, WriteError};
use vectorizer_index::{InvalidFilter, InvalidIndexPath, InvalidQuery, InvalidTextQuery};
use vectorizer_limits::QuotaType;
use vectorizer_log::{InvalidCollectionName, InvalidPoint};

/// A quota has room again after a deletion or a change of the plan. Plans are fetched every minute.
const QUOTA_RETRY_SECONDS: u64 = 60;

/// The kind of an error. Each face has one status for each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request cannot be read.
    Malformed,
    /// The caller has no valid key.
    Unauthenticated,
    /// The caller's key does not permit the operation.
    Forbidden,
    /// The request names something that does not exist.
    NotFound,
    /// The request conflicts with something that exists.
    Conflict,
    /// The tenant was deleted on this node.
    Gone,
    /// The request's precondition does not hold.
    PreconditionFailed,
    /// The request exceeds a limit.
    TooLarge,
    /// Another deployment serves the tenant.
    Misdirected,
    /// A value of the request is not valid.
    Invalid,
    /// A rate limit or a quota of the caller's plan is exceeded.
    TooManyRequests,
    /// The server failed.
    Internal,
    /// The request cannot be processed now.
    Unavailable,
    /// The server's disk is full.
    StorageFull,
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Error {
    kind: ErrorKind,
    code: &'static str,
    detail: String,
    retry_after_seconds: Option<u64>,
}

impl Error {
    /// Creates an error.
    pub fn new(kind: ErrorKind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), retry_after_seconds: None }
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The code, for programs. Its meaning never changes.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The description, for people: the field, the value and the limit.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The seconds to wait before the next try, if waiting helps.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    /// The request cannot be read.
    pub fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, code, detail)
    }

    /// A value of the request is not valid.
    pub fn invalid(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, code, detail)
    }

    /// The request exceeds a limit.
    pub fn too_large(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooLarge, code, detail)
    }

    /// The request cannot be processed now. The caller may retry after `retry_after_seconds`.
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(ErrorKind::Unavailable, code, detail).after(retry_after_seconds)
    }

    /// A rate limit or a quota of the caller's plan is exceeded.
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(ErrorKind::TooManyRequests, code, detail).after(retry_after_seconds)
    }

    /// The server failed. The cause is only in the log.
    pub fn internal() -> Self {
        Self::new(ErrorKind::Internal, "internal", "the server failed to process this request")
    }

    /// The operator has to free disk space first.
    fn storage_full(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::StorageFull, "storage-full", detail).after(STORAGE_FULL_RETRY_SECONDS)
    }

    /// The operator has to repair the log first.
    fn tenant_damaged() -> Self {
        let detail =
            "the tenant's log is damaged; the tenant is unavailable until the operator has repaired it";
        Self::unavailable("tenant-damaged", detail, 300)
    }

    fn after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Prefixes the detail with the name of a field.
    #[must_use]
    pub fn at(mut self, field: impl std::fmt::Display) -> Self {
        self.detail = format!("{field}: {}", self.detail);
        self
    }
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::CollectionExists(_) => Self::new(ErrorKind::Conflict, "collection-exists", detail),
            WriteError::NoSuchCollection(_) => Self::new(ErrorKind::NotFound, "no-such-collection", detail),
            WriteError::NoSuchVector { .. } => Self::new(ErrorKind::NotFound, "no-such-vector", detail),
            WriteError::NoSuchIndex { .. } => Self::new(ErrorKind::NotFound, "no-such-index", detail),
            WriteError::TooManyIndexes(_) => Self::new(ErrorKind::Conflict, "too-many-indexes", detail),
            WriteError::WrongDimension { .. } => Self::invalid("wrong-dimension", detail),
            WriteError::NoVector { .. } => Self::invalid("vector-missing", detail),
            WriteError::UnexpectedVector { .. } => Self::invalid("vector-unexpected", detail),
            WriteError::NoText { .. } => Self::invalid("text-missing", detail),
            WriteError::UnexpectedText { .. } | WriteError::NoTexts(_) => {
                Self::invalid("text-unexpected", detail)
            }
            WriteError::ZeroVector { .. } => Self::invalid("zero-vector", detail),
            WriteError::RepeatedId { .. } => Self::invalid("repeated-id", detail),
            WriteError::Payload(invalid) => Self::from(invalid).at("after the change"),
            WriteError::PreconditionFailed { .. } => {
                Self::new(ErrorKind::PreconditionFailed, "precondition-failed", detail)
            }
            WriteError::IdempotencyMismatch { .. } => Self::invalid("idempotency-key-reused", detail),
            WriteError::QuotaExceeded(exceeded) if exceeded.never_fits() => match exceeded.quota {
                QuotaType::Collections => Self::invalid("larger-than-quota", detail),
                QuotaType::StorageBytes | QuotaType::LogBytes | QuotaType::Vectors => {
                    Self::too_large("larger-than-quota", detail)
                }
            },
            WriteError::QuotaExceeded(_) => Self::too_many("quota-exceeded", detail, QUOTA_RETRY_SECONDS),
            WriteError::TooLarge => Self::too_large("write-too-large", detail),
            WriteError::StorageFailed | WriteError::StorageClosed => {
                Self::unavailable("storage-failed", detail, 5)
            }
            WriteError::StorageFull | WriteError::StorageFullBefore => Self::storage_full(detail),
            WriteError::Busy | WriteError::ReadBusy => Self::unavailable("busy", detail, 1),
            WriteError::LinkingFailed => Self::unavailable("linking-failed", detail, 60),
            WriteError::Stopping => Self::unavailable("stopping", detail, 5),
        }
    }
}

impl From<Denial> for Error {
    fn from(denial: Denial) -> Self {
        let detail = denial.to_string();
        match denial {
            Denial::NoKey => Self::new(ErrorKind::Unauthenticated, DenialReason::NoKey.code(), detail),
            Denial::MalformedKey => {
                Self::new(ErrorKind::Unauthenticated, DenialReason::MalformedKey.code(), detail)
            }
            Denial::InvalidKey => {
                Self::new(ErrorKind::Unauthenticated, DenialReason::InvalidKey.code(), detail)
            }
            Denial::Suspended => {
                Self::new(ErrorKind::Forbidden, DenialReason::TenantSuspended.code(), detail)
            }
            Denial::Insufficient { .. } => {
                Self::new(ErrorKind::Forbidden, DenialReason::InsufficientPermission.code(), detail)
            }
            Denial::Elsewhere { .. } => {
                Self::new(ErrorKind::Misdirected, DenialReason::TenantElsewhere.code(), detail)
            }
            Denial::TooManyFailures { retry_after_seconds } => {
                Self::too_many(DenialReason::TooManyFailedAuthentications.code(), detail, retry_after_seconds)
            }
            Denial::TooManyRequests { retry_after } => {
                Self::too_many(DenialReason::RateLimitExceeded.code(), detail, whole_seconds(retry_after))
            }
            Denial::Unavailable { retry_after_seconds } => {
                Self::unavailable("keys-unavailable", detail, retry_after_seconds)
            }
            Denial::LimitsUnknown { retry_after_seconds } => {
                Self::unavailable("limits-unavailable", detail, retry_after_seconds)
            }
        }
    }
}

/// Freeing disk space takes a while.
const STORAGE_FULL_RETRY_SECONDS: u64 = 30;

/// Rounds up to whole seconds, so that no client retries too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl From<&WakeError> for Error {
    fn from(error: &WakeError) -> Self {
        match error {
            WakeError::Stopping => Self::unavailable("stopping", error.to_string(), 5),
            WakeError::Crowded | WakeError::NoRoom => Self::unavailable("busy", error.to_string(), 5),
            WakeError::Moving | WakeError::Waking => {
                Self::unavailable("tenant-unavailable", error.to_string(), 5)
            }
            WakeError::DeletedHere => Self::new(ErrorKind::Gone, "tenant-deleted", error.to_string()),
            WakeError::InDoubt => Self::unavailable("tenant-unavailable", error.to_string(), 1),
            WakeError::OfThePast => Self::unavailable("tenant-unavailable", error.to_string(), 5),
            WakeError::Outdated => Denial::InvalidKey.into(),
            WakeError::Deleted => {
                let detail = "the tenant's log was deleted; the tenant is unavailable until the operator has restored it";
                Self::unavailable("tenant-deleted", detail, 300)
            }
            // The damaged record, or the foreign file in the tenant's folder, is named in the server's log, for the
            // operator. The tenant learns that its data is unavailable. It is never served in part.
            WakeError::Log(error) if error.is_damage() => Self::tenant_damaged(),
            WakeError::Apply(_) | WakeError::Base(_) => Self::tenant_damaged(),
            WakeError::Log(error) if error.is_storage_full() => {
                Self::storage_full("the server's disk is full; nothing was done")
            }
            // The cause is in the server's log, for the operator. No write has begun.
            WakeError::Log(error) if error.is_unavailable() => {
                Self::unavailable("storage-failed", "the tenant's storage has failed; nothing was done", 5)
            }
            WakeError::Log(_) | WakeError::Panicked(_) => {
                Self::unavailable("tenant-unavailable", "the tenant's data cannot be opened now", 5)
            }
        }
    }
}

impl From<DeletionError> for Error {
    fn from(error: DeletionError) -> Self {
        let detail = error.to_string();
        match error {
            DeletionError::NotFound => Self::new(ErrorKind::NotFound, "no-such-tenant", detail),
            DeletionError::DeletedAtHiveHub | DeletionError::AnotherAtHiveHub => {
                Self::new(ErrorKind::Conflict, "deleted-at-hivehub", detail)
            }
            DeletionError::HiveHubUnknown => Self::unavailable("hivehub-unavailable", detail, 5),
            DeletionError::Exists => Self::new(ErrorKind::Conflict, "tenant-exists", detail),
            DeletionError::Busy | DeletionError::Unbilled => {
                Self::unavailable("tenant-unavailable", detail, 5)
            }
            DeletionError::Stopping => Self::unavailable("stopping", detail, 5),
            DeletionError::Log(_) => {
                tracing::error!(detail, "a tenant could not be deleted or restored");
                Self::unavailable("storage-failed", "the tenant's folder could not be moved", 5)
            }
        }
    }
}

impl From<InvalidPoint> for Error {
    fn from(invalid: InvalidPoint) -> Self {
        let detail = invalid.to_string();
        let code = match invalid {
            InvalidPoint::IdEmpty
            | InvalidPoint::IdTooLong { .. }
            | InvalidPoint::IdControlCharacter { .. } => "invalid-id",
            InvalidPoint::NotFinite { .. } => "not-finite",
            InvalidPoint::RaggedVector { .. } => "invalid-vector",
            InvalidPoint::PayloadNotAnObject | InvalidPoint::PayloadNotJson => "invalid-payload",
            InvalidPoint::TextEmpty => "invalid-text",
            InvalidPoint::TextTooLarge { .. } => return Self::too_large("text-too-large", detail),
            InvalidPoint::PayloadTooLarge { .. } => return Self::too_large("payload-too-large", detail),
        };
        Self::invalid(code, detail)
    }
}

impl From<InvalidCollectionName> for Error {
    fn from(invalid: InvalidCollectionName) -> Self {
        Self::invalid("invalid-name", invalid.to_string())
    }
}

impl From<InvalidIndexPath> for Error {
    fn from(invalid: InvalidIndexPath) -> Self {
        Self::invalid("invalid-index-path", invalid.to_string())
    }
}

impl From<InvalidQuery> for Error {
    fn from(invalid: InvalidQuery) -> Self {
        let code = match invalid {
            InvalidQuery::NoVectors => "vector-unexpected",
            InvalidQuery::WrongDimension { .. } => "wrong-dimension",
            InvalidQuery::NotFinite { .. } => "not-finite",
            InvalidQuery::ZeroVector => "zero-vector",
        };
        Self::invalid(code, invalid.to_string())
    }
}

impl From<InvalidTextQuery> for Error {
    fn from(invalid: InvalidTextQuery) -> Self {
        Self::invalid("invalid-text", invalid.to_string()).at("text")
    }
}

/// The cause is in the server's log, for the operator.
const EMBEDDING_FAILED: &str =
    "the embeddings service is unavailable or its answer is invalid; nothing was done";
const EMBEDDING_RETRY_SECONDS: u64 = 5;

impl From<EmbeddingError> for Error {
    fn from(error: EmbeddingError) -> Self {
        let detail = error.to_string();
        match error {
            EmbeddingError::WrongDimension { .. } => Self::invalid("embedding-dimension", detail),
            EmbeddingError::TooMany { .. } => Self::invalid("too-many-texts", detail),
            EmbeddingError::Failed(_) => {
                Self::unavailable("embedding-unavailable", EMBEDDING_FAILED, EMBEDDING_RETRY_SECONDS)
            }
        }
    }
}

impl From<InvalidFilter> for Error {
    fn from(invalid: InvalidFilter) -> Self {
        let code = if invalid.is_nested_too_deep() { "nested-too-deep" } else { "invalid-filter" };
        Self::invalid(code, invalid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use vectorizer_log::Error as LogError;

    use super::*;

    #[test]
    fn a_storage_failure_while_a_log_is_opened_is_reported_as_one() {
        let code = |error: LogError| Error::from(&WakeError::Log(error)).code;
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(code(LogError::File { doing: "write", path: "head".into(), source }), "storage-full");
        let source = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(code(LogError::File { doing: "write", path: "head".into(), source }), "storage-failed");
        assert_eq!(code(LogError::Locked("log".into())), "tenant-unavailable");
        assert_eq!(Error::from(WriteError::StorageClosed).code, "storage-failed");
    }
}
