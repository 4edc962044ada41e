//! Ctrl-C.
//!
//! A command that is interrupted still has something to do: erase the copy it reads from.

use std::panic::resume_unwind;

use tokio_util::sync::CancellationToken;

use super::failure::Failure;

/// Whether the command has been interrupted.
#[derive(Clone, Debug, Default)]
pub(super) struct Interruption(CancellationToken);

impl Interruption {
    /// Listens for Ctrl-C from now on, which no longer ends the process by itself.
    pub(super) fn on_ctrl_c() -> Self {
        let interruption = Self::default();
        let token = interruption.0.clone();
        tokio::spawn(async move {
            // Without a handler Ctrl-C goes on ending the process, which is good enough.
            if tokio::signal::ctrl_c().await.is_ok() {
                token.cancel();
            }
        });
        interruption
    }

    /// Fails once it came.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.is_cancelled() { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Does `work` unless it comes first.
    pub(super) async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.0.cancelled() => Err(Failure::Interrupted),
            done = work => done,
        }
    }
}

/// Does `work` where it may block.
pub(super) async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
