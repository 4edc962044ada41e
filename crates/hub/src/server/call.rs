//! The table of the hub's calls, and of their callers.

use axum::routing::{MethodRouter, get, on, post};
use vectorizer_hivehub::{POLICIES_PATH, QUOTA_PATH, USAGE_PATH, VALIDATE_PATH};

use super::admin::{keys, plans, service_keys, tenants};
use super::{Served, internal, ledger, policies, usage};

/// Who may make a call, and the key that authenticates the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A Vectorizer server. Sends a service key in the header `X-Service-Key`.
    Service,
    /// The operator. Sends an ADMIN key of cluster scope in `Authorization: Bearer`.
    Operator,
}

/// The calls of a hub's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Validates a key and returns its holder.
    Validate,
    /// Returns a tenant's quota.
    Quota,
    /// Returns the events of the policy feed after a cursor.
    Policies,
    /// Reports usage.
    Report,
    /// Lists a tenant's usage events, for a server.
    UsageForService,
    /// Returns the totals of a tenant's usage events, for a server.
    TotalsForService,
    /// Lists the plans.
    ListPlans,
    /// Returns a plan.
    ShowPlan,
    /// Sets the quota of a plan.
    SetPlan,
    /// Lists the tenants.
    ListTenants,
    /// Creates a tenant.
    CreateTenant,
    /// Returns a tenant.
    ShowTenant,
    /// Changes a tenant's name, plan, overrides or deployment.
    SetTenant,
    /// Deletes a tenant. Afterwards its data may be erased.
    DeleteTenant,
    /// Suspends a tenant: it is not served until it is resumed.
    SuspendTenant,
    /// Resumes a suspended tenant.
    ResumeTenant,
    /// Undoes the deletion of a tenant.
    UndeleteTenant,
    /// Lists a tenant's usage events, for the operator.
    Usage,
    /// Returns the totals of a tenant's usage events, for the operator.
    Totals,
    /// Lists the keys.
    ListKeys,
    /// Creates a key.
    CreateKey,
    /// Returns a key, without its secret.
    ShowKey,
    /// Creates a key that replaces another one.
    RotateKey,
    /// Revokes a key: it gives no rights any more.
    RevokeKey,
    /// Lists the service keys.
    ListServiceKeys,
    /// Creates a service key. The earlier ones stay valid for a while.
    RotateServiceKey,
    /// Revokes a service key: servers cannot authenticate with it any more.
    RevokeServiceKey,
}

impl Call {
    /// All calls.
    pub const ALL: [Self; 27] = [
        Self::Validate,
        Self::Quota,
        Self::Policies,
        Self::Report,
        Self::UsageForService,
        Self::TotalsForService,
        Self::ListPlans,
        Self::ShowPlan,
        Self::SetPlan,
        Self::ListTenants,
        Self::CreateTenant,
        Self::ShowTenant,
        Self::SetTenant,
        Self::DeleteTenant,
        Self::SuspendTenant,
        Self::ResumeTenant,
        Self::UndeleteTenant,
        Self::Usage,
        Self::Totals,
        Self::ListKeys,
        Self::CreateKey,
        Self::ShowKey,
        Self::RotateKey,
        Self::RevokeKey,
        Self::ListServiceKeys,
        Self::RotateServiceKey,
        Self::RevokeServiceKey,
    ];

    /// The path of the call. `{id}` and `{name}` are path parameters.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Validate => VALIDATE_PATH,
            Self::Quota => QUOTA_PATH,
            Self::Policies => POLICIES_PATH,
            Self::Report => USAGE_PATH,
            Self::UsageForService => "/api/internal/vectorizer/tenants/{id}/usage",
            Self::TotalsForService => "/api/internal/vectorizer/tenants/{id}/usage/totals",
            Self::ListPlans => "/api/admin/plans",
            Self::ShowPlan | Self::SetPlan => "/api/admin/plans/{name}",
            Self::ListTenants | Self::CreateTenant => "/api/admin/tenants",
            Self::ShowTenant | Self::SetTenant | Self::DeleteTenant => "/api/admin/tenants/{id}",
            Self::SuspendTenant => "/api/admin/tenants/{id}/suspend",
            Self::ResumeTenant => "/api/admin/tenants/{id}/resume",
            Self::UndeleteTenant => "/api/admin/tenants/{id}/undelete",
            Self::Usage => "/api/admin/tenants/{id}/usage",
            Self::Totals => "/api/admin/tenants/{id}/usage/totals",
            Self::ListKeys | Self::CreateKey => "/api/admin/keys",
            Self::ShowKey => "/api/admin/keys/{id}",
            Self::RotateKey => "/api/admin/keys/{id}/rotate",
            Self::RevokeKey => "/api/admin/keys/{id}/revoke",
            Self::ListServiceKeys => "/api/admin/service-keys",
            Self::RotateServiceKey => "/api/admin/service-keys/rotate",
            Self::RevokeServiceKey => "/api/admin/service-keys/{id}/revoke",
        }
    }

    /// The HTTP method of the call.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Quota
            | Self::Policies
            | Self::UsageForService
            | Self::TotalsForService
            | Self::ListPlans
            | Self::ShowPlan
            | Self::ListTenants
            | Self::ShowTenant
            | Self::Usage
            | Self::Totals
            | Self::ListKeys
            | Self::ShowKey
            | Self::ListServiceKeys => "GET",
            Self::Validate
            | Self::Report
            | Self::CreateTenant
            | Self::SuspendTenant
            | Self::ResumeTenant
            | Self::UndeleteTenant
            | Self::CreateKey
            | Self::RotateKey
            | Self::RevokeKey
            | Self::RotateServiceKey
            | Self::RevokeServiceKey => "POST",
            Self::SetPlan => "PUT",
            Self::SetTenant => "PATCH",
            Self::DeleteTenant => "DELETE",
        }
    }

    /// Who may make the call.
    pub const fn caller(self) -> Caller {
        match self {
            Self::Validate
            | Self::Quota
            | Self::Policies
            | Self::Report
            | Self::UsageForService
            | Self::TotalsForService => Caller::Service,
            Self::ListPlans
            | Self::ShowPlan
            | Self::SetPlan
            | Self::ListTenants
            | Self::CreateTenant
            | Self::ShowTenant
            | Self::SetTenant
            | Self::DeleteTenant
            | Self::SuspendTenant
            | Self::ResumeTenant
            | Self::UndeleteTenant
            | Self::Usage
            | Self::Totals
            | Self::ListKeys
            | Self::CreateKey
            | Self::ShowKey
            | Self::RotateKey
            | Self::RevokeKey
            | Self::ListServiceKeys
            | Self::RotateServiceKey
            | Self::RevokeServiceKey => Caller::Operator,
        }
    }

    /// Whether the call limits its time itself, so that the general time limit does not apply.
    pub(super) const fn takes_its_time(self) -> bool {
        matches!(self, Self::Policies | Self::Report)
    }

    pub(super) fn handler(self) -> MethodRouter<Served> {
        use axum::routing::MethodFilter;
        match self {
            Self::Validate => post(internal::validate),
            Self::Quota => get(internal::quota),
            Self::Policies => get(policies::policies),
            Self::Report => post(usage::report),
            Self::UsageForService | Self::Usage => get(ledger::usage),
            Self::TotalsForService | Self::Totals => get(ledger::totals),
            Self::ListPlans => get(plans::list),
            Self::ShowPlan => get(plans::show),
            Self::SetPlan => on(MethodFilter::PUT, plans::set),
            Self::ListTenants => get(tenants::list),
            Self::CreateTenant => post(tenants::create),
            Self::ShowTenant => get(tenants::show),
            Self::SetTenant => on(MethodFilter::PATCH, tenants::set),
            Self::DeleteTenant => on(MethodFilter::DELETE, tenants::delete),
            Self::SuspendTenant => post(tenants::suspend),
            Self::ResumeTenant => post(tenants::resume),
            Self::UndeleteTenant => post(tenants::undelete),
            Self::ListKeys => get(keys::list),
            Self::CreateKey => post(keys::create),
            Self::ShowKey => get(keys::show),
            Self::RotateKey => post(keys::rotate),
            Self::RevokeKey => post(keys::revoke),
            Self::ListServiceKeys => get(service_keys::list),
            Self::RotateServiceKey => post(service_keys::rotate),
            Self::RevokeServiceKey => post(service_keys::revoke),
        }
    }
}
