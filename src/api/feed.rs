//! A log on its way to a client: slice by slice, for as long as the client may have it and takes it.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;
use vectorizer_log::{ExportDetail, Head, LogReader, Seq, write_line};

use super::middleware::auth::Readmission;

/// How much is read from the log at once.
const SLICE_RECORDS_MAX: u64 = 256;
const SLICE_BYTES_MAX: usize = 1 << 20;

/// How often the caller's right is asked for again.
const READMISSION_INTERVAL: Duration = Duration::from_millis(500);
/// How long a client may take for one slice.
const SLICE_PATIENCE: Duration = Duration::from_mins(1);

/// What is still to be sent of a log, and for whom.
pub(super) struct Feed {
    pub(super) log: LogReader,
    pub(super) published: watch::Receiver<Head>,
    pub(super) readmission: Readmission,
    pub(super) stop: CancellationToken,
    /// Among the few that the tenant has.
    pub(super) _place: OwnedSemaphorePermit,
    pub(super) next: Seq,
    pub(super) last: Option<Seq>,
    pub(super) left: Option<u64>,
    pub(super) follow: bool,
    pub(super) detail: ExportDetail,
}

/// A stream that breaks off, so that the client cannot take it for the whole.
#[derive(Debug, thiserror::Error)]
#[error("the log was not sent to its end")]
pub(super) struct Broken;

pub(super) type Slice = Result<Bytes, Broken>;

enum Step {
    /// Send this.
    Slice(Slice),
    /// Everything there is has been sent.
    UpToDate,
    /// Everything that was asked for has been sent.
    End,
}

impl Feed {
    /// Sends until there is nothing more to send, or nobody who may have it.
    pub(super) async fn run(mut self, send: mpsc::Sender<Slice>) {
        let mut admitted_at = Instant::now();
        loop {
            if admitted_at.elapsed() >= READMISSION_INTERVAL {
                if self.stop.is_cancelled() || !self.readmission.is_granted().await {
                    // Nothing at all to somebody who follows, for whom any moment is an end.
                    if !self.follow {
                        let _ = send.send_timeout(Err(Broken), SLICE_PATIENCE).await;
                    }
                    return;
                }
                admitted_at = Instant::now();
            }
            self.published.borrow_and_update();
            match self.step().await {
                Step::Slice(slice) => {
                    let broken = slice.is_err();
                    if send.send_timeout(slice, SLICE_PATIENCE).await.is_err() || broken {
                        return;
                    }
                }
                Step::UpToDate if self.follow => tokio::select! {
                    changed = self.published.changed() => if changed.is_err() {
                        return;
                    },
                    () = send.closed() => return,
                    () = self.stop.cancelled() => return,
                    () = tokio::time::sleep(READMISSION_INTERVAL) => {}
                },
                Step::UpToDate | Step::End => return,
            }
        }
    }

    async fn step(&mut self) -> Step {
        let records_max = self.records_max();
        if records_max == 0 {
            return Step::End;
        }
        if self.next > self.log.head().seq {
            return Step::UpToDate;
        }
        let (log, next, detail) = (self.log.clone(), self.next, self.detail);
        let read = move || {
            let records =
                log.read(next, usize::try_from(records_max).unwrap_or(usize::MAX), SLICE_BYTES_MAX)?;
            let mut lines = Vec::new();
            for record in &records {
                write_line(&mut lines, record, detail);
            }
            Ok::<_, vectorizer_log::Error>((records.len() as u64, Bytes::from(lines)))
        };
        Step::Slice(match tokio::task::spawn_blocking(read).await {
            Ok(Ok((records, lines))) => {
                self.next = Seq::new(self.next.get() + records);
                self.left = self.left.map(|left| left - records);
                Ok(lines)
            }
            Ok(Err(error)) => {
                error!(%error, "the audit log could not be read");
                Err(Broken)
            }
            Err(_) => Err(Broken),
        })
    }

    /// How many records the next slice may have.
    fn records_max(&self) -> u64 {
        let last = self.last.map_or(u64::MAX, Seq::get);
        let through_last = last.saturating_add(1).saturating_sub(self.next.get());
        SLICE_RECORDS_MAX.min(through_last).min(self.left.unwrap_or(u64::MAX))
    }
}
