//! The end: what is under way may end, within limits.

use std::process::ExitCode;
use std::time::Duration;

use proxy::{Addresses, Proxy};

use super::signals::{Exit, Signals};
use crate::check::plural;
use crate::failure::Failure;

/// Waits until every exchange has ended, until `limit` is over, or until a second signal; `asked` if
/// there was a first one. Another process accepts at the addresses in `kept`.
pub(super) async fn drain(
    proxy: Proxy,
    kept: Addresses,
    asked: bool,
    signals: &mut Signals,
    limit: Duration,
) -> Result<ExitCode, Failure> {
    let ended = async {
        proxy.drain(kept.into()).await;
        proxy.wait_idle().await;
    };
    tokio::select! {
        () = ended => tracing::info!("everything has ended"),
        () = tokio::time::sleep(limit) => {
            let cut = plural(proxy.connections(), "connection");
            let sessions = match proxy.sessions() {
                0 => String::new(),
                count => format!(" and {} of UDP", plural(count, "session")),
            };
            tracing::warn!("not everything has ended after {limit:?}: {cut}{sessions} cut");
        }
        exit = second(signals, asked) => {
            tracing::warn!("a second {}: ending at once", exit.name());
            return Ok(exit.code());
        }
    }
    proxy.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits for the second signal that asks to end. To a process that was replaced, the first one may
/// come a moment too late to ask for anything, and must not cut what is under way.
async fn second(signals: &mut Signals, asked: bool) -> Exit {
    if !asked {
        let exit = signals.end().await;
        tracing::info!(
            "{}: it is ending already; a second signal ends it at once",
            exit.name()
        );
    }
    signals.end().await
}
