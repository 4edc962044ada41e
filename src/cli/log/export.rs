//! `log export`: prints the audit log.

use std::ops::ControlFlow;

use clap::{Args, ValueEnum};
use vectorizer_log::{
    ExportDetail, ExportFormat, ExportRange, RangePosition, Seq, Timestamp, write_base_item_line,
    write_base_line,
};

use super::DetailArgs;
use crate::cli::failure::Failure;
use crate::cli::folder::Folder;
use crate::cli::interruption::{Interruption, run_blocking};
use crate::cli::server::{LogQuery, Server};
use crate::cli::source::{Source, SourceArgs};
use crate::cli::{Exit, Streams};

/// The arguments of `log export`.
#[derive(Clone, Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    range: RangeArgs,

    /// The format of the records
    #[arg(long, value_enum, default_value_t = Format::Ndjson, help_heading = "Output")]
    format: Format,

    #[command(flatten)]
    detail: DetailArgs,

    // Last, because its heading also applies to the arguments after it.
    #[command(flatten)]
    source: SourceArgs,
}

/// The range of records.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Output")]
struct RangeArgs {
    /// The first record
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// The last record
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,

    /// Only records of this time or later, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,

    /// Only records before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,

    /// The largest number of records
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// The format of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object per line
    Ndjson,
    #[value(
        help = "A table with the columns seq, at, event, collection (its id), key_id, via, request_id, count and \
                details (the event as JSON). Import it as text: a spreadsheet may take a request id that begins \
                with = + - or @ for a formula"
    )]
    Csv,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Ndjson => Self::Ndjson,
            Format::Csv => Self::Csv,
        }
    }
}

/// The options of an export.
#[derive(Clone, Copy, Debug)]
struct ExportOptions {
    range: ExportRange,
    limit: Option<u64>,
    format: ExportFormat,
    detail: ExportDetail,
}

impl ExportOptions {
    fn of(range: RangeArgs, format: Format, detail: DetailArgs) -> Result<Self, Failure> {
        if format == Format::Csv && detail.with_stored {
            return Err(Failure::StoredNeedsNdjson);
        }
        let RangeArgs { from, to, since, until, limit } = range;
        let range = ExportRange { from: from.map(Seq::new), to: to.map(Seq::new), since, until };
        Ok(Self { range, limit, format: format.into(), detail: detail.into() })
    }
}

pub(super) async fn run(args: ExportArgs, streams: Streams) -> Exit {
    let outcome = match ExportOptions::of(args.range, args.format, args.detail) {
        Ok(options) => export(args.source, options, &streams).await,
        Err(failure) => Err(failure),
    };
    streams.end(outcome)
}

async fn export(source: SourceArgs, options: ExportOptions, streams: &Streams) -> Result<Exit, Failure> {
    let interruption = Interruption::on_ctrl_c();
    match source.source()? {
        Source::Folder(folder) => {
            let streams = streams.clone();
            run_blocking(move || from_folder(&folder, options, &interruption, &streams)).await
        }
        Source::Server(server) => interruption.or(from_server(&server, options, streams)).await,
    }
}

fn from_folder(
    folder: &Folder,
    options: ExportOptions,
    interruption: &Interruption,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let ExportOptions { range, limit, format, detail } = options;
    let mut printed = 0;
    let mut line = Vec::new();
    format.begin(&mut line);
    streams.write(&line)?;
    let is_whole = range.from.is_none() && range.since.is_none() && format == ExportFormat::Ndjson;
    if let Some(base) = folder.base()?.filter(|_| is_whole) {
        line.clear();
        write_base_line(&mut line, &base);
        streams.write(&line)?;
        if detail.stored {
            folder.each_base_item(&base, &mut |item| {
                line.clear();
                write_base_item_line(&mut line, &item);
                interruption.check().and_then(|()| streams.write(&line))
            })?;
        }
    }
    let reading = folder.read(interruption, &mut |stored| {
        let seq = stored.record.seq;
        match range.place(seq, stored.record.at) {
            RangePosition::Before => return Ok(ControlFlow::Continue(())),
            RangePosition::Within => {}
            RangePosition::After => return Ok(ControlFlow::Break(())),
        }
        line.clear();
        format.write(&mut line, &stored, detail);
        streams.write(&line)?;
        printed += 1;
        let done = Some(seq) == range.to || Some(printed) == limit;
        Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    // Write the readable records before the remarks, as both may go to the same terminal.
    streams.flush()?;
    reading.remark(&folder.subject(), streams);
    Ok(if reading.is_intact() { Exit::Success } else { Exit::CheckFailed })
}

/// Copies the server's lines unchanged: a server and this program write the same format.
async fn from_server(server: &Server, options: ExportOptions, streams: &Streams) -> Result<Exit, Failure> {
    let ExportOptions { range, limit, format, detail } = options;
    let mut lines = server.lines(LogQuery { range, limit, format, detail, follow: false }).await?;
    while let Some(line) = lines.next().await? {
        streams.write(&line)?;
    }
    Ok(Exit::Success)
}
