//! The operations for callers who do not speak REST: the same handlers, checks and limits behind the same gate.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Extensions, StatusCode};
use serde_json::value::RawValue;
use tower::ServiceExt as _;
use vectorizer_log::{LogId, PointId, Seq};

use super::answer::{Show, TENANT_BYTES_MAX};
use super::body::{Charged, Received};
use super::middleware::auth::{Readmission, enter_by};
use super::problem::Problem;
use super::search::scored;
use super::{App, location, served};
use crate::audit::Refused;
use crate::auth::{Admin, McpPass, Operation, Read, Write};
use crate::mcp::Rankings;
use crate::tenancy::{Share, Tenant};

/// The way to each operation for whoever has the right to it: its own handler, without the gate. Made once; cheap to
/// clone.
#[derive(Clone)]
pub(super) struct Ways(Arc<HashMap<Operation, Router>>);

impl Ways {
    pub(super) fn new(app: &App) -> Self {
        let way =
            |operation| Router::new().route(location(operation).1, served(operation)).with_state(app.clone());
        Self(Arc::new(Operation::ALL.into_iter().map(|operation| (operation, way(operation))).collect()))
    }

    fn to(&self, operation: Operation) -> Result<Router, Problem> {
        self.0.get(&operation).cloned().ok_or_else(Problem::internal)
    }
}

/// One request over MCP: the right to ask for operations, as far as its key reaches, and the way there.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    app: App,
    ways: Ways,
    pass: Arc<McpPass>,
    readmission: Readmission,
    /// What was charged for the message, and with it for all that is made of it.
    charged: Charged,
    share: Share,
}

impl Session {
    pub(super) fn new(
        app: App,
        ways: Ways,
        pass: Arc<McpPass>,
        readmission: Readmission,
        message: &Received,
        share: Share,
    ) -> Self {
        let charged = Charged(message.taken());
        Self(Arc::new(Inner { app, ways, pass, readmission, charged, share }))
    }

    /// Does work on so many bytes of the message: in turns and off the async threads if they are many.
    pub async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let Inner { app, charged, share, .. } = &*self.0;
        let charged = charged.clone();
        let work = move || {
            let done = work();
            drop(charged);
            done
        };
        app.body_limits().parsers().run(share, bytes, work).await
    }

    /// The rankings that searches go on through.
    pub fn rankings(&self) -> &Rankings {
        self.0.app.shared.mcp.rankings()
    }

    /// Whether its key may ask for this.
    pub fn may(&self, operation: Operation) -> bool {
        self.0.pass.may(operation)
    }

    /// Comes in for one operation, which is one request to meter and counts as such. What is refused is in the audit.
    pub async fn enter(&self, operation: Operation) -> Result<Entered, Problem> {
        let Inner { app, ways, pass, readmission, charged, share: _ } = &*self.0;
        let admission = pass.permit(operation).map_err(|denied| {
            if let Some(refused) = Refused::of(&denied, operation, pass.asked().from) {
                app.shared.tenancy.audit().note(refused);
            }
            Problem::from(denied.denial)
        })?;
        let mut extensions = Extensions::new();
        enter_by(app, operation, admission, &mut extensions).await?;
        extensions.insert(readmission.clone());
        extensions.insert(charged.clone());
        Ok(Entered { operation, way: ways.to(operation)?, extensions, session: self.clone() })
    }
}

/// The right to one operation.
pub struct Entered {
    operation: Operation,
    way: Router,
    extensions: Extensions,
    session: Session,
}

impl Entered {
    /// The message that asks for it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The id of the tenant's log, which no other tenant has.
    pub fn log_id(&self) -> Result<LogId, Problem> {
        fn of<L: Send + Sync + 'static>(extensions: &Extensions) -> Option<LogId> {
            Some(extensions.get::<Arc<Tenant<L>>>()?.log_id())
        }
        let extensions = &self.extensions;
        of::<Read>(extensions)
            .or_else(|| of::<Write>(extensions))
            .or_else(|| of::<Admin>(extensions))
            .ok_or_else(Problem::internal)
    }

    /// The last change of a collection, for an operation that reads it.
    pub async fn last_change(&self, collection: &str) -> Result<Seq, Problem> {
        Ok(self.reader()?.collection(&collection.parse()?).await?.last_change)
    }

    /// Up to as many records as `wanted` takes, of those with these ids, in their order, as JSON with their scores;
    /// and the last change of the collection, of the same moment. `wanted` gets `None` for an id that no record has.
    pub async fn scored(
        &self,
        collection: &str,
        ranked: &[(&str, f32)],
        show: Show,
        mut wanted: impl FnMut(Option<Box<RawValue>>) -> bool,
    ) -> Result<Seq, Problem> {
        let ids = ranked.iter().map(|(id, _)| PointId::text(*id)).collect::<Result<Vec<_>, _>>()?;
        let (last_change, points) = self.reader()?.points(&collection.parse()?, ids.iter()).await?;
        for ((_, score), point) in ranked.iter().zip(points) {
            let record = point.map(|point| scored(&point, *score, show)).transpose()?;
            if !wanted(record) {
                break;
            }
        }
        Ok(last_change)
    }

    fn reader(&self) -> Result<&Tenant<Read>, Problem> {
        self.extensions.get::<Arc<Tenant<Read>>>().map(|tenant| &**tenant).ok_or_else(Problem::internal)
    }

    /// Where the tenant's log ends, for an operation that may read it.
    pub fn log_end(&self) -> Result<Seq, Problem> {
        let tenant = self.extensions.get::<Arc<Tenant<Admin>>>().ok_or_else(Problem::internal)?;
        Ok(tenant.head().0.seq)
    }

    /// Asks for the operation at this path, with this body, as over REST; the whole answer, or the problem.
    pub async fn ask(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Body,
    ) -> Result<Bytes, Problem> {
        let method = location(self.operation).0;
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body).map_err(|error| {
            tracing::error!(%error, "an operation cannot be asked for");
            Problem::internal()
        })?;
        *request.extensions_mut() = self.extensions.clone();
        let mut response = match self.way.clone().oneshot(request).await {
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
        body.map_err(|error| {
            tracing::error!(%error, "an operation's answer broke off");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer broke off")
        })
    }
}
