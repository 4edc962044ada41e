//! `hub keys`.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};
use serde_json::json;
use vectorizer_access::KeyId;
use vectorizer_hivehub::{Permission, Scope};
use vectorizer_hub::OVERLAP_SECONDS_MAX;
use vectorizer_hub::models::{CreateKey, KeyEnvironment, KeyView, KeysAnswer, NewKeyAnswer, RotateKey};
use vectorizer_log::{TenantId, Timestamp};

use super::connection::ConnectionArgs;
use super::table::{Table, write_facts};
use super::{moment, word, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;

const KEYS: &str = "/api/admin/keys";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// List the keys, without the keys themselves
    List(ListArgs),
    /// Show a key's properties
    Show(OneArgs),
    /// Create a key and print it; it is not shown again
    Create(CreateArgs),
    /// Replace a key with a new one and print it; the old key stays valid for a while
    Rotate(RotateArgs),
    /// Revoke a key for ever
    Revoke(OneArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// List only the keys of this tenant
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneArgs {
    /// The key's id: its part after `hh_live_` or `hh_test_`
    #[arg(value_parser = key_id)]
    id: KeyId,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["tenant", "cluster"]).required(true))]
pub(in crate::cli) struct CreateArgs {
    /// The tenant of the key
    #[arg(long)]
    tenant: Option<TenantId>,
    /// Create an operator's key, which has no tenant; needs --permission ADMIN
    #[arg(long)]
    cluster: bool,
    /// The permission of the key
    #[arg(long, value_parser = PossibleValuesParser::new(PERMISSIONS).try_map(|word| permission(&word)))]
    permission: Permission,
    /// When the key expires, such as 2030-01-31T00:00:00Z; by default never
    #[arg(long, value_name = "TIME")]
    expires_at: Option<Timestamp>,
    /// Whether the key begins with `hh_live_` or `hh_test_`
    #[arg(long, value_enum, default_value_t)]
    environment: Environment,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The key's id
    #[arg(value_parser = key_id)]
    id: KeyId,
    /// For how many seconds the old key stays valid; at most 30 days
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60,
          value_parser = clap::value_parser!(u32).range(..=i64::from(OVERLAP_SECONDS_MAX)))]
    overlap: u32,
    /// Whether the new key begins with `hh_live_` or `hh_test_`
    #[arg(long, value_enum, default_value_t)]
    environment: Environment,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The prefix of a key.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Environment {
    /// `hh_live_…`
    #[default]
    Live,
    /// `hh_test_…`
    Test,
}

impl From<Environment> for KeyEnvironment {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Live => Self::Live,
            Environment::Test => Self::Test,
        }
    }
}

const PERMISSIONS: [&str; 4] = ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"];

fn permission(word: &str) -> Result<Permission, Error> {
    let word: StrDeserializer<'_, Error> = word.into_deserializer();
    Permission::deserialize(word)
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::try_from(text.to_owned()).map_err(str::to_owned)
}

pub(super) async fn run(command: KeysCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        KeysCommand::List(args) => list(args, streams).await,
        KeysCommand::Show(OneArgs { id, connection }) => {
            let shown = connection.open().await?.get(&format!("{KEYS}/{id}"), &()).await?;
            write(&shown, &connection, streams)
        }
        KeysCommand::Create(args) => {
            let CreateArgs { tenant, cluster, permission, expires_at, environment, connection } = args;
            let scope = if cluster { Scope::Cluster } else { Scope::Tenant };
            let new = CreateKey { permission, scope, tenant, expires_at, environment: environment.into() };
            let made = connection.open().await?.send("POST", KEYS, &new).await?;
            write_new(&made, &connection, streams)
        }
        KeysCommand::Rotate(RotateArgs { id, overlap, environment, connection }) => {
            let rotate = RotateKey { overlap_seconds: overlap, environment: environment.into() };
            let made = connection.open().await?.send("POST", &format!("{KEYS}/{id}/rotate"), &rotate).await?;
            write_new(&made, &connection, streams)
        }
        KeysCommand::Revoke(OneArgs { id, connection }) => {
            let revoked = connection.open().await?.call("POST", &format!("{KEYS}/{id}/revoke")).await?;
            write(&revoked, &connection, streams)
        }
    }
}

async fn list(ListArgs { tenant, connection }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let hub = connection.open().await?;
    let mut table = Table::new(["key", "status", "permission", "tenant", "expires", "created"]);
    let mut after = None;
    loop {
        let page: KeysAnswer = hub.get(KEYS, &json!({"tenant": tenant, "after": after})).await?;
        for key in page.keys {
            if connection.json {
                write_json(streams, &key)?;
            } else {
                let [id, status, permission, tenant, expires, created] = facts(&key).map(|(_, fact)| fact);
                table.row([id, status, permission, tenant, expires, created]);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if connection.json { Ok(()) } else { table.write(streams) }
}

fn facts(key: &KeyView) -> [(&'static str, String); 6] {
    [
        ("key", key.id.to_string()),
        ("status", word(&key.status)),
        ("permission", word(&key.permission)),
        ("tenant", key.tenant.as_ref().map_or_else(|| "(cluster)".to_owned(), ToString::to_string)),
        ("expires", moment(key.expires_at, "never")),
        ("created", moment(key.created_at, "-")),
    ]
}

fn write(key: &KeyView, connection: &ConnectionArgs, streams: &Streams) -> Result<(), Failure> {
    if connection.json { write_json(streams, key) } else { write_facts(streams, &facts(key)) }
}

/// Only the key goes to the output, so that a script can use it.
fn write_new(made: &NewKeyAnswer, connection: &ConnectionArgs, streams: &Streams) -> Result<(), Failure> {
    if connection.json {
        return write_json(streams, made);
    }
    streams.write(format!("{}\n", made.secret).as_bytes())?;
    streams.flush()?;
    streams.remark(format_args!("key {}: store it, it is not shown again", made.key.id));
    Ok(())
}
