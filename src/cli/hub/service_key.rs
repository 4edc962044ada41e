//! `hub service-key`.

use clap::{Args, Subcommand};

use super::place::PlaceArgs;
use super::table::{Table, write_facts};
use super::{moment, word, write_json};
use crate::auth::KeyId;
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::hub::OVERLAP_SECONDS_MAX;
use crate::hub::models::{NewServiceKeyAnswer, RotateServiceKey, ServiceKeyView, ServiceKeysAnswer};

const SERVICE_KEYS: &str = "/api/admin/service-keys";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ServiceKeyCommand {
    /// List the keys by which servers are known, without the keys themselves
    List(ListArgs),
    /// Make another key, accept the present ones for a while longer, and print the new one
    Rotate(RotateArgs),
    /// Accept a key no more, for good
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// For how many seconds the present keys are still accepted; 30 days at most
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60,
          value_parser = clap::value_parser!(u32).range(..=i64::from(OVERLAP_SECONDS_MAX)))]
    overlap: u32,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The key's id, as `list` shows it
    #[arg(value_parser = |text: &str| KeyId::try_from(text.to_owned()))]
    id: KeyId,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(command: ServiceKeyCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        ServiceKeyCommand::List(args) => list(args, streams).await,
        ServiceKeyCommand::Rotate(RotateArgs { overlap, place }) => {
            let rotate = RotateServiceKey { overlap_seconds: overlap };
            let made: NewServiceKeyAnswer =
                place.open().await?.send("POST", &format!("{SERVICE_KEYS}/rotate"), &rotate).await?;
            if place.json {
                return write_json(streams, &made);
            }
            // The key alone goes to the output, so that a script can take it as it is.
            streams.write(format!("{}\n", made.secret).as_bytes())?;
            streams.flush()?;
            streams.remark(format_args!(
                "service key {}: keep it, it is not shown again; the ones before are accepted for {overlap} s",
                made.key.id
            ));
            Ok(())
        }
        ServiceKeyCommand::Revoke(RevokeArgs { id, place }) => {
            let path = format!("{SERVICE_KEYS}/{id}/revoke");
            let revoked: ServiceKeyView = place.open().await?.tell("POST", &path).await?;
            if place.json { write_json(streams, &revoked) } else { write_facts(streams, &facts(&revoked)) }
        }
    }
}

async fn list(ListArgs { place }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let answer: ServiceKeysAnswer = place.open().await?.get(SERVICE_KEYS, &()).await?;
    if place.json {
        return answer.keys.iter().try_for_each(|key| write_json(streams, key));
    }
    let mut table = Table::new(["service key", "status", "expires", "created"]);
    for key in &answer.keys {
        table.row(facts(key).map(|(_, fact)| fact));
    }
    table.write(streams)
}

fn facts(key: &ServiceKeyView) -> [(&'static str, String); 4] {
    [
        ("service key", key.id.to_string()),
        ("status", word(&key.status)),
        ("expires", moment(key.expires_at, "never")),
        ("created", moment(key.created_at, "-")),
    ]
}
