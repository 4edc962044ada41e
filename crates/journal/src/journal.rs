//! The file: appending groups of lines, and reading them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use tracing::warn;
use vectorizer_durable::sync_folder_of;

use super::error::JournalError;

/// The longest line, with its line feed.
const LINE_BYTES_MAX: usize = 128 * 1024;
/// The first read of a line whose length is not known.
const LINE_BYTES_USUAL: usize = 1024;

/// An open journal, with one writer. A [`JournalReader`] reads independently.
#[derive(Debug)]
pub struct Journal {
    reader: JournalReader,
    /// The end of the file.
    end: u64,
    /// The number of the first staged line.
    next: u64,
    /// The staged lines, and their number.
    staged: Vec<u8>,
    staged_lines: u64,
    /// A write or a sync failed: the content of the disk is unknown, and nothing more is written.
    broken: bool,
}

/// Reads single lines of a journal. Cheap to clone.
#[derive(Clone, Debug)]
pub struct JournalReader {
    file: Arc<File>,
    path: Arc<Path>,
}

/// A complete line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its number, which rises by one from line to line.
    pub number: u64,
    first: u64,
    /// What was staged.
    pub text: &'a str,
}

impl Journal {
    /// Opens the file, or creates it with `first` as the number of its first line. Calls `visit` with each line and
    /// its place, and makes the lines durable. An error of `visit` is damage.
    pub fn open(
        path: &Path,
        first: u64,
        visit: &mut dyn FnMut(&Line<'_>, u64) -> Result<(), String>,
    ) -> Result<Self, JournalError> {
        let at = |source| JournalError::Io { path: path.to_owned(), source };
        let damaged = |reason| JournalError::Damaged { path: path.to_owned(), reason };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(at)?;
        let mut lines = BufReader::with_capacity(LINE_BYTES_MAX, &file);
        let (mut bytes, mut offset, mut end) = (Vec::new(), 0, 0);
        let mut next = None;
        let mut torn = false;
        while let Some(length) = next_line(&mut lines, &mut bytes).map_err(at)? {
            let wanted = next.unwrap_or(first);
            match Line::parse(&bytes) {
                // The first line may be older than `first`: its content was stored elsewhere since.
                Some(line) if !torn && (line.number == wanted || next.is_none() && line.number < first) => {
                    visit(&line, offset).map_err(|why| damaged(format!("line {}: {why}", line.number)))?;
                    next = Some(line.number + 1);
                    end = offset + length;
                }
                // Only a complete group is followed by another one.
                Some(line) if line.first > wanted || next.is_none() && line.number < first => {
                    return Err(damaged(format!("line {wanted} is not what was written")));
                }
                Some(_) | None => torn = true,
            }
            offset += length;
        }
        if torn {
            warn!(path = %path.display(), from = end, "cutting off an end whose writing was not finished");
            file.set_len(end).map_err(at)?;
        }
        file.sync_all().and_then(|()| sync_folder_of(path)).map_err(at)?;
        let reader = JournalReader { file: Arc::new(file), path: path.into() };
        let next = next.unwrap_or(first);
        Ok(Self { reader, end, next, staged: Vec::new(), staged_lines: 0, broken: false })
    }

    /// Replaces `other`, which is at `path`. If that fails, `other` stays in use or is broken: nothing is written to
    /// a file that would not be opened after a restart.
    pub fn replace(mut self, other: &mut Self, path: &Path) -> Result<(), JournalError> {
        let at = |source| JournalError::Io { path: path.to_owned(), source };
        std::fs::rename(&self.reader.path, path).map_err(at)?;
        self.reader.path = path.into();
        let durable = sync_folder_of(path).map_err(at);
        self.broken = durable.is_err();
        *other = self;
        durable
    }

    /// Adds a line to the group that [`Self::commit`] writes. Returns its place.
    pub fn stage(&mut self, text: &str) -> u64 {
        debug_assert!(text.len() < LINE_BYTES_MAX / 2 && !text.contains('\n'), "no such thing is kept here");
        let place = self.end + self.staged.len() as u64;
        write_line(&mut self.staged, self.next + self.staged_lines, self.next, text);
        self.staged_lines += 1;
        place
    }

    /// Writes the group. It is durable when this returns. After a failure nothing more is written until the file is
    /// opened again.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        if self.staged_lines == 0 && !self.broken {
            return Ok(());
        }
        let file = &self.reader.file;
        let written = if self.broken {
            Err(io::Error::other("a write to it failed before; the process has to be started again"))
        } else {
            file.write_all_at(&self.staged, self.end).and_then(|()| file.sync_data())
        };
        if let Err(source) = written {
            self.broken = true;
            return Err(JournalError::Io { path: self.reader.path.to_path_buf(), source });
        }
        self.end += self.staged.len() as u64;
        self.next += self.staged_lines;
        self.staged.clear();
        self.staged_lines = 0;
        Ok(())
    }

    /// The text of the line at `place`, also of a staged line.
    pub fn text_at(&self, place: u64) -> Result<String, JournalError> {
        let Some(at) = place.checked_sub(self.end) else { return self.reader.text_at(place) };
        let staged = usize::try_from(at).ok().and_then(|at| self.staged.get(at..));
        let line = staged.and_then(|bytes| bytes.split_inclusive(|byte| *byte == b'\n').next());
        line.and_then(Line::parse).map(|line| line.text.to_owned()).ok_or_else(|| self.reader.no_line(place))
    }

    /// An error for the line at `place`.
    pub fn damage(&self, place: u64, what: impl std::fmt::Display) -> JournalError {
        self.reader.damage(place, what)
    }

    /// Makes all writes fail from now on, as on a full disk.
    #[cfg(any(test, feature = "faults"))]
    pub fn fail(&mut self) {
        self.reader.file =
            Arc::new(File::options().write(true).open("/dev/full").expect("the system has it"));
    }

    /// The number of the last line that was committed; 0 if there never was one.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// A reader, which is independent of the writer.
    pub fn reader(&self) -> JournalReader {
        self.reader.clone()
    }
}

impl JournalReader {
    /// The text of the committed line at `place`.
    pub fn text_at(&self, place: u64) -> Result<String, JournalError> {
        let mut bytes = vec![0; LINE_BYTES_USUAL];
        let mut filled = 0;
        loop {
            let at = place + filled as u64;
            let read = self.file.read_at(&mut bytes[filled..], at).map_err(|source| self.failed(source))?;
            let arrived = &bytes[filled..filled + read];
            if let Some(feed) = arrived.iter().position(|byte| *byte == b'\n') {
                let line = Line::parse(&bytes[..=filled + feed]).ok_or_else(|| self.no_line(place))?;
                return Ok(line.text.to_owned());
            }
            filled += read;
            if read == 0 || filled >= LINE_BYTES_MAX {
                return Err(self.no_line(place));
            }
            if filled == bytes.len() {
                bytes.resize(LINE_BYTES_MAX, 0);
            }
        }
    }

    /// An error: no complete line begins at `place`.
    pub fn no_line(&self, place: u64) -> JournalError {
        self.damage(place, "there is no whole line")
    }

    /// An error for the line at `place`.
    pub fn damage(&self, place: u64, what: impl std::fmt::Display) -> JournalError {
        JournalError::Damaged { path: self.path.to_path_buf(), reason: format!("at byte {place}: {what}") }
    }

    fn failed(&self, source: io::Error) -> JournalError {
        JournalError::Io { path: self.path.to_path_buf(), source }
    }
}

impl<'a> Line<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes.strip_suffix(b"\n")?).ok()?;
        let (checksum, content) = line.split_once(' ')?;
        if checksum.len() != 8
            || u32::from_str_radix(checksum, 16).ok()? != crc32fast::hash(content.as_bytes())
        {
            return None;
        }
        let mut parts = content.splitn(3, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (number, first) = (number()?, number()?);
        Some(Self { number, first, text: parts.next()? })
    }
}

fn write_line(to: &mut Vec<u8>, number: u64, first: u64, text: &str) {
    let content = format!("{number} {first} {text}");
    to.extend_from_slice(format!("{:08x} ", crc32fast::hash(content.as_bytes())).as_bytes());
    to.extend_from_slice(content.as_bytes());
    to.push(b'\n');
}

/// Reads the next line with its line feed, if it has one, and returns its length. Of a line that is too long, only
/// its beginning is stored. `None` at the end.
fn next_line(lines: &mut impl BufRead, bytes: &mut Vec<u8>) -> io::Result<Option<u64>> {
    bytes.clear();
    let mut length = 0;
    loop {
        let arrived = lines.fill_buf()?;
        let (piece, ended) = match arrived.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&arrived[..=at], true),
            None => (arrived, false),
        };
        let consumed = piece.len();
        if bytes.len() <= LINE_BYTES_MAX {
            bytes.extend_from_slice(piece);
        }
        lines.consume(consumed);
        length += consumed as u64;
        if ended || consumed == 0 {
            return Ok((length > 0).then_some(length));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Kept {
        folder: tempfile::TempDir,
    }

    impl Kept {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("journal")
        }

        fn open(&self) -> Result<(Journal, Vec<String>), JournalError> {
            let mut texts = Vec::new();
            let journal = Journal::open(&self.path(), 1, &mut |line, place| {
                assert_eq!(line.number, texts.len() as u64 + 1);
                assert!(place == 0 || line.number > 1);
                texts.push(line.text.to_owned());
                Ok(())
            })?;
            Ok((journal, texts))
        }

        /// Groups of one, three and one line.
        fn filled(&self) -> Vec<u8> {
            let (mut journal, _) = self.open().unwrap();
            for group in [&["a"][..], &["b 1", "", "ö"], &["{\"last\": true}"]] {
                for text in group {
                    let place = journal.stage(text);
                    assert_eq!(journal.text_at(place).unwrap(), **text);
                }
                journal.commit().unwrap();
            }
            fs::read(self.path()).unwrap()
        }
    }

    const ALL: [&str; 5] = ["a", "b 1", "", "ö", "{\"last\": true}"];

    #[test]
    fn what_was_committed_is_read_again_and_each_line_at_its_place() {
        let kept = Kept::new();
        kept.filled();
        let mut places = Vec::new();
        let journal = Journal::open(&kept.path(), 1, &mut |_, place| {
            places.push(place);
            Ok(())
        })
        .unwrap();
        let texts: Vec<_> = places.iter().map(|place| journal.reader().text_at(*place).unwrap()).collect();
        assert_eq!(texts, ALL);
        assert_eq!(journal.last(), 5);
        assert!(journal.reader().text_at(places[1] + 1).is_err());
        assert!(journal.reader().text_at(journal.bytes()).is_err());
    }

    #[test]
    fn an_end_torn_anywhere_is_cut_and_the_rest_stays() {
        let whole = Kept::new().filled();
        let ends: Vec<_> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
        for length in 0..whole.len() {
            let kept = Kept::new();
            fs::write(kept.path(), &whole[..length]).unwrap();
            let (mut journal, texts) = kept.open().unwrap();
            let lines = ends.iter().filter(|end| **end < length).count();
            assert_eq!(texts, ALL[..lines], "{length} bytes");
            journal.stage("later");
            journal.commit().unwrap();
            drop(journal);
            assert_eq!(kept.open().unwrap().1.len(), lines + 1, "{length} bytes");
        }
    }

    #[test]
    fn a_changed_byte_is_damage_unless_all_behind_it_may_never_have_been_finished() {
        let whole = Kept::new().filled();
        let ends: Vec<_> = (0..whole.len()).filter(|at| whole[*at] == b'\n').collect();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let kept = Kept::new();
            fs::write(kept.path(), &bytes).unwrap();
            let opened = kept.open();
            // The last group begins after the fourth line. Damage of that line's end counts as part of it, since the
            // next line cannot be read then.
            if at >= ends[3] {
                let lines = if at == ends[3] { 3 } else { 4 };
                assert_eq!(opened.unwrap().1, ALL[..lines], "byte {at}");
            } else {
                assert!(matches!(opened, Err(JournalError::Damaged { .. })), "byte {at}");
                assert_eq!(fs::read(kept.path()).unwrap(), bytes, "damage was touched");
            }
        }
    }

    #[test]
    fn pages_of_one_group_may_reach_the_disk_in_any_order() {
        let kept = Kept::new();
        let (mut journal, _) = kept.open().unwrap();
        journal.stage("acknowledged");
        journal.commit().unwrap();
        let start = usize::try_from(journal.bytes()).unwrap();
        for text in ["one", "two", "three"] {
            journal.stage(text);
        }
        journal.commit().unwrap();
        let mut bytes = fs::read(kept.path()).unwrap();
        bytes[start..start + 10].fill(0);
        fs::write(kept.path(), bytes).unwrap();
        assert_eq!(kept.open().unwrap().1, ["acknowledged"]);
    }

    #[test]
    fn a_failed_write_is_never_written_over() {
        let kept = Kept::new();
        kept.filled();
        let (mut journal, _) = kept.open().unwrap();
        let whole = journal.reader.file.clone();
        journal.fail();
        journal.stage("lost");
        assert!(matches!(journal.commit(), Err(JournalError::Io { .. })));
        journal.reader.file = whole;
        assert!(matches!(journal.commit(), Err(JournalError::Io { .. })));
        drop(journal);
        assert_eq!(kept.open().unwrap().1, ALL);
    }

    #[test]
    fn a_line_without_end_costs_no_memory_and_is_a_torn_end() {
        let kept = Kept::new();
        let mut bytes = kept.filled();
        bytes.resize(bytes.len() + 4 * LINE_BYTES_MAX, b'x');
        fs::write(kept.path(), bytes).unwrap();
        assert_eq!(kept.open().unwrap().1, ALL);
    }
}
