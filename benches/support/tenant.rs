//! A tenant's log on disk, for as long as a measurement takes.

use std::path::Path;

use tempfile::TempDir;
use vectorizer_log::{Actor, Draft, Error, Event, TenantFolder, TenantLog, Timestamp, Via};
use vectorizer_testing::events;

use crate::support::Outcome;

/// A folder on the file system that the build is on: one in memory would make a sync cost nothing.
pub(crate) fn scratch() -> Outcome<TempDir> {
    Ok(TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// An empty log in `data`.
pub(crate) fn create(data: &Path) -> Outcome<TenantFolder> {
    let folder = TenantFolder::new(data, &"measured".parse()?);
    folder.create()?;
    Ok(folder)
}

/// The log, recovered by folding its records into nothing.
pub(crate) fn open(folder: &TenantFolder) -> Outcome<TenantLog> {
    Ok(folder.open()?.recover::<Error>(|_| Ok(()))?.log)
}

/// What a request over REST asks the log to write, with ids of their usual lengths.
pub(crate) fn draft(event: Event) -> Draft {
    let actor = Actor { key_id: Some("key_of_the_tenant".to_owned()), via: Via::Rest };
    let request_id = "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    Draft { actor, request_id, ..events::draft(event) }
}

/// Writes `drafts` as one commit.
pub(crate) fn commit(log: &mut TenantLog, drafts: Vec<Draft>) -> Outcome<()> {
    let mut commit = log.begin()?;
    for draft in drafts {
        commit.stage(draft, Timestamp::now())?;
    }
    commit.commit()?;
    Ok(())
}
