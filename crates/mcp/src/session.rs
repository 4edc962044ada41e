//! The context of a message: its caller, and the memory that it holds.

use std::sync::Arc;

use vectorizer_access::Operation;
use vectorizer_engine::admission::McpPass;
use vectorizer_engine::tenancy::Share;
use vectorizer_service::{Access, Error, Input, MemoryPermit, Readmission, Service};

use super::failure::Failure;
use super::ranking::Rankings;

/// The caller of a message.
pub struct Caller {
    /// The service.
    pub service: Service,
    /// The access to tools.
    pub pass: Arc<McpPass>,
    /// Repeats the access check.
    pub readmission: Readmission,
    /// The memory permit of the message and of everything derived from it.
    pub held: Arc<MemoryPermit>,
    /// The share of the caller's tenant.
    pub share: Share,
}

/// The context of a message that is being answered. Cheap to clone.
#[derive(Clone)]
pub(super) struct Session(Arc<Inner>);

struct Inner {
    caller: Caller,
    rankings: Rankings,
}

impl Session {
    pub(super) fn new(caller: Caller, rankings: Rankings) -> Self {
        Self(Arc::new(Inner { caller, rankings }))
    }

    /// The service.
    pub(super) fn service(&self) -> &Service {
        &self.0.caller.service
    }

    /// The cached rankings.
    pub(super) fn rankings(&self) -> &Rankings {
        &self.0.rankings
    }

    pub(super) fn readmission(&self) -> &Readmission {
        &self.0.caller.readmission
    }

    /// Whether the caller's key permits this operation.
    pub(super) fn may(&self, operation: Operation) -> bool {
        self.0.caller.pass.may(operation)
    }

    /// Admits the caller to an operation. It counts as one request.
    pub(super) async fn enter(&self, operation: Operation) -> Result<Access, Error> {
        self.service().admit_tool(&self.0.caller.pass, operation).await
    }

    /// Does work on this many bytes of the message, on a pool if they are many.
    pub(super) async fn work<T, E>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let Caller { service, held, share, .. } = &self.0.caller;
        service.work(share, bytes, Arc::clone(held), work).await
    }

    /// The arguments of an operation, which `read` parses.
    pub(super) fn input<T>(
        &self,
        sent: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<T, Error> + Send + 'static,
    ) -> Input<T> {
        let held = Some(Arc::clone(&self.0.caller.held));
        Input::new(sent.len(), held, move || read(&sent))
    }

    /// Arguments that are parsed already.
    pub(super) fn parsed<T: Send + 'static>(&self, arguments: T) -> Input<T> {
        Input::new(0, Some(Arc::clone(&self.0.caller.held)), move || Ok(arguments))
    }

    /// Empty arguments.
    pub(super) fn nothing(&self) -> Input<()> {
        self.parsed(())
    }
}

impl Failure {
    /// The tool requires an access that its operation does not grant.
    pub(super) fn wrong_access() -> Self {
        tracing::error!("a tool requires another access than its operation grants");
        Error::internal().into()
    }
}
