//! The node's file of refused requests: one JSON object a line.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vectorizer_log::{Event, TenantId};

use super::denials::{Kind, Span};

/// The file that is written.
pub(super) const FILE: &str = "denials.ndjson";
/// The previous file.
const FILE_BEFORE: &str = "denials.1.ndjson";
/// The size of a file. There are two files at most.
const BYTES_MAX: u64 = 8 << 20;

/// A line of it.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    since: String,
    through: String,
    count: u64,
    tenant: Option<TenantId>,
    key_id: Option<String>,
    what: &'static str,
    why: &'static str,
    from: Option<String>,
}

impl Entry {
    pub(super) fn of(tenant: Option<TenantId>, kind: &Kind, span: Span) -> Self {
        Self {
            tenant,
            key_id: kind.key_id.as_ref().map(ToString::to_string),
            what: kind.operation.name(),
            why: kind.reason.code(),
            from: kind.from.map(|address| address.to_string()),
            ..Self::others(span)
        }
    }

    pub(super) fn others(span: Span) -> Self {
        Self {
            since: span.since.to_string(),
            through: span.through.to_string(),
            count: span.count,
            tenant: None,
            key_id: None,
            what: Event::OTHERS,
            why: Event::OTHERS,
            from: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct NodeLog {
    folder: PathBuf,
}

impl NodeLog {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Appends these entries, to a new file if the current one would be too large.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut lines = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.folder.join(FILE);
        let bytes = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if bytes > 0 && bytes + lines.len() as u64 > BYTES_MAX {
            fs::rename(&path, self.folder.join(FILE_BEFORE))?;
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&lines)
    }
}

#[cfg(test)]
mod tests {
    use vectorizer_log::Timestamp;

    use super::*;

    #[test]
    fn the_file_never_grows_beyond_its_bound_and_what_it_was_is_kept_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = NodeLog::new(folder.path());
        let entries: Vec<Entry> =
            (0..20_000).map(|at| Entry::others(Span::once(Timestamp::from_micros(at)))).collect();
        let (mut written, mut rotated) = (0, 0);
        for _ in 0..12 {
            let before = fs::metadata(folder.path().join(FILE)).map_or(0, |metadata| metadata.len());
            log.append(&entries).unwrap();
            let after = fs::metadata(folder.path().join(FILE)).unwrap().len();
            assert!(after <= BYTES_MAX, "{after}");
            rotated += u32::from(after < before);
            written += 1;
        }
        assert!(rotated >= 2, "{rotated} of {written}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
