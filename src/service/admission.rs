//! From a key to the right to one operation: the access check, then the handle that reaches exactly as far.

use std::sync::Arc;

use tracing::{Span, warn};
use vectorizer_log::TenantId;

use super::Service;
use super::error::Error;
use crate::audit::Refused;
use crate::auth::{
    self, AccessCheck, Admin, Admission, Asked, ClusterPass, Denial, Denied, Holds, McpPass, Operation, Pass,
    Reach, Read, Write,
};
use crate::limits::RateReport;
use crate::tenancy::{Share, Tenant};

/// The right to one operation, one request long. Only [`Service::admit`] and [`Service::admit_tool`] make one.
pub enum Access {
    /// The operation needs no right.
    Public,
    /// To read a tenant's data.
    Read(Arc<Tenant<Read>>),
    /// To write a tenant's vectors.
    Write(Arc<Tenant<Write>>),
    /// To administrate a tenant's collections, and to read its log.
    Admin(Arc<Tenant<Admin>>),
    /// To operate the node.
    Cluster(Arc<ClusterPass>),
    /// To know what one's own key is.
    Holder(Holds),
    /// To ask for tools.
    Mcp(Arc<McpPass>),
}

/// Whether a request is let in.
pub struct Admitted {
    /// The right that it has.
    pub access: Result<Access, Error>,
    /// How its tenant's limits stand now, if it has a tenant and that has limits.
    pub rate: Option<RateReport>,
}

impl Service {
    /// Admits a caller to one operation of one request, and charges its tenant for it. `bearer` is the key that was
    /// sent; nothing else about a request gives any right. A refused request never gets near a tenant's data.
    pub async fn admit(&self, asked: &Asked, bearer: Option<&str>) -> Admitted {
        let auth::Admitted { outcome, rate } = self.access().admit(asked, bearer).await;
        let access = match outcome {
            Ok(admission) => self.enter_by(asked.operation, admission).await,
            Err(denied) => Err(self.refuse(denied, asked)),
        };
        Admitted { access, rate }
    }

    /// Admits a caller who may use tools to the operation of one tool. It counts as one request to the bill.
    ///
    /// # Errors
    /// Those of a key that does not reach as far, and of a tenant that cannot be woken.
    pub async fn admit_tool(&self, pass: &McpPass, operation: Operation) -> Result<Access, Error> {
        match pass.permit(operation) {
            Ok(admission) => self.enter_by(operation, admission).await,
            Err(denied) => Err(self.refuse(denied, &Asked { operation, ..pass.asked().clone() })),
        }
    }

    /// What the tenant may take up of the node's memory and cores.
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

    async fn enter_by(&self, operation: Operation, admission: Admission) -> Result<Access, Error> {
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
                warn!(%error, "the tenant is not served");
                Err(Error::from(error.as_ref()))
            }
        }
    }
}

/// Asks again whether a caller would still be let in, for requests that take long.
#[derive(Clone)]
pub struct Readmission {
    access: AccessCheck,
    operation: Operation,
    bearer: Option<String>,
}

impl Readmission {
    /// Of a caller that was admitted to `operation` with this key.
    pub fn new(service: &Service, operation: Operation, bearer: Option<String>) -> Self {
        Self { access: service.access().clone(), operation, bearer }
    }

    /// Whether the caller would be let in now.
    pub async fn is_granted(&self) -> bool {
        self.check().await.is_ok()
    }

    /// The same, and why not.
    ///
    /// # Errors
    /// Those of a key that is not valid any more.
    pub async fn check(&self) -> Result<(), Error> {
        Ok(self.access.still_admits(self.operation, self.bearer.as_deref()).await?)
    }
}
