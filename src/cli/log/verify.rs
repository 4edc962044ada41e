//! `log verify`: checks that every acknowledged record exists and is unchanged.

use std::ops::ControlFlow;

use clap::Args;
use vectorizer_log::Record;
use vectorizer_replay::Projection;

use crate::cli::failure::Failure;
use crate::cli::interruption::{Interruption, run_blocking};
use crate::cli::reading::Reading;
use crate::cli::server::LogVisitor;
use crate::cli::source::{Source, SourceArgs};
use crate::cli::{Exit, Streams};

/// The arguments of `log verify`.
#[derive(Clone, Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) async fn run(args: VerifyArgs, streams: Streams) -> Exit {
    let outcome = match args.source.source() {
        Ok(source) => verify(source, &streams).await,
        Err(failure) => Err(failure),
    };
    streams.end(outcome)
}

async fn verify(source: Source, streams: &Streams) -> Result<Exit, Failure> {
    let interruption = Interruption::on_ctrl_c();
    let subject = source.subject();
    let reading = match source {
        Source::Folder(folder) => {
            run_blocking(move || folder.read(&interruption, &mut |_| Ok(ControlFlow::Continue(())))).await?
        }
        Source::Server(server) => {
            let reading = async {
                let head = server.head().await?;
                Ok(server.read(head, &mut Everything).await?)
            };
            interruption.or(reading).await?
        }
    };
    let exit = if reading.is_intact() { Exit::Success } else { Exit::CheckFailed };
    report(&subject, &reading, streams)?;
    Ok(exit)
}

fn report(subject: &str, reading: &Reading, streams: &Streams) -> Result<(), Failure> {
    streams.report(subject)?;
    if let Some(log_id) = reading.log_id {
        streams.report(format_args!("log      {log_id}"))?;
    }
    streams.report(format_args!("records  {}", reading.records))?;
    if let Some(head) = reading.head {
        streams.report(format_args!("head     {} {}", head.seq, head.chain))?;
    }
    for note in &reading.notes {
        streams.report(format_args!("note     {note}"))?;
    }
    for damage in &reading.damage {
        streams.report(format_args!("{subject}: {damage}"))?;
    }
    streams.report(if reading.is_intact() { "holds" } else { "does not hold" })
}

/// Visits a log to its end.
struct Everything;

impl LogVisitor for Everything {
    fn begin(&mut self, _: Projection) {}

    fn record(&mut self, _: &Record) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
