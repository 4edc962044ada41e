//! One message: the right to ask for tools, and the memory that it holds.

use std::sync::Arc;

use super::failure::Failure;
use super::ranking::Rankings;
use crate::auth::{McpPass, Operation};
use crate::service::{Access, Error, HeldMemory, Input, Readmission, Service};
use crate::tenancy::Share;

/// Who sent a message, and what it holds.
pub struct Caller {
    /// The operations.
    pub service: Service,
    /// The right to ask for tools.
    pub pass: Arc<McpPass>,
    /// Asks again whether the caller would still be let in.
    pub readmission: Readmission,
    /// What was charged for the message, and so for all that is made of it.
    pub(crate) held: Arc<HeldMemory>,
    /// What the caller's tenant may take up.
    pub share: Share,
}

/// A message that is being answered. Cheap to clone.
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

    /// The operations.
    pub(super) fn service(&self) -> &Service {
        &self.0.caller.service
    }

    /// The rankings that searches go on through.
    pub(super) fn rankings(&self) -> &Rankings {
        &self.0.rankings
    }

    pub(super) fn readmission(&self) -> &Readmission {
        &self.0.caller.readmission
    }

    /// Whether its key may ask for this.
    pub(super) fn may(&self, operation: Operation) -> bool {
        self.0.caller.pass.may(operation)
    }

    /// The right to one operation, which counts as one request.
    pub(super) async fn enter(&self, operation: Operation) -> Result<Access, Error> {
        self.service().admit_tool(&self.0.caller.pass, operation).await
    }

    /// Does work on so many bytes of the message: in turns and off the async threads if they are many.
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
        let held = Arc::clone(held);
        let work = move || {
            let done = work();
            drop(held);
            done
        };
        service.work_pools().run(share, bytes, work).await
    }

    /// The arguments of an operation that `read` makes of what was sent.
    pub(super) fn input<T>(
        &self,
        sent: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<T, Error> + Send + 'static,
    ) -> Input<T> {
        let held = Some(Arc::clone(&self.0.caller.held));
        Input::new(sent.len(), held, move || read(&sent))
    }

    /// No arguments.
    pub(super) fn nothing(&self) -> Input<()> {
        self.input(Vec::new(), |_| Ok(()))
    }
}

impl Failure {
    /// The tool asks for a right that its operation does not give.
    pub(super) fn no_right() -> Self {
        tracing::error!("a tool asks for another right than its operation gives");
        Error::internal().into()
    }
}
