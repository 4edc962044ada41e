//! The tenant's own audit log.

use bytes::Bytes;
use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::once;
use tracing::Instrument as _;
use vectorizer_log::{ExportDetail, ExportFormat, ExportRange, Head, Seq};

use super::Service;
use super::admission::Readmission;
use super::error::Error;
use super::feed::{Broken, Feed, channel};
use crate::auth::Admin;
use crate::tenancy::Tenant;

/// Which records of a log to read, and how they are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRequest {
    /// Which records.
    pub range: ExportRange,
    /// The most records.
    pub limit: Option<u64>,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// How records are written.
    pub format: ExportFormat,
    /// How much of each record.
    pub detail: ExportDetail,
}

impl Service {
    /// Where the log ends, and the last record in it that changed data.
    pub fn log_head<L>(&self, tenant: &Tenant<L>) -> (Head, Seq) {
        tenant.head()
    }

    /// Records of the audit log, in pieces, for as long as the caller may have them and takes them. The stream ends
    /// with an error unless it is whole.
    ///
    /// # Errors
    /// `invalid-parameter`, `too-many-readers`, `too-many-followers`, and those of a log that cannot be opened.
    pub async fn read_log(
        &self,
        tenant: &Tenant<Admin>,
        request: LogRequest,
        readmission: Readmission,
    ) -> Result<impl Stream<Item = Result<Bytes, Broken>> + Send + use<>, Error> {
        let LogRequest { range, limit, follow, format, detail } = request;
        if format == ExportFormat::Csv && detail.stored {
            let detail = "with_stored=true needs format=ndjson: a table has no stored bytes";
            return Err(Error::malformed("invalid-parameter", detail));
        }
        let (permit, code, doing) = if follow {
            (tenant.follower(), "too-many-followers", "follow")
        } else {
            (tenant.log_reader(), "too-many-readers", "read")
        };
        let Some(permit) = permit else {
            return Err(Error::unavailable(code, format!("too many {doing} this log at the moment"), 5));
        };
        if !tenant.is_begun() {
            // It has no record, and reading makes none. A caller who follows comes again.
            let mut nothing = Vec::new();
            format.begin(&mut nothing);
            return Ok(once(async move { Ok(Bytes::from(nothing)) }).left_stream());
        }
        let feed = Feed {
            log: tenant.log().await.map_err(|error| Error::from(error.as_ref()))?,
            published: tenant.published(),
            readmission,
            stop: self.ending(),
            _permit: permit,
            next: range.from.unwrap_or(Seq::OLDEST).max(Seq::OLDEST),
            range,
            is_sought: false,
            left: limit,
            follow,
            format,
            detail,
        };
        let (outlet, stream) = channel();
        tokio::spawn(feed.run(outlet).in_current_span());
        Ok(stream.right_stream())
    }
}
