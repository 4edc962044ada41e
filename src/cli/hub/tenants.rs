//! `hub tenants`.

use clap::{Args, Subcommand};
use serde_json::json;
use vectorizer_hivehub::{DeploymentName, TenantStatus};
use vectorizer_hub::models::{CreateTenant, SetTenant, TenantView, TenantsAnswer};
use vectorizer_hub::{DisplayName, Limits, PlanName};
use vectorizer_log::TenantId;

use super::connection::ConnectionArgs;
use super::limits::{LimitArgs, NAMES, warn_of_unreachable, words};
use super::table::{Table, write_facts};
use super::{moment, word, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;

const TENANTS: &str = "/api/admin/tenants";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum TenantsCommand {
    /// List the tenants
    List(ListArgs),
    /// Show a tenant and its limits
    Show(OneArgs),
    /// Create a tenant; a deleted tenant that is created again starts empty and without keys
    Create(CreateArgs),
    /// Change a tenant's name, plan and limits; values that are not given stay as they are
    Set(SetArgs),
    /// Suspend a tenant: servers deny its requests until it is resumed
    Suspend(OneArgs),
    /// Resume a suspended tenant
    Resume(OneArgs),
    /// Delete a tenant: its keys become invalid, and servers erase its data after the grace period
    Delete(OneArgs),
    /// Undo the deletion of a tenant within the grace period: it has its data and its keys again
    Undelete(OneArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// List only deleted tenants, with the time until which each can be undeleted
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneArgs {
    /// The tenant
    tenant: TenantId,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// The tenant's id: lower-case letters, digits, `_` and `-`
    tenant: TenantId,
    /// Its plan, which has to exist
    #[arg(long)]
    plan: PlanName,
    /// Its display name; by default its id
    #[arg(long)]
    name: Option<DisplayName>,
    /// The deployment that serves it (`cluster.deployment` of its nodes); by default any
    #[arg(long, value_name = "NAME")]
    deployment: Option<DeploymentName>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// The tenant
    tenant: TenantId,
    /// Its plan
    #[arg(long)]
    plan: Option<PlanName>,
    /// Its display name
    #[arg(long)]
    name: Option<DisplayName>,
    /// The deployment that serves it: nodes of another deployment deny its requests
    #[arg(long, value_name = "NAME")]
    deployment: Option<DeploymentName>,
    /// Let any deployment serve it
    #[arg(long, conflicts_with = "deployment")]
    any_deployment: bool,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) async fn run(command: TenantsCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        TenantsCommand::List(args) => list(args, streams).await,
        TenantsCommand::Show(OneArgs { tenant, connection }) => {
            let shown = connection.open().await?.get(&format!("{TENANTS}/{tenant}"), &()).await?;
            write(&shown, &connection, streams)
        }
        TenantsCommand::Create(CreateArgs { tenant: id, plan, name, deployment, limits, connection }) => {
            let mut overrides = Limits::default();
            limits.changes().apply(&mut overrides);
            let new = CreateTenant { id, name, plan, overrides, deployment };
            let created: TenantView = connection.open().await?.send("POST", TENANTS, &new).await?;
            warn_of_unreachable(&created.quota, streams);
            write(&created, &connection, streams)
        }
        TenantsCommand::Set(SetArgs {
            tenant,
            plan,
            name,
            deployment,
            any_deployment,
            limits,
            connection,
        }) => {
            let deployment = if any_deployment { Some(None) } else { deployment.map(Some) };
            let change = SetTenant { name, plan, overrides: limits.changes(), deployment };
            let set: TenantView =
                connection.open().await?.send("PATCH", &format!("{TENANTS}/{tenant}"), &change).await?;
            warn_of_unreachable(&set.quota, streams);
            write(&set, &connection, streams)
        }
        TenantsCommand::Suspend(args) => change_state(args, "POST", "/suspend", streams).await,
        TenantsCommand::Resume(args) => change_state(args, "POST", "/resume", streams).await,
        TenantsCommand::Delete(args) => change_state(args, "DELETE", "", streams).await,
        TenantsCommand::Undelete(args) => change_state(args, "POST", "/undelete", streams).await,
    }
}

async fn change_state(args: OneArgs, method: &str, what: &str, streams: &Streams) -> Result<(), Failure> {
    let OneArgs { tenant, connection } = args;
    let told = connection.open().await?.call(method, &format!("{TENANTS}/{tenant}{what}")).await?;
    write(&told, &connection, streams)
}

async fn list(ListArgs { deleted, connection }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let hub = connection.open().await?;
    let dated = if deleted { ["deleted", "can be undeleted until"] } else { ["created", "deployment"] };
    let mut table = Table::new(["tenant", "status", "plan", "name", dated[0], dated[1]]);
    let mut after = None;
    loop {
        let page: TenantsAnswer = hub.get(TENANTS, &json!({"after": after})).await?;
        for tenant in page.tenants {
            if deleted && tenant.status != TenantStatus::Deleted {
                continue;
            }
            if connection.json {
                write_json(streams, &tenant)?;
            } else {
                let TenantView { id, name, plan, status, created_at, deployment, .. } = tenant;
                let [first, second] = if deleted {
                    [moment(tenant.deleted_at, "-"), moment(tenant.undelete_until, "-")]
                } else {
                    [moment(created_at, "-"), deployment.map_or_else(|| "(any)".to_owned(), String::from)]
                };
                table.row([id.to_string(), word(&status), plan.to_string(), name.to_string(), first, second]);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if connection.json { Ok(()) } else { table.write(streams) }
}

fn write(tenant: &TenantView, connection: &ConnectionArgs, streams: &Streams) -> Result<(), Failure> {
    if connection.json {
        return write_json(streams, tenant);
    }
    let mut facts = vec![
        ("tenant", tenant.id.to_string()),
        ("name", tenant.name.to_string()),
        ("status", word(&tenant.status)),
        ("plan", tenant.plan.to_string()),
        ("created", moment(tenant.created_at, "-")),
        ("deployment", tenant.deployment.as_ref().map_or_else(|| "(any)".to_owned(), ToString::to_string)),
    ];
    if tenant.status == TenantStatus::Deleted {
        facts.push(("deleted", moment(tenant.deleted_at, "-")));
        facts.push(("can be undeleted until", moment(tenant.undelete_until, "-")));
    }
    let overridden = words(&tenant.overrides, "").map(|own| if own.is_empty() { "" } else { "  (its own)" });
    let quota = words(&tenant.quota, "default").into_iter().zip(overridden);
    facts.extend(NAMES.into_iter().zip(quota.map(|(number, own)| format!("{number}{own}"))));
    write_facts(streams, &facts)
}
