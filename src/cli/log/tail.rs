//! `log tail`: the end of the audit trail.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use clap::Args;
use vectorizer_log::{ExportDetail, ExportRange, Seq, write_line};

use super::DetailArgs;
use crate::cli::failure::Failure;
use crate::cli::folder::Folder;
use crate::cli::interruption::{Interruption, on_disk};
use crate::cli::server::{LogQuery, Server, ServerError};
use crate::cli::source::{Source, SourceArgs};
use crate::cli::{Exit, Streams};

/// The arguments of `log tail`.
#[derive(Clone, Debug, Args)]
pub(super) struct TailArgs {
    /// How many records
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: u32,

    /// Go on with what is written later, until Ctrl-C; with --url
    #[arg(long, short)]
    follow: bool,

    #[command(flatten)]
    detail: DetailArgs,

    // Last, because its heading goes on to what follows.
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) async fn run(args: TailArgs, streams: Streams) -> Exit {
    let interruption = Interruption::on_ctrl_c();
    let TailArgs { source, lines, follow, detail } = args;
    let detail = detail.into();
    let outcome = match source.source() {
        Ok(Source::Folder(_)) if follow => Err(Failure::FollowsNobody),
        Ok(Source::Folder(folder)) => {
            let streams = streams.clone();
            on_disk(move || from_folder(&folder, lines, detail, &interruption, &streams)).await
        }
        Ok(Source::Server(server)) => {
            let tail = from_server(&server, lines, follow, detail, &streams);
            match interruption.or(tail).await {
                // How following is meant to end.
                Err(Failure::Interrupted) if follow => Ok(Exit::Holds),
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
    Ok(if reading.holds() { Exit::Holds } else { Exit::DoesNotHold })
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
        return Ok(Exit::Holds);
    }
    // One stream for the end and what follows it, so that nothing is lost or shown twice in between.
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
    if follow { Err(ServerError::StreamEnded.into()) } else { Ok(Exit::Holds) }
}
