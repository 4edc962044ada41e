//! `hub keys`.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};
use serde_json::json;
use vectorizer_log::{TenantId, Timestamp};

use super::place::PlaceArgs;
use super::table::{Table, write_facts};
use super::{moment, word, write_json};
use crate::auth::KeyId;
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::hivehub::{Permission, Scope};
use crate::hub::OVERLAP_SECONDS_MAX;
use crate::hub::models::{CreateKey, KeyEnvironment, KeyView, KeysAnswer, NewKeyAnswer, RotateKey};

const KEYS: &str = "/api/admin/keys";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum KeysCommand {
    /// List the keys, without the keys themselves
    List(ListArgs),
    /// Show what is known of a key
    Show(OneArgs),
    /// Make a key and print it, the one time that it is seen
    Create(CreateArgs),
    /// Make a key in the place of another, which goes on working for a while, and print it
    Rotate(RotateArgs),
    /// Take a key's rights away, for good
    Revoke(OneArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Only this tenant's
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneArgs {
    /// The key's id: what stands in it behind `hh_live_` or `hh_test_`
    #[arg(value_parser = key_id)]
    id: KeyId,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("scope").args(["tenant", "cluster"]).required(true))]
pub(in crate::cli) struct CreateArgs {
    /// Whose it is
    #[arg(long)]
    tenant: Option<TenantId>,
    /// An operator's key, of no tenant; with ADMIN
    #[arg(long)]
    cluster: bool,
    /// What it may do
    #[arg(long, value_parser = PossibleValuesParser::new(PERMISSIONS).try_map(|word| permission(&word)))]
    permission: Permission,
    /// When it ends, such as 2030-01-31T00:00:00Z; never if not given
    #[arg(long, value_name = "MOMENT")]
    expires_at: Option<Timestamp>,
    /// Whether it begins with `hh_live_` or `hh_test_`
    #[arg(long, value_enum, default_value_t)]
    environment: Environment,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The key's id
    #[arg(value_parser = key_id)]
    id: KeyId,
    /// For how many seconds the old key goes on working; 30 days at most
    #[arg(long, value_name = "SECONDS", default_value_t = 24 * 60 * 60,
          value_parser = clap::value_parser!(u32).range(..=i64::from(OVERLAP_SECONDS_MAX)))]
    overlap: u32,
    /// Whether the new key begins with `hh_live_` or `hh_test_`
    #[arg(long, value_enum, default_value_t)]
    environment: Environment,
    #[command(flatten)]
    place: PlaceArgs,
}

/// How a key begins.
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
        KeysCommand::Show(OneArgs { id, place }) => {
            let shown = place.open().await?.get(&format!("{KEYS}/{id}"), &()).await?;
            write(&shown, &place, streams)
        }
        KeysCommand::Create(args) => {
            let CreateArgs { tenant, cluster, permission, expires_at, environment, place } = args;
            let scope = if cluster { Scope::Cluster } else { Scope::Tenant };
            let new = CreateKey { permission, scope, tenant, expires_at, environment: environment.into() };
            let made = place.open().await?.send("POST", KEYS, &new).await?;
            write_new(&made, &place, streams)
        }
        KeysCommand::Rotate(RotateArgs { id, overlap, environment, place }) => {
            let rotate = RotateKey { overlap_seconds: overlap, environment: environment.into() };
            let made = place.open().await?.send("POST", &format!("{KEYS}/{id}/rotate"), &rotate).await?;
            write_new(&made, &place, streams)
        }
        KeysCommand::Revoke(OneArgs { id, place }) => {
            let revoked = place.open().await?.tell("POST", &format!("{KEYS}/{id}/revoke")).await?;
            write(&revoked, &place, streams)
        }
    }
}

async fn list(ListArgs { tenant, place }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let hub = place.open().await?;
    let mut table = Table::new(["key", "status", "permission", "tenant", "expires", "created"]);
    let mut after = None;
    loop {
        let page: KeysAnswer = hub.get(KEYS, &json!({"tenant": tenant, "after": after})).await?;
        for key in page.keys {
            if place.json {
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
    if place.json { Ok(()) } else { table.write(streams) }
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

fn write(key: &KeyView, place: &PlaceArgs, streams: &Streams) -> Result<(), Failure> {
    if place.json { write_json(streams, key) } else { write_facts(streams, &facts(key)) }
}

/// The key alone goes to the output, so that a script can take it as it is.
fn write_new(made: &NewKeyAnswer, place: &PlaceArgs, streams: &Streams) -> Result<(), Failure> {
    if place.json {
        return write_json(streams, made);
    }
    streams.write(format!("{}\n", made.secret).as_bytes())?;
    streams.flush()?;
    streams.remark(format_args!("key {}: keep it, it is not shown again", made.key.id));
    Ok(())
}
