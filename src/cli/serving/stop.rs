//! Being asked to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// Also has SIGHUP end nothing, from here on: what can be read again without a restart are certificates, which
/// `server::tls` sees to.
///
/// Ready at the first Ctrl-C or SIGTERM. From then on a second one ends the process at once: what was
/// acknowledged is durable in any case.
pub(super) fn asked() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            info!("SIGHUP: certificates are read again, if there are any; all else needs a restart");
        }
    });
    Ok(async move {
        either(&mut interrupt, &mut terminate).await;
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            warn!("asked to stop a second time: stopping at once");
            // As a shell reports a process that SIGINT has ended.
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
