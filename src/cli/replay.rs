//! `vectorizer replay`: rebuilds a tenant's state from its log alone, twice.

use clap::Args;
use vectorizer_log::{Head, Seq};
use vectorizer_replay::Projection;

use super::failure::Failure;
use super::fold::Fold;
use super::folder::Folder;
use super::interruption::{Interruption, run_blocking};
use super::reading::Reading;
use super::server::Server;
use super::source::{Source, SourceArgs};
use super::{Exit, Streams};

/// The arguments of `replay`.
#[derive(Clone, Debug, Args)]
pub(super) struct ReplayArgs {
    /// The expected digest of the state, such as from another replay
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    expect: Option<blake3::Hash>,

    // Last, because its heading also applies to the arguments after it.
    #[command(flatten)]
    source: SourceArgs,
}

fn digest(text: &str) -> Result<blake3::Hash, &'static str> {
    blake3::Hash::from_hex(text).map_err(|_| "a digest has 64 hexadecimal digits")
}

/// Runs `replay`.
pub(super) async fn run(args: ReplayArgs, streams: Streams) -> Exit {
    let outcome = match args.source.source() {
        Ok(source) => replay(source, args.expect, &streams).await,
        Err(failure) => Err(failure),
    };
    streams.end(outcome)
}

async fn replay(source: Source, expected: Option<blake3::Hash>, streams: &Streams) -> Result<Exit, Failure> {
    let subject = source.subject();
    let interruption = Interruption::on_ctrl_c();
    let origin = match source {
        Source::Folder(folder) => Origin::Folder(folder),
        Source::Server(server) => {
            let head = interruption.or(async { Ok(server.head().await?) }).await?;
            Origin::Server(server, head)
        }
    };
    let replay = Replay { origin, interruption, streams: streams.clone() };

    let (reading, fold) = replay.fold("replaying", None).await?;
    reading.remark(&subject, streams);
    if !reading.is_intact() {
        return Ok(Exit::CheckFailed);
    }
    if let Some(refused) = fold.refused() {
        streams.remark(format_args!("{subject}: {refused}"));
        return Ok(Exit::CheckFailed);
    }
    let through = fold.applied();
    let first = fold.finish();
    streams.report(format_args!("{subject}\n{first}"))?;

    let (again, fold) = replay.fold("comparing", Some(through)).await?;
    let second = fold.finish();
    let repeats = again.is_intact() && first.is_equal_to(&second);
    if repeats {
        streams.report("compare      a second fold gives the same state")?;
    } else {
        again.remark(&subject, streams);
        streams.report(format_args!("compare      a second fold gives another state:\n{second}"))?;
    }
    let is_expected = expected.is_none_or(|expected| expected.as_bytes() == first.digest.as_bytes());
    if let Some(expected) = expected {
        let word = if is_expected { "is" } else { "should be" };
        streams.report(format_args!("expect       the digest {word} {expected}"))?;
    }
    let is_correct = repeats && is_expected;
    streams.report(if is_correct { "holds" } else { "does not hold" })?;
    Ok(if is_correct { Exit::Success } else { Exit::CheckFailed })
}

/// A source, with the head to replay to if it is a server.
enum Origin {
    Folder(Folder),
    Server(Server, Head),
}

struct Replay {
    origin: Origin,
    interruption: Interruption,
    streams: Streams,
}

impl Replay {
    /// Reads and folds the log from its first record to `through`, or to its end.
    async fn fold(&self, doing: &'static str, through: Option<Seq>) -> Result<(Reading, Fold), Failure> {
        let (reading, fold) = match &self.origin {
            Origin::Folder(folder) => {
                let (folder, interruption) = (folder.clone(), self.interruption.clone());
                let mut fold = Fold::new(doing, through, &self.streams);
                run_blocking(move || {
                    if let Some(base) = folder.base()? {
                        let stop = || interruption.check().is_err();
                        let beginning = Projection::of_base(base.log_id(), &base, &stop);
                        fold.begin(beginning.map_err(|error| folder.base_failure(error))?);
                    }
                    let reading = folder.read(&interruption, &mut |stored| Ok(fold.push(&stored.record)))?;
                    Ok::<_, Failure>((reading, fold))
                })
                .await?
            }
            Origin::Server(server, head) => {
                let mut fold = Fold::new(doing, Some(head.seq), &self.streams);
                let read = async { Ok(server.read(*head, &mut fold).await?) };
                (self.interruption.or(read).await?, fold)
            }
        };
        fold.end();
        Ok((reading, fold))
    }
}
