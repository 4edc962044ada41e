//! The operations for callers who do not speak REST: the same handlers, checks and limits behind the same gate.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Extensions, StatusCode};
use tower::ServiceExt as _;
use vectorizer_log::Seq;

use super::answer::TENANT_BYTES_MAX;
use super::middleware::auth::{Readmission, enter_by};
use super::problem::Problem;
use super::{App, location, served};
use crate::audit::Refused;
use crate::auth::{Admin, McpPass, Operation};
use crate::tenancy::Tenant;

/// One request over MCP: the right to ask for operations, as far as its key reaches, and the way there.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    app: App,
    pass: Arc<McpPass>,
    readmission: Readmission,
}

impl Session {
    pub(super) fn new(app: App, pass: Arc<McpPass>, readmission: Readmission) -> Self {
        Self(Arc::new(Inner { app, pass, readmission }))
    }

    /// Whether its key may ask for this.
    pub fn may(&self, operation: Operation) -> bool {
        self.0.pass.may(operation)
    }

    /// Comes in for one operation, which is one request to meter and counts as such. What is refused is in the audit.
    pub async fn enter(&self, operation: Operation) -> Result<Entered, Problem> {
        let Inner { app, pass, readmission } = &*self.0;
        let admission = pass.permit(operation).map_err(|denied| {
            if let Some(refused) = Refused::of(&denied, operation, pass.asked().from) {
                app.shared.tenancy.audit().note(refused);
            }
            Problem::from(denied.denial)
        })?;
        let mut extensions = Extensions::new();
        enter_by(app, operation, admission, &mut extensions).await?;
        extensions.insert(readmission.clone());
        Ok(Entered { app: app.clone(), operation, extensions })
    }
}

/// The right to one operation.
pub struct Entered {
    app: App,
    operation: Operation,
    extensions: Extensions,
}

impl Entered {
    /// Where the tenant's log ends, for an operation that may read it.
    pub fn log_end(&self) -> Result<Seq, Problem> {
        let tenant = self.extensions.get::<Arc<Tenant<Admin>>>().ok_or_else(Problem::internal)?;
        Ok(tenant.head().0.seq)
    }

    /// Asks for the operation at this path, with this body, as over REST; the whole answer, or the problem.
    pub async fn ask(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Vec<u8>, Problem> {
        let (method, template) = location(self.operation);
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // A header that is none is the caller's.
        let mut request = request.body(body).map_err(|error| {
            Problem::malformed("invalid-argument", format!("it cannot be asked for: {error}"))
        })?;
        *request.extensions_mut() = self.extensions.clone();
        let route = Router::new().route(template, served(self.operation)).with_state(self.app.clone());
        let mut response = match route.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
            return Err(Arc::unwrap_or_clone(problem));
        }
        if !response.status().is_success() {
            tracing::error!(status = response.status().as_u16(), "an operation has failed without a problem");
            return Err(Problem::internal());
        }
        // No operation that is asked for here makes a larger answer.
        let body = axum::body::to_bytes(response.into_body(), TENANT_BYTES_MAX).await;
        body.map(Into::into).map_err(|error| {
            tracing::error!(%error, "an operation's answer broke off");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer broke off")
        })
    }
}
