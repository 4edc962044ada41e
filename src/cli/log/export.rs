//! `log export`: the audit trail.

use std::ops::ControlFlow;

use clap::Args;
use vectorizer_log::{ExportDetail, Seq, write_line};

use super::DetailArgs;
use crate::cli::failure::Failure;
use crate::cli::folder::Folder;
use crate::cli::interruption::{Interruption, on_disk};
use crate::cli::server::{LogQuery, Server};
use crate::cli::source::{Source, SourceArgs};
use crate::cli::{Exit, Streams};

/// The arguments of `log export`.
#[derive(Clone, Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    range: RangeArgs,

    #[command(flatten)]
    detail: DetailArgs,

    // Last, because its heading goes on to what follows.
    #[command(flatten)]
    source: SourceArgs,
}

/// Which records.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "What is shown")]
struct RangeArgs {
    /// The first record
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,

    /// The last record
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,

    /// How many records at most
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

pub(super) async fn run(args: ExportArgs, streams: Streams) -> Exit {
    let interruption = Interruption::on_ctrl_c();
    let (range, detail) = (args.range, args.detail.into());
    let outcome = match args.source.source() {
        Ok(Source::Folder(folder)) => {
            let streams = streams.clone();
            on_disk(move || from_folder(&folder, range, detail, &interruption, &streams)).await
        }
        Ok(Source::Server(server)) => interruption.or(from_server(&server, range, detail, &streams)).await,
        Err(failure) => Err(failure),
    };
    streams.end(outcome)
}

fn from_folder(
    folder: &Folder,
    range: RangeArgs,
    detail: ExportDetail,
    interruption: &Interruption,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let from = range.from.map_or(Seq::OLDEST, Seq::new);
    let last = range.to.map(Seq::new);
    let mut printed = 0;
    let mut line = Vec::new();
    let reading = folder.read(interruption, &mut |stored| {
        let seq = stored.record.seq;
        if last.is_some_and(|last| seq > last || from > last) {
            return Ok(ControlFlow::Break(()));
        }
        if seq < from {
            return Ok(ControlFlow::Continue(()));
        }
        line.clear();
        write_line(&mut line, &stored, detail);
        streams.write(&line)?;
        printed += 1;
        let done = Some(seq) == last || Some(printed) == range.limit;
        Ok(if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    // What was readable comes first, also where both go to one terminal.
    streams.flush()?;
    reading.remark(&folder.subject(), streams);
    Ok(if reading.holds() { Exit::Holds } else { Exit::DoesNotHold })
}

/// The lines pass as they are: a server and this program write them alike.
async fn from_server(
    server: &Server,
    range: RangeArgs,
    detail: ExportDetail,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let RangeArgs { from, to, limit } = range;
    let query = LogQuery { from: from.map(Seq::new), to: to.map(Seq::new), limit, detail, follow: false };
    let mut lines = server.lines(query).await?;
    while let Some(line) = lines.next().await? {
        streams.write(&line)?;
    }
    Ok(Exit::Holds)
}
