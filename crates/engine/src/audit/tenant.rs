//! Denials that wait for one tenant's log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use vectorizer_access::{Asked, DenialReason, KeyId};
use vectorizer_log::{Event, Timestamp};

use super::WINDOW;
use super::denials::{Denials, Kind, Span};

/// How many records a minute a tenant's log gets, and one more for the rest.
const KINDS_MAX: usize = 8;

/// A tenant's refused requests, until they are in its log. They are appended with its next commit, at most once a
/// minute, or after a minute without a commit.
#[derive(Debug)]
pub struct TenantDenials {
    waiting: Mutex<Waiting>,
    /// Notified by the first denial.
    came: Notify,
}

#[derive(Debug)]
struct Waiting {
    denials: Denials<Kind>,
    /// The time of the oldest denial.
    since: Option<Instant>,
    /// When denials were last appended.
    taken: Option<Instant>,
}

impl Default for TenantDenials {
    fn default() -> Self {
        let waiting = Waiting { denials: Denials::new(KINDS_MAX), since: None, taken: None };
        Self { waiting: Mutex::new(waiting), came: Notify::new() }
    }
}

impl TenantDenials {
    /// Waits until denials have waited for a minute.
    pub async fn due(&self) {
        loop {
            let came = self.came.notified();
            let since = self.waiting().since;
            match since {
                Some(since) => return sleep_until(since + WINDOW).await,
                None => came.await,
            }
        }
    }

    /// Whether denials have waited for a minute.
    pub fn are_due(&self) -> bool {
        self.waiting().since.is_some_and(|since| since.elapsed() >= WINDOW)
    }

    /// Takes the denials for the next commit.
    pub fn take(&self) -> TakenDenials<'_> {
        let mut waiting = self.waiting();
        let early = waiting.taken.is_some_and(|taken| taken.elapsed() < WINDOW);
        let taken = if early { Vec::new() } else { waiting.denials.drain() };
        if !taken.is_empty() {
            waiting.since = None;
            waiting.taken = Some(Instant::now());
        }
        TakenDenials { from: self, taken }
    }

    /// Takes the denials after the last commit.
    pub(super) fn leave(&self) -> Vec<(Option<Kind>, Span)> {
        self.waiting().denials.drain()
    }

    /// The next commit is the last one, and takes all.
    pub fn end(&self) {
        self.waiting().taken = None;
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.waiting().denials.is_empty()
    }

    /// Counts a request that was admitted, and refused by its operation.
    pub fn note_refused(&self, key_id: Option<&KeyId>, asked: &Asked, reason: DenialReason) {
        let Asked { operation, from, request_id: _ } = *asked;
        self.note(Kind { key_id: key_id.cloned(), operation, reason, from }, Timestamp::now());
    }

    pub(super) fn note(&self, kind: Kind, at: Timestamp) {
        let mut waiting = self.waiting();
        waiting.denials.note(kind, at);
        if waiting.since.is_none() {
            waiting.since = Some(Instant::now());
            drop(waiting);
            self.came.notify_one();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Denials that were taken for the log. They are put back unless [`kept`](Self::kept) is called.
#[derive(Debug)]
pub struct TakenDenials<'a> {
    from: &'a TenantDenials,
    taken: Vec<(Option<Kind>, Span)>,
}

impl TakenDenials<'_> {
    /// They are durable.
    pub fn kept(mut self) {
        self.taken.clear();
    }

    /// The events for the log.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        self.taken.iter().map(|(kind, span)| event(kind.as_ref(), *span))
    }
}

impl Drop for TakenDenials<'_> {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let mut waiting = self.from.waiting();
            for (kind, span) in self.taken.drain(..) {
                waiting.denials.add(kind, span);
            }
            waiting.since = Some(Instant::now());
        }
    }
}

fn event(kind: Option<&Kind>, span: Span) -> Event {
    let Span { count, since, through } = span;
    let (key_id, what, why, from) = match kind {
        Some(Kind { key_id, operation, reason, from }) => {
            (key_id.as_ref(), operation.name(), reason.code(), *from)
        }
        None => (None, Event::OTHERS, Event::OTHERS, None),
    };
    Event::AccessDenied {
        key_id: key_id.map(ToString::to_string),
        what: what.to_owned(),
        why: why.to_owned(),
        from: from.map(|address| address.to_string()),
        count,
        since,
        through,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};
    use vectorizer_access::Operation;

    use super::*;

    fn kind(last: u8) -> Kind {
        Kind {
            key_id: None,
            operation: Operation::Search,
            reason: DenialReason::InsufficientPermission,
            from: Some([192, 0, 2, last].into()),
        }
    }

    fn take(denials: &TenantDenials) -> Vec<u64> {
        let taken = denials.take();
        let counts = taken.taken.iter().map(|(_, span)| span.count).collect();
        taken.kept();
        counts
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_comes_to_a_handful_of_records_a_minute() {
        let denials = TenantDenials::default();
        let mut records = Vec::new();
        for second in 0..180 {
            for number in 0..200 {
                denials.note(kind(number), Timestamp::from_micros(second));
            }
            // A commit each second.
            records.extend(take(&denials));
            advance(Duration::from_secs(1)).await;
        }
        assert!(records.len() <= 3 * (KINDS_MAX + 1), "{} records", records.len());
        denials.end();
        records.extend(take(&denials));
        assert_eq!(records.iter().sum::<u64>(), 180 * 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_come_with_the_next_commit_and_without_one_after_a_minute() {
        let denials = TenantDenials::default();
        assert!(timeout(Duration::from_hours(1), denials.due()).await.is_err());
        denials.note(kind(1), Timestamp::from_micros(0));
        assert_eq!(take(&denials), [1]);
        denials.note(kind(1), Timestamp::from_micros(0));
        denials.note(kind(1), Timestamp::from_micros(0));
        assert!(take(&denials).is_empty(), "another so soon");
        let started = Instant::now();
        denials.due().await;
        assert!(started.elapsed() <= WINDOW + Duration::from_secs(1) && denials.are_due());
        assert_eq!(take(&denials), [2]);
        assert!(!denials.are_due());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_failed_commit_has_taken_waits_again() {
        let denials = TenantDenials::default();
        denials.note(kind(1), Timestamp::from_micros(0));
        drop(denials.take());
        assert!(!denials.is_empty());
        denials.due().await;
        assert_eq!(take(&denials), [1]);
    }
}
