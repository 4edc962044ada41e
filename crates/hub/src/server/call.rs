//! The table of what the hub serves, and to whom.

use axum::routing::{MethodRouter, get, on, post};
use vectorizer_hivehub::{POLICIES_PATH, QUOTA_PATH, USAGE_PATH, VALIDATE_PATH};

use super::admin::{keys, plans, service_keys, tenants};
use super::{Served, internal, ledger, policies, usage};

/// Who may make a call, and by which key it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A Vectorizer server: the header `X-Service-Key`.
    Service,
    /// The operator: `Authorization: Bearer`, an ADMIN key of cluster scope.
    Operator,
}

/// Everything that can be asked of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Who holds this key?
    Validate,
    /// What may this tenant use?
    Quota,
    /// What has changed?
    Policies,
    /// This was used.
    Report,
    /// What did this tenant use, event by event?
    UsageForService,
    /// What does that add up to?
    TotalsForService,
    /// Which plans are there?
    ListPlans,
    /// What does this plan allow?
    ShowPlan,
    /// This plan allows so much.
    SetPlan,
    /// Which tenants are there?
    ListTenants,
    /// There is a new tenant.
    CreateTenant,
    /// What is known of this tenant?
    ShowTenant,
    /// This tenant is on another plan, or called otherwise.
    SetTenant,
    /// Its data may go.
    DeleteTenant,
    /// It is not to be served for now.
    SuspendTenant,
    /// It is to be served again.
    ResumeTenant,
    /// Its deletion is taken back.
    UndeleteTenant,
    /// What did it use, event by event?
    Usage,
    /// What does that add up to?
    Totals,
    /// Which keys are there?
    ListKeys,
    /// A new key, please.
    CreateKey,
    /// What is known of this key?
    ShowKey,
    /// A key in its place, please.
    RotateKey,
    /// It gives no rights any more.
    RevokeKey,
    /// By which keys are servers known?
    ListServiceKeys,
    /// Another one, beside those before for a while.
    RotateServiceKey,
    /// Servers are known by it no more.
    RevokeServiceKey,
}

impl Call {
    /// Every call.
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

    /// Its path; `{id}` and `{name}` stand for what is meant.
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

    /// Its method.
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

    /// Who may make it.
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

    /// Whether it has limits of its own on the time it takes.
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
