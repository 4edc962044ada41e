//! The tenant's own audit log.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::once;
use tracing::Instrument as _;
use vectorizer_engine::admission::Admin;
use vectorizer_engine::tenancy::{Tenant, WakeError};
use vectorizer_log::{ExportDetail, ExportFormat, ExportRange, Head, Seq};

use super::Service;
use super::admission::Readmission;
use super::error::{Error, ErrorKind};
use super::feed::{Feed, Truncated, channel};

/// Which records of a log to read, and in which format.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRequest {
    /// The range of records.
    pub range: ExportRange,
    /// The largest number of records.
    pub limit: Option<u64>,
    /// Continue with new records as they are written.
    pub follow: bool,
    /// The format of the records.
    pub format: ExportFormat,
    /// Which parts of each record to include.
    pub detail: ExportDetail,
}

impl Service {
    /// The end of the log, and the last record that changed data.
    pub fn log_head<L>(&self, tenant: &Tenant<L>) -> (Head, Seq) {
        tenant.head()
    }

    /// Streams records of the audit log while the caller is admitted and connected. The stream ends with an error
    /// unless it is complete.
    ///
    /// # Errors
    /// `invalid-parameter`, `history-dropped`, `too-many-readers`, `too-many-followers`, and the errors of opening the
    /// log.
    pub async fn read_log(
        &self,
        tenant: &Tenant<Admin>,
        request: LogRequest,
        readmission: Readmission,
    ) -> Result<impl Stream<Item = Result<Bytes, Truncated>> + Send + use<>, Error> {
        let LogRequest { range, limit, follow, format, detail } = request;
        if format == ExportFormat::Csv && detail.stored {
            let detail = "with_stored=true needs format=ndjson: CSV has no stored bytes";
            return Err(Error::malformed("invalid-parameter", detail));
        }
        let (permit, code, doing) = if follow {
            (tenant.follower(), "too-many-followers", "follow")
        } else {
            (tenant.log_reader(), "too-many-readers", "read")
        };
        let Some(permit) = permit else {
            return Err(Error::unavailable(code, format!("too many requests {doing} this log"), 5));
        };
        if !tenant.is_begun() {
            // The log has no record, and reading it creates none. A follower gets an empty stream and connects again.
            let mut nothing = Vec::new();
            format.begin(&mut nothing);
            return Ok(once(async move { Ok(Bytes::from(nothing)) }).left_stream());
        }
        let log = tenant.log().await.map_err(|error| Error::from(error.as_ref()))?;
        let base = log.reader().base().map_err(|error| Error::from(&WakeError::Log(error)))?;
        let beginning = base.as_ref().map_or(Seq::NONE, |base| base.head().seq);
        if let Some(from) = range.from.filter(|from| (*from).max(Seq::OLDEST) <= beginning) {
            return Err(dropped(from, beginning.next()));
        }
        let is_whole = range.from.is_none() && range.since.is_none() && format == ExportFormat::Ndjson;
        let base = base.filter(|_| is_whole);
        let feed = Feed {
            base,
            log,
            published: tenant.published(),
            readmission,
            stop: self.ending(),
            _permit: permit,
            next: range.from.unwrap_or(Seq::OLDEST).max(beginning.next()),
            range,
            is_sought: false,
            left: limit,
            follow,
            format,
            detail,
        };
        let (sender, stream) = channel();
        tokio::spawn(feed.run(sender).in_current_span());
        Ok(stream.right_stream())
    }
}

/// The record at `from` was dropped, and the oldest one is `oldest`.
fn dropped(from: Seq, oldest: Seq) -> Error {
    let detail =
        format!("the record {from} was dropped by the tenant's retention: the oldest record is {oldest}");
    Error::new(ErrorKind::Gone, "history-dropped", detail)
}
