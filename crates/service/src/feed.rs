//! Streaming a log to a client, slice by slice, while the client is admitted and connected.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::error;
use vectorizer_engine::tenancy::OpenLog;
use vectorizer_log::{
    Base, ExportDetail, ExportFormat, ExportRange, Head, RangePosition, Seq, write_base_item_line,
    write_base_line,
};

use super::admission::Readmission;

/// The most records and bytes of one slice.
const SLICE_RECORDS_MAX: u64 = 256;
const SLICE_BYTES_MAX: usize = 1 << 20;

/// How often the access check is repeated.
const READMISSION_INTERVAL: Duration = Duration::from_millis(500);

/// The state of one stream: its position in the log, and its client.
pub(super) struct Feed {
    pub(super) log: OpenLog,
    pub(super) published: watch::Receiver<Head>,
    pub(super) readmission: Readmission,
    pub(super) stop: CancellationToken,
    /// One of the tenant's few permits for readers or followers.
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) next: Seq,
    pub(super) range: ExportRange,
    /// Whether `next` was already moved to the first record of the requested time.
    pub(super) is_sought: bool,
    pub(super) left: Option<u64>,
    pub(super) follow: bool,
    pub(super) format: ExportFormat,
    pub(super) detail: ExportDetail,
    /// The state to send first, which the log begins with.
    pub(super) base: Option<Base>,
}

/// The stream ended early. The error keeps the client from taking it for complete.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the log was not sent completely")]
pub struct Truncated;

/// The sending half of a feed's stream.
pub(super) struct FeedSender {
    slices: mpsc::Sender<Bytes>,
    ended: oneshot::Sender<()>,
}

/// Creates the sender and the stream of a feed. The stream ends without an error only if the feed signals its end. If
/// the feed stops early for any reason, a panic included, the stream must not look complete.
pub(super) fn channel() -> (FeedSender, impl Stream<Item = Result<Bytes, Truncated>>) {
    // At most one slice is read ahead.
    let (slices, receive) = mpsc::channel(1);
    let (ended, end) = oneshot::channel();
    let stream = unfold(Some((receive, end)), |state| async {
        let (mut receive, end): (mpsc::Receiver<Bytes>, oneshot::Receiver<()>) = state?;
        match receive.recv().await {
            Some(slice) => Some((Ok(slice), Some((receive, end)))),
            None if end.await.is_ok() => None,
            None => Some((Err(Truncated), None)),
        }
    });
    (FeedSender { slices, ended }, stream)
}

enum Step {
    /// Send this slice.
    Slice(Bytes),
    /// All existing records have been sent.
    UpToDate,
    /// All requested records have been sent.
    End,
}

/// The result of one read.
struct Slice {
    /// The record after the slice.
    next: Seq,
    /// The number of records in `lines`.
    shown: u64,
    /// Whether this is the last slice.
    is_last: bool,
    lines: Vec<u8>,
}

impl Feed {
    /// Sends until all requested records are sent, or the client is gone or not admitted any more.
    pub(super) async fn run(mut self, sender: FeedSender) {
        let FeedSender { slices, ended } = sender;
        let mut begun = Vec::new();
        self.format.begin(&mut begun);
        // The channel has room for a first slice. If the receiver is gone, the next step notices.
        if !begun.is_empty() {
            let _ = slices.try_send(Bytes::from(begun));
        }
        if self.send_base(&slices).await.is_ok() && self.send(&slices).await.is_ok() {
            // The receiver may be gone.
            let _ = ended.send(());
        }
    }

    /// Sends the state that the log begins with, if the records from the beginning on are requested: a line about it,
    /// and with stored bytes a line for each item. No thread waits for the client.
    async fn send_base(&mut self, slices: &mpsc::Sender<Bytes>) -> Result<(), Truncated> {
        let Some(base) = self.base.take() else { return Ok(()) };
        let mut lines = Vec::new();
        write_base_line(&mut lines, &base);
        let (mut block, has_items) = (0, self.detail.stored);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Err(Truncated),
                sent = slices.send(Bytes::from(std::mem::take(&mut lines))) => sent.map_err(|_| Truncated)?,
            }
            if !has_items {
                return Ok(());
            }
            if !self.readmission.is_granted().await {
                return Err(Truncated);
            }
            let read = base.clone();
            match tokio::task::spawn_blocking(move || item_lines(&read, block)).await {
                Ok(Ok(Some(more))) => lines = more,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => {
                    error!(%error, "the base of the log could not be read");
                    return Err(Truncated);
                }
                Err(_) => return Err(Truncated),
            }
            block += 1;
        }
    }

    /// Waits for a slow client for as long as its connection lasts. Meanwhile it notices a revoked key and the server's
    /// shutdown.
    async fn send(&mut self, slices: &mpsc::Sender<Bytes>) -> Result<(), Truncated> {
        let mut readmission = interval_at(Instant::now() + READMISSION_INTERVAL, READMISSION_INTERVAL);
        readmission.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut up_to_date = false;
        loop {
            tokio::select! {
                biased;
                _ = readmission.tick() => {
                    if self.stop.is_cancelled() || !self.readmission.is_granted().await {
                        return self.interrupted();
                    }
                }
                () = self.stop.cancelled(), if up_to_date => return self.interrupted(),
                () = slices.closed(), if up_to_date => return self.interrupted(),
                changed = self.published.changed(), if up_to_date => match changed {
                    Ok(()) => up_to_date = false,
                    Err(_) => return self.interrupted(),
                },
                permit = slices.reserve(), if !up_to_date => {
                    let Ok(permit) = permit else { return self.interrupted() };
                    self.published.borrow_and_update();
                    match self.step().await? {
                        // An empty slice would end the stream.
                        Step::Slice(slice) if slice.is_empty() => {}
                        Step::Slice(slice) => permit.send(slice),
                        Step::UpToDate if self.follow => up_to_date = true,
                        Step::UpToDate | Step::End => return Ok(()),
                    }
                }
            }
        }
    }

    /// The result of an interrupted stream. A stream that follows the log can end at any time.
    fn interrupted(&self) -> Result<(), Truncated> {
        if self.follow { Ok(()) } else { Err(Truncated) }
    }

    async fn step(&mut self) -> Result<Step, Truncated> {
        let records_max = self.records_max();
        if records_max == 0 {
            return Ok(Step::End);
        }
        if self.next > self.log.reader().head().seq {
            return Ok(Step::UpToDate);
        }
        let (log, range, format, detail) = (self.log.reader().clone(), self.range, self.format, self.detail);
        let seek = range.since.filter(|_| !self.is_sought);
        let from = self.next;
        let read = move || {
            let from =
                seek.map(|since| log.first_since(since)).transpose()?.map_or(from, |first| first.max(from));
            let records_max = usize::try_from(records_max).unwrap_or(usize::MAX);
            let mut slice = Slice { next: from, shown: 0, is_last: false, lines: Vec::new() };
            for stored in log.read(from, records_max, SLICE_BYTES_MAX)? {
                slice.next = stored.record.seq.next();
                match range.place(stored.record.seq, stored.record.at) {
                    RangePosition::Before => {}
                    RangePosition::Within => {
                        format.write(&mut slice.lines, &stored, detail);
                        slice.shown += 1;
                    }
                    RangePosition::After => {
                        slice.is_last = true;
                        break;
                    }
                }
            }
            Ok::<_, vectorizer_log::Error>(slice)
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(slice)) => {
                self.next = slice.next;
                self.is_sought = true;
                self.left = if slice.is_last { Some(0) } else { self.left.map(|left| left - slice.shown) };
                Ok(Step::Slice(slice.lines.into()))
            }
            Ok(Err(error)) => {
                error!(%error, "the audit log could not be read");
                Err(Truncated)
            }
            Err(_) => Err(Truncated),
        }
    }

    /// The most records of the next slice.
    fn records_max(&self) -> u64 {
        let last = self.range.to.map_or(u64::MAX, Seq::get);
        let through_last = last.saturating_add(1).saturating_sub(self.next.get());
        SLICE_RECORDS_MAX.min(through_last).min(self.left.unwrap_or(u64::MAX))
    }
}

/// The lines of the items of one block; `None` after the last block.
fn item_lines(base: &Base, block: usize) -> Result<Option<Vec<u8>>, vectorizer_log::Error> {
    let Some(items) = base.block(block)? else { return Ok(None) };
    let mut lines = Vec::new();
    for item in &items {
        write_base_item_line(&mut lines, item);
    }
    Ok(Some(lines))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_feed_that_stops_without_a_signal_is_truncated() {
        let (sender, stream) = channel();
        let feed = tokio::spawn(async move {
            let sender = sender;
            sender.slices.send(Bytes::from_static(b"1")).await.unwrap();
            panic!("in the middle of a log");
        });
        let sent: Vec<_> = stream.collect().await;
        assert_eq!(sent, [Ok(Bytes::from_static(b"1")), Err(Truncated)]);
        assert!(feed.await.is_err());
    }

    #[tokio::test]
    async fn a_feed_that_has_ended_is_complete() {
        let (sender, stream) = channel();
        let feed = async move {
            let FeedSender { slices, ended } = sender;
            slices.send(Bytes::from_static(b"1")).await.unwrap();
            slices.send(Bytes::from_static(b"2")).await.unwrap();
            ended.send(()).unwrap();
        };
        let (sent, ()) = tokio::join!(stream.collect::<Vec<_>>(), feed);
        assert_eq!(sent, [Ok(Bytes::from_static(b"1")), Ok(Bytes::from_static(b"2"))]);
    }
}
