//! `hub service-key`.

use clap::{Args, Subcommand};
use vectorizer_access::KeyId;
use vectorizer_hub::OVERLAP_SECONDS_MAX;
use vectorizer_hub::models::{NewServiceKeyAnswer, RotateServiceKey, ServiceKeyView, ServiceKeysAnswer};

use super::connection::ConnectionArgs;
use super::table::{Table, write_facts};
use super::{moment, word, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;

const SERVICE_KEYS: &str = "/api/admin/service-keys";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ServiceKeyCommand {
    /// List the keys of servers, without the keys themselves
    List(ListArgs),
    /// Create a new key and print it; the current keys stay valid for a while
    Rotate(RotateArgs),
    /// Revoke a key for ever
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// For how many seconds the current keys stay valid; at most 30 days
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60,
          value_parser = clap::value_parser!(u32).range(..=i64::from(OVERLAP_SECONDS_MAX)))]
    overlap: u32,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The key's id, as `list` shows it
    #[arg(value_parser = |text: &str| KeyId::try_from(text.to_owned()))]
    id: KeyId,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) async fn run(command: ServiceKeyCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        ServiceKeyCommand::List(args) => list(args, streams).await,
        ServiceKeyCommand::Rotate(RotateArgs { overlap, connection }) => {
            let rotate = RotateServiceKey { overlap_seconds: overlap };
            let made: NewServiceKeyAnswer =
                connection.open().await?.send("POST", &format!("{SERVICE_KEYS}/rotate"), &rotate).await?;
            if connection.json {
                return write_json(streams, &made);
            }
            // Only the key goes to the output, so that a script can use it.
            streams.write(format!("{}\n", made.secret).as_bytes())?;
            streams.flush()?;
            streams.remark(format_args!(
                "service key {}: store it, it is not shown again; the previous keys stay valid for {overlap} s",
                made.key.id
            ));
            Ok(())
        }
        ServiceKeyCommand::Revoke(RevokeArgs { id, connection }) => {
            let path = format!("{SERVICE_KEYS}/{id}/revoke");
            let revoked: ServiceKeyView = connection.open().await?.call("POST", &path).await?;
            if connection.json {
                write_json(streams, &revoked)
            } else {
                write_facts(streams, &facts(&revoked))
            }
        }
    }
}

async fn list(ListArgs { connection }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let answer: ServiceKeysAnswer = connection.open().await?.get(SERVICE_KEYS, &()).await?;
    if connection.json {
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
