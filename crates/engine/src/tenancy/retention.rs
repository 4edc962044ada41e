//! How long a tenant's history is kept, and when a shorter time takes effect.
//!
//! A longer time takes effect at once. A shorter one takes effect after seven days, is visible to the tenant until then,
//! and is revoked by a longer one. The file `retention.json` in the tenant's folder has both.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vectorizer_durable as durable;
use vectorizer_log::{TenantFolder, Timestamp};

/// The file, within the tenant's folder.
const FILE: &str = "retention.json";
/// How long a shorter retention waits before it takes effect.
const NOTICE: Duration = Duration::from_hours(7 * 24);

/// How long a tenant's history is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// For this many seconds; `None` is for ever.
    pub keep_seconds: Option<u64>,
    /// The shorter retention that takes effect later, if there is one.
    pub shortened: Option<ShortenedRetention>,
}

/// A shorter retention that takes effect later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortenedRetention {
    /// How long history is kept then, in seconds.
    pub keep_seconds: u64,
    /// When it takes effect, in microseconds since 1970-01-01 UTC.
    pub effective_at: Timestamp,
}

impl Retention {
    /// A retention that is in effect.
    pub(super) fn of(keep: Option<Duration>) -> Self {
        Self { keep_seconds: keep.map(|keep| keep.as_secs()), shortened: None }
    }

    /// The retention at `now`, if the plan keeps history for `wanted`.
    #[must_use]
    pub(super) fn observed(self, wanted: Option<Duration>, now: Timestamp) -> Self {
        let Some(wanted_seconds) = wanted.map(|wanted| wanted.as_secs()) else { return Self::default() };
        if self.keep_seconds.is_some_and(|keep| keep <= wanted_seconds) {
            return Self::of(wanted);
        }
        // An even shorter one is announced anew. A longer one was announced with the shorter one.
        let announced = self.shortened.filter(|shortened| shortened.keep_seconds <= wanted_seconds);
        let effective_at = announced.map_or_else(|| after(now, NOTICE), |shortened| shortened.effective_at);
        if effective_at <= now {
            return Self::of(wanted);
        }
        Self { shortened: Some(ShortenedRetention { keep_seconds: wanted_seconds, effective_at }), ..self }
    }

    /// The moment before which records are older than history is kept; `None` if it is kept for ever.
    pub(super) fn horizon(self, now: Timestamp) -> Option<Timestamp> {
        let keep = Duration::from_secs(self.keep_seconds?);
        Some(Timestamp::from_micros(now.micros().saturating_sub(micros(keep))))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn after(now: Timestamp, duration: Duration) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_add(micros(duration)))
}

/// The file of one tenant's retention.
#[derive(Debug)]
pub(super) struct RetentionFile(PathBuf);

impl RetentionFile {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.join(FILE))
    }

    /// The retention of the file; `None` if there is none. An unreadable file is an error: history is kept until the
    /// file is readable or removed.
    pub(super) fn read(&self) -> io::Result<Option<Retention>> {
        match fs::read(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => serde_json::from_slice(&bytes?).map(Some).map_err(io::Error::from),
        }
    }

    pub(super) fn write(&self, retention: Retention) -> io::Result<()> {
        let unfinished = self.0.with_extension("json.fresh");
        durable::replace(&self.0, &unfinished, |file| file.write_all(&serde_json::to_vec_pretty(&retention)?))
    }
}

/// The retention of a sleeping tenant. `None` if it cannot be read.
pub(super) fn stored_retention(folder: &TenantFolder) -> Option<Retention> {
    RetentionFile::new(folder.path()).read().ok().map(Option::unwrap_or_default)
}

/// The time by which history is old.
///
/// A wrong clock of the machine must not drop history. So this clock begins with the machine's time, follows the
/// monotonic clock, and approaches the machine's time by at most as much again.
#[derive(Debug)]
pub(super) struct RetentionClock {
    path: PathBuf,
    told: Timestamp,
    /// How much of a time in which the node did not run may still count.
    credit_micros: i64,
    at: Instant,
    stored: Instant,
}

/// The time of a node in its folder.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct StoredClock {
    told: Timestamp,
    credit_micros: i64,
}

const CLOCK_FILE: &str = "retention-clock.json";

impl Default for RetentionClock {
    /// A clock of no node, by which nothing is old.
    fn default() -> Self {
        let (told, at) = (Timestamp::from_micros(i64::MIN), Instant::now());
        Self { path: PathBuf::new(), told, credit_micros: 0, at, stored: at }
    }
}

/// How often the time is stored.
const STORED_EVERY: Duration = Duration::from_mins(1);
/// The most that this clock advances for times in which the node did not run, while it runs for as long.
const DOWNTIME_MAX: Duration = Duration::from_hours(24);

impl RetentionClock {
    /// The clock of a node, whose last time is in its folder. Without a last time it begins with `wall`. While the last
    /// time cannot be read, nothing is old.
    pub(super) fn open(node: &Path, wall: Timestamp) -> Self {
        let path = node.join(CLOCK_FILE);
        let last = match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).unwrap_or(StoredClock { told: wall, credit_micros: 0 })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                StoredClock { told: wall, credit_micros: micros(DOWNTIME_MAX) }
            }
            Err(_) => return Self { path, ..Self::default() },
        };
        let told = approach(last.told, wall, Duration::from_micros(last.credit_micros.unsigned_abs()));
        let used = told.micros().saturating_sub(last.told.micros());
        let (at, credit_micros) = (Instant::now(), last.credit_micros - used);
        let mut clock = Self { path, told, credit_micros, at, stored: at };
        // Otherwise a restart would have the credit again.
        clock.store();
        clock
    }

    /// The time now, if the machine's clock says `wall`. Never goes back.
    pub(super) fn now(&mut self, wall: Timestamp) -> Timestamp {
        let elapsed = self.at.elapsed();
        self.at = Instant::now();
        self.told = approach(self.told, wall, 2 * elapsed);
        self.credit_micros = self.credit_micros.saturating_add(micros(elapsed)).min(micros(DOWNTIME_MAX));
        self.told
    }

    /// Stores the time for the next run of the node, once a minute.
    pub(super) fn store_now_and_then(&mut self) {
        if self.stored.elapsed() >= STORED_EVERY {
            self.store();
        }
    }

    /// Stores the time. Best effort: otherwise history is kept longer.
    pub(super) fn store(&mut self) {
        self.stored = Instant::now();
        let stored = StoredClock { told: self.told, credit_micros: self.credit_micros };
        let unfinished = self.path.with_extension("json.fresh");
        let _ =
            durable::replace(&self.path, &unfinished, |file| file.write_all(&serde_json::to_vec(&stored)?));
    }
}

/// `from`, moved towards a later `to` by at most `by`.
fn approach(from: Timestamp, to: Timestamp, by: Duration) -> Timestamp {
    from.max(to.min(after(from, by)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn day(number: i64) -> Timestamp {
        Timestamp::from_micros(number * micros(DAY))
    }

    fn days(number: u32) -> Duration {
        DAY * number
    }

    #[test]
    fn a_shorter_retention_takes_effect_after_seven_days_and_is_visible_until_then() {
        let kept = Retention::of(None);
        let announced = kept.observed(Some(days(30)), day(0));
        assert_eq!(announced.keep_seconds, None);
        let shortened = announced.shortened.unwrap();
        assert_eq!((shortened.keep_seconds, shortened.effective_at), (30 * 86_400, day(7)));
        assert_eq!(announced.observed(Some(days(30)), day(6)), announced);
        assert_eq!(announced.observed(Some(days(30)), day(7)), Retention::of(Some(days(30))));
        assert_eq!(announced.horizon(day(100)), None);
        assert_eq!(Retention::of(Some(days(30))).horizon(day(100)), Some(day(70)));
    }

    #[test]
    fn a_longer_retention_revokes_a_shorter_one_at_once() {
        let announced = Retention::of(Some(days(30))).observed(Some(days(3)), day(0));
        assert!(announced.shortened.is_some());
        assert_eq!(announced.observed(Some(days(30)), day(6)), Retention::of(Some(days(30))));
        assert_eq!(announced.observed(Some(days(31)), day(6)), Retention::of(Some(days(31))));
        assert_eq!(announced.observed(None, day(6)), Retention::of(None));
        // After a revocation the notice begins anew.
        let again = announced.observed(None, day(6)).observed(Some(days(3)), day(8));
        assert_eq!(again.shortened.unwrap().effective_at, day(15));
    }

    #[test]
    fn an_even_shorter_retention_is_announced_anew_and_a_longer_one_was_announced_with_it() {
        let announced = Retention::of(None).observed(Some(days(30)), day(0));
        let shorter = announced.observed(Some(days(3)), day(5));
        assert_eq!(shorter.shortened.unwrap().effective_at, day(12));
        let longer = announced.observed(Some(days(60)), day(5));
        assert_eq!(longer.shortened.unwrap().effective_at, day(7));
        assert_eq!(longer.observed(Some(days(60)), day(7)), Retention::of(Some(days(60))));
    }

    #[test]
    fn a_clock_that_is_a_year_ahead_and_back_again_makes_nothing_old() {
        let node = tempfile::tempdir().unwrap();
        let mut clock = RetentionClock::open(node.path(), day(100));
        let ahead = clock.now(day(465));
        assert!(ahead < day(101), "the clock follows the monotonic clock");
        assert!(clock.now(day(100)) >= ahead, "it never goes back");
        clock.store();
        let mut reopened = RetentionClock::open(node.path(), day(465));
        assert!(reopened.now(day(465)) <= day(102), "a restart adds a day at most");
        let mut again = RetentionClock::open(node.path(), day(465));
        assert!(again.now(day(465)) <= day(102), "further restarts add nothing");
    }

    #[test]
    fn a_retention_survives_a_restart_and_an_unreadable_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = RetentionFile::new(folder.path());
        assert_eq!(file.read().unwrap(), None);
        let announced = Retention::of(None).observed(Some(days(30)), day(0));
        file.write(announced).unwrap();
        assert_eq!(file.read().unwrap(), Some(announced));
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(file.read().is_err());
    }
}
