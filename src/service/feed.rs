//! A log on its way to a client: slice by slice, for as long as the client may have it and takes it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::error;
use vectorizer_log::{ExportDetail, ExportFormat, ExportRange, Head, RangePosition, Seq};

use super::admission::Readmission;
use crate::tenancy::OpenLog;

/// How much is read from the log at once.
const SLICE_RECORDS_MAX: u64 = 256;
const SLICE_BYTES_MAX: usize = 1 << 20;

/// How often the caller's right is asked for again.
const READMISSION_INTERVAL: Duration = Duration::from_millis(500);

/// What is still to be sent of a log, and for whom.
pub(super) struct Feed {
    pub(super) log: OpenLog,
    pub(super) published: watch::Receiver<Head>,
    pub(super) readmission: Readmission,
    pub(super) stop: CancellationToken,
    /// Among the few that the tenant has.
    pub(super) _permit: OwnedSemaphorePermit,
    pub(super) next: Seq,
    pub(super) range: ExportRange,
    /// Whether `next` has been moved to where the range begins in time.
    pub(super) is_sought: bool,
    pub(super) left: Option<u64>,
    pub(super) follow: bool,
    pub(super) format: ExportFormat,
    pub(super) detail: ExportDetail,
}

/// A stream that breaks off, so that the client cannot take it for the whole.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the log was not sent to its end")]
pub struct Broken;

/// Where a feed puts what it has read.
pub(super) struct Outlet {
    slices: mpsc::Sender<Bytes>,
    ended: oneshot::Sender<()>,
}

/// A feed's outlet and the stream a client gets. The stream ends well only if the feed says that it has
/// ended: one that breaks off, for whatever reason, a panic too, must not look whole.
pub(super) fn channel() -> (Outlet, impl Stream<Item = Result<Bytes, Broken>>) {
    // One slice is read while another is sent, and no more.
    let (slices, receive) = mpsc::channel(1);
    let (ended, end) = oneshot::channel();
    let stream = unfold(Some((receive, end)), |state| async {
        let (mut receive, end): (mpsc::Receiver<Bytes>, oneshot::Receiver<()>) = state?;
        match receive.recv().await {
            Some(slice) => Some((Ok(slice), Some((receive, end)))),
            None if end.await.is_ok() => None,
            None => Some((Err(Broken), None)),
        }
    });
    (Outlet { slices, ended }, stream)
}

enum Step {
    /// Send this.
    Slice(Bytes),
    /// Everything there is has been sent.
    UpToDate,
    /// Everything that was asked for has been sent.
    End,
}

/// What was read at once.
struct Slice {
    /// The record to go on with.
    next: Seq,
    /// How many of the records are shown.
    shown: u64,
    /// Whether no other follows.
    is_last: bool,
    lines: Vec<u8>,
}

impl Feed {
    /// Sends until there is nothing more to send, or nobody who may have it.
    pub(super) async fn run(mut self, outlet: Outlet) {
        let Outlet { slices, ended } = outlet;
        let mut begun = Vec::new();
        self.format.begin(&mut begun);
        // There is room for a first slice; and if nobody is there to take it, the next step finds out.
        if !begun.is_empty() {
            let _ = slices.try_send(Bytes::from(begun));
        }
        if self.send(&slices).await.is_ok() {
            // Nobody may be there any more.
            let _ = ended.send(());
        }
    }

    /// Waits for a slow client for as long as its connection lasts, and looks up all the while: neither a
    /// revoked key nor the end of the server waits for anybody.
    async fn send(&mut self, slices: &mpsc::Sender<Bytes>) -> Result<(), Broken> {
        let mut readmission = interval_at(Instant::now() + READMISSION_INTERVAL, READMISSION_INTERVAL);
        readmission.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut up_to_date = false;
        loop {
            tokio::select! {
                biased;
                _ = readmission.tick() => {
                    if self.stop.is_cancelled() || !self.readmission.is_granted().await {
                        return self.cut();
                    }
                }
                () = self.stop.cancelled(), if up_to_date => return self.cut(),
                () = slices.closed(), if up_to_date => return self.cut(),
                changed = self.published.changed(), if up_to_date => match changed {
                    Ok(()) => up_to_date = false,
                    Err(_) => return self.cut(),
                },
                place = slices.reserve(), if !up_to_date => {
                    let Ok(place) = place else { return self.cut() };
                    self.published.borrow_and_update();
                    match self.step().await? {
                        // An empty one would end the stream.
                        Step::Slice(slice) if slice.is_empty() => {}
                        Step::Slice(slice) => place.send(slice),
                        Step::UpToDate if self.follow => up_to_date = true,
                        Step::UpToDate | Step::End => return Ok(()),
                    }
                }
            }
        }
    }

    /// To somebody who follows, any moment is an end.
    fn cut(&self) -> Result<(), Broken> {
        if self.follow { Ok(()) } else { Err(Broken) }
    }

    async fn step(&mut self) -> Result<Step, Broken> {
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
                Err(Broken)
            }
            Err(_) => Err(Broken),
        }
    }

    /// How many records the next slice may have.
    fn records_max(&self) -> u64 {
        let last = self.range.to.map_or(u64::MAX, Seq::get);
        let through_last = last.saturating_add(1).saturating_sub(self.next.get());
        SLICE_RECORDS_MAX.min(through_last).min(self.left.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_feed_that_goes_without_a_word_is_no_end() {
        let (outlet, stream) = channel();
        let feed = tokio::spawn(async move {
            let outlet = outlet;
            outlet.slices.send(Bytes::from_static(b"1")).await.unwrap();
            panic!("in the middle of a log");
        });
        let sent: Vec<_> = stream.collect().await;
        assert_eq!(sent, [Ok(Bytes::from_static(b"1")), Err(Broken)]);
        assert!(feed.await.is_err());
    }

    #[tokio::test]
    async fn a_feed_that_has_ended_is_whole() {
        let (outlet, stream) = channel();
        let feed = async move {
            let Outlet { slices, ended } = outlet;
            slices.send(Bytes::from_static(b"1")).await.unwrap();
            slices.send(Bytes::from_static(b"2")).await.unwrap();
            ended.send(()).unwrap();
        };
        let (sent, ()) = tokio::join!(stream.collect::<Vec<_>>(), feed);
        assert_eq!(sent, [Ok(Bytes::from_static(b"1")), Ok(Bytes::from_static(b"2"))]);
    }
}
