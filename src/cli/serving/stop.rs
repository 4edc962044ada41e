//! The signals that stop a server.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Returns a future that is ready at the first SIGINT (Ctrl-C) or SIGTERM. After that, a second signal ends the process
/// at once. Acknowledged data is durable in any case.
///
/// SIGHUP does not end the process any more: `server::tls` reloads certificates then.
pub(super) fn requested() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            info!("SIGHUP: reloading certificates, if there are any; other changes need a restart");
        }
    });
    Ok(async move {
        either(&mut interrupt, &mut terminate).await;
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            warn!("received a second signal: stopping at once");
            // The exit code that a shell reports for a process ended by SIGINT.
            std::process::exit(130);
        });
    })
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
