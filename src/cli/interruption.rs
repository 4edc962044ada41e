//! Handling of Ctrl-C.
//!
//! An interrupted command still has to erase the copy that it reads.

use std::panic::resume_unwind;

use tokio_util::sync::CancellationToken;

use super::failure::Failure;

/// Whether the command has been interrupted.
#[derive(Clone, Debug, Default)]
pub(super) struct Interruption(CancellationToken);

impl Interruption {
    /// Installs a handler for Ctrl-C. From then on, Ctrl-C does not end the process by itself.
    pub(super) fn on_ctrl_c() -> Self {
        let interruption = Self::default();
        let token = interruption.0.clone();
        tokio::spawn(async move {
            // If the handler cannot be installed, Ctrl-C still ends the process.
            if tokio::signal::ctrl_c().await.is_ok() {
                token.cancel();
            }
        });
        interruption
    }

    /// Fails if the command has been interrupted.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.is_cancelled() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Does `work`, or fails when the command is interrupted.
    pub(super) async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => Err(Failure::Interrupted),
            done = work => done,
        }
    }
}

/// Does blocking `work` on a thread for it.
pub(super) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
