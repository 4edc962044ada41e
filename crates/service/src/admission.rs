//! Admission: the access check of a key, and the handle with exactly the access that the operation needs.

use std::sync::Arc;

use tracing::{Span, warn};
use vectorizer_access::{Asked, Denial, Denied, Operation};
use vectorizer_engine::admission::{
    self, AccessCheck, Admin, Admission, ClusterPass, Holds, McpPass, Pass, Reach, Read, Write,
};
use vectorizer_engine::audit::Refused;
use vectorizer_engine::tenancy::{Share, Tenant};
use vectorizer_limits::RateReport;
use vectorizer_log::TenantId;

use super::Service;
use super::error::Error;

/// The access to one operation, for one request. Only [`Service::admit`] and [`Service::admit_tool`] create one.
pub enum Access {
    /// The operation is public.
    Public,
    /// Reading a tenant's data.
    Read(Arc<Tenant<Read>>),
    /// Writing a tenant's vectors.
    Write(Arc<Tenant<Write>>),
    /// Administrating a tenant's collections, and reading its log.
    Admin(Arc<Tenant<Admin>>),
    /// Operating the node.
    Cluster(Arc<ClusterPass>),
    /// Reading the facts about the caller's own key.
    Holder(Holds),
    /// Calling MCP tools.
    Mcp(Arc<McpPass>),
}

/// The result of the access check.
pub struct Admitted {
    /// The access, or why it is denied.
    pub access: Result<Access, Error>,
    /// The state of the tenant's rate limits, if there is a tenant with limits.
    pub rate: Option<RateReport>,
}

impl Service {
    /// Admits a caller to one operation for one request, and counts the request. `bearer` is the caller's key; nothing
    /// else in a request grants access. A denied request never reaches a tenant's data.
    pub async fn admit(&self, asked: &Asked, bearer: Option<&str>) -> Admitted {
        let admission::Admitted { outcome, rate } = self.access().admit(asked, bearer).await;
        let access = match outcome {
            Ok(admission) => self.grant(asked.operation, admission).await,
            Err(denied) => Err(self.refuse(denied, asked)),
        };
        Admitted { access, rate }
    }

    /// Admits an MCP caller to the operation of a tool. The bill counts it as one request.
    ///
    /// # Errors
    /// The key does not permit the operation, or the tenant cannot be woken.
    pub async fn admit_tool(&self, pass: &McpPass, operation: Operation) -> Result<Access, Error> {
        match pass.permit(operation) {
            Ok(admission) => self.grant(operation, admission).await,
            Err(denied) => Err(self.refuse(denied, &Asked { operation, ..pass.asked().clone() })),
        }
    }

    /// The tenant's share of the node's memory and cores.
    pub fn share(&self, tenant: &TenantId) -> Share {
        self.tenancy().share(tenant)
    }

    fn refuse(&self, denied: Denied, asked: &Asked) -> Error {
        if let (Denial::TooManyRequests { .. }, Some(tenant)) = (&denied.denial, &denied.tenant) {
            self.metrics().rate_limit_exceeded(tenant);
        }
        if let Some(refused) = Refused::of(&denied, asked.operation, asked.from) {
            self.tenancy().audit().note(refused);
        }
        denied.denial.into()
    }

    async fn grant(&self, operation: Operation, admission: Admission) -> Result<Access, Error> {
        Ok(match admission {
            Admission::Public => Access::Public,
            Admission::Read(pass) => Access::Read(self.enter(operation, pass).await?),
            Admission::Write(pass) => Access::Write(self.enter(operation, pass).await?),
            Admission::Admin(pass) => Access::Admin(self.enter(operation, pass).await?),
            Admission::Cluster(pass) => Access::Cluster(Arc::new(pass)),
            Admission::Holder(holds) => {
                if let Some(tenant) = holds.tenant() {
                    self.metrics().requested(tenant, operation);
                }
                Access::Holder(holds)
            }
            Admission::Mcp(pass) => Access::Mcp(Arc::new(pass)),
        })
    }

    async fn enter<L: Reach + Send + Sync + 'static>(
        &self,
        operation: Operation,
        pass: Pass<L>,
    ) -> Result<Arc<Tenant<L>>, Error> {
        Span::current().record("tenant", pass.tenant().as_str());
        match self.tenancy().enter(pass).await {
            Ok(tenant) => {
                tenant.requested(operation);
                Ok(Arc::new(tenant))
            }
            Err(error) => {
                warn!(%error, "the tenant is not available");
                Err(Error::from(error.as_ref()))
            }
        }
    }
}

/// Repeats the access check during long requests.
#[derive(Clone)]
pub struct Readmission {
    access: AccessCheck,
    operation: Operation,
    bearer: Option<String>,
}

impl Readmission {
    /// For a caller that was admitted to `operation` with this key.
    pub fn new(service: &Service, operation: Operation, bearer: Option<String>) -> Self {
        Self { access: service.access().clone(), operation, bearer }
    }

    /// Whether the caller is still admitted.
    pub async fn is_granted(&self) -> bool {
        self.check().await.is_ok()
    }

    /// Checks that the caller is still admitted.
    ///
    /// # Errors
    /// The key is not valid any more, or does not permit the operation.
    pub async fn check(&self) -> Result<(), Error> {
        Ok(self.access.still_admits(self.operation, self.bearer.as_deref()).await?)
    }
}
