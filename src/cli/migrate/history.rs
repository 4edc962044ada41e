//! The copied log, opened as a server opens it, and its state.

use vectorizer_log::{Error, Head, Seq, TenantFolder, TenantLog};
use vectorizer_replay::{Progress, Projection, Projector as _, RECORDS_PER_PROGRESS, StateDigest};

use super::bill::begins_bill;
use super::failure::{Finding, MigrateFailure};
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::cli::interruption::Interruption;
use crate::cli::progress::ProgressDisplay;

/// A log with the source's history.
pub(super) struct History {
    pub(super) log: TenantLog,
    pub(super) projection: Projection,
    /// The digest of the state after the source's records.
    pub(super) digest: StateDigest,
    /// Whether the records that begin the bill follow them.
    pub(super) is_bill_begun: bool,
}

/// Why reading ended early.
enum Stop {
    Failure(Failure),
    Finding(Finding),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if let Error::Damaged(damage) = error {
            return Self::Finding(Finding::Damage(damage));
        }
        Self::Failure(MigrateFailure::Log(error).into())
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Finding(finding)
    }
}

impl History {
    /// Reads and verifies the whole log in `folder`, and compares it with `head`, the source's end.
    pub(super) fn read(
        doing: &'static str,
        folder: &TenantFolder,
        head: Head,
        interruption: &Interruption,
        streams: &Streams,
    ) -> Result<Result<Self, Finding>, Failure> {
        match read(doing, folder, head, interruption, streams) {
            Ok(history) => Ok(Ok(history)),
            Err(Stop::Finding(finding)) => Ok(Err(finding)),
            Err(Stop::Failure(failure)) => Err(failure),
        }
    }
}

fn read(
    doing: &'static str,
    folder: &TenantFolder,
    head: Head,
    interruption: &Interruption,
    streams: &Streams,
) -> Result<History, Stop> {
    let unverified = folder.open()?;
    let base = unverified.base();
    let stop = || interruption.check().is_err();
    let mut projection =
        Projection::of_beginning(folder.log_id()?, base.as_ref(), &stop).map_err(Finding::Base)?;
    let through = unverified.acknowledged().seq.max(head.seq);
    let mut display = ProgressDisplay::new(doing, Some(through), streams);
    let mut digest = None;
    let recovered = unverified.recover(|record| {
        interruption.check()?;
        if begins_bill(&record) {
            digest.get_or_insert_with(|| projection.digest());
        } else if record.event.effect().is_billed() {
            return Err(Stop::Failure(MigrateFailure::BilledBefore(record.seq).into()));
        }
        projection.apply(&record).map_err(Finding::Apply)?;
        let applied = projection.applied();
        if applied.get().is_multiple_of(RECORDS_PER_PROGRESS) {
            display.report(Progress { applied, through, vectors: projection.usage().vectors() }, streams);
        }
        Ok(())
    });
    display.clear();
    let log = recovered?.log;
    // The chain hash covers every byte of every record.
    if head.seq > Seq::NONE {
        let found = log.reader().read(head.seq, 1, 0)?.first().map(|stored| stored.chain);
        if found != Some(head.chain) {
            return Err(Finding::OtherHistory { seq: head.seq }.into());
        }
    }
    let is_bill_begun = digest.is_some();
    let digest = digest.unwrap_or_else(|| projection.digest());
    Ok(History { log, projection, digest, is_bill_begun })
}
