//! `log tail`: prints the end of the audit log.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use clap::Args;
use vectorizer_log::{ExportDetail, ExportRange, Seq, write_line};

use super::DetailArgs;
use crate::cli::failure::Failure;
use crate::cli::folder::Folder;
use crate::cli::interruption::{Interruption, run_blocking};
use crate::cli::server::{LogQuery, Server, ServerError};
use crate::cli::source::{Source, SourceArgs};
use crate::cli::{Exit, Streams};

/// The arguments of `log tail`.
#[derive(Clone, Debug, Args)]
pub(super) struct TailArgs {
    /// The number of records
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: u32,

    /// Print new records as they are written, until Ctrl-C; needs --url
    #[arg(long, short)]
    follow: bool,

    #[command(flatten)]
    detail: DetailArgs,

    // Last, because its heading also applies to the arguments after it.
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) async fn run(args: TailArgs, streams: Streams) -> Exit {
    let interruption = Interruption::on_ctrl_c();
    let TailArgs { source, lines, follow, detail } = args;
    let detail = detail.into();
    let outcome = match source.source() {
        Ok(Source::Folder(_)) if follow => Err(Failure::FollowNeedsServer),
        Ok(Source::Folder(folder)) => {
            let streams = streams.clone();
            run_blocking(move || from_folder(&folder, lines, detail, &interruption, &streams)).await
        }
        Ok(Source::Server(server)) => {
            let tail = from_server(&server, lines, follow, detail, &streams);
            match interruption.or(tail).await {
                // Ctrl-C is the normal end of following.
                Err(Failure::Interrupted) if follow => Ok(Exit::Success),
                outcome => outcome,
            }
        }
        Err(failure) => Err(failure),
    };
    streams.end(outcome)
}

fn from_folder(
    folder: &Folder,
    lines: u32,
    detail: ExportDetail,
    interruption: &Interruption,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let mut last = VecDeque::new();
    let reading = folder.read(interruption, &mut |stored| {
        last.push_back(stored);
        if last.len() > lines as usize {
            last.pop_front();
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut line = Vec::new();
    for stored in last {
        line.clear();
        write_line(&mut line, &stored, detail);
        streams.write(&line)?;
    }
    streams.flush()?;
    reading.remark(&folder.subject(), streams);
    Ok(if reading.is_intact() { Exit::Success } else { Exit::CheckFailed })
}

async fn from_server(
    server: &Server,
    lines: u32,
    follow: bool,
    detail: ExportDetail,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let head = server.head().await?.seq;
    let first = Seq::new(head.get().saturating_sub(lines.into())).next();
    if first > head && !follow {
        return Ok(Exit::Success);
    }
    // One stream for existing and new records, so that none is lost or repeated in between.
    let to = (!follow).then_some(head);
    let range = ExportRange { from: Some(first), to, ..ExportRange::default() };
    let query = LogQuery { range, detail, follow, ..LogQuery::default() };
    let mut arriving = server.lines(query).await?;
    while let Some(line) = arriving.next().await? {
        streams.write(&line)?;
        if follow {
            streams.flush()?;
        }
    }
    if follow { Err(ServerError::StreamEnded.into()) } else { Ok(Exit::Success) }
}
