//! `narthex registry serve`: images for whoever asks.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::Plan;
use super::running::{Metrics, Running};
use crate::failure::Failure;
use crate::flags::registry::Serve;
use crate::log;
use crate::serve::Signals;

/// Serves until a signal ends it.
pub(super) fn run(flags: Serve) -> Result<ExitCode, Failure> {
    let plan = Plan::of(&flags)?;
    log::start(flags.log_format, &flags.log_level);
    let runtime = super::runtime()?;
    let done = runtime.block_on(serve(plan, flags.metrics_address));
    // Whatever a blocking thread still reads is of no interest any more.
    runtime.shutdown_background();
    done
}

async fn serve(plan: Plan, metrics_address: Option<SocketAddr>) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen(true)?;
    let mut shown = Registry::default();
    let metrics = Metrics::register(&mut shown);
    if let Some(address) = metrics_address {
        show(address, shown).await?;
    }
    let running = Running::open(&plan, metrics).await.map_err(Failure::from)?;
    let scheme = if plan.tls.is_some() { "https" } else { "http" };
    let (address, place) = (running.address(), &plan.place);
    tracing::info!("images of {place} are served at {scheme}://{address}");
    let end = async {
        let exit = signals.end().await;
        tracing::info!("{}: ending when what is under way has ended", exit.name());
    };
    running.serve(end).await;
    Ok(ExitCode::SUCCESS)
}

/// Serves metrics and health.
async fn show(address: SocketAddr, shown: Registry) -> Result<(), Failure> {
    use hyper::server::conn::http1;
    use hyper_util::rt::{TokioIo, TokioTimer};

    let listener = TcpListener::bind(address).await;
    let listener =
        listener.map_err(|error| Failure::new(format!("{address} cannot be bound: {error}")))?;
    let shown = Arc::new(shown);
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                continue;
            };
            let shown = Arc::clone(&shown);
            let service = hyper::service::service_fn(move |request: http::Request<_>| {
                let answer = page(request.uri().path(), &shown);
                let _: &hyper::body::Incoming = request.body();
                async move { Ok::<_, Infallible>(answer) }
            });
            tokio::spawn(async move {
                // A client that breaks off is nobody's fault.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(())
}

fn page(path: &str, shown: &Registry) -> http::Response<String> {
    let mut text = String::new();
    let status = match path {
        "/metrics" => match prometheus_client::encoding::text::encode(&mut text, shown) {
            Ok(()) => http::StatusCode::OK,
            Err(_) => http::StatusCode::INTERNAL_SERVER_ERROR,
        },
        "/healthz" => {
            text.push_str("ok\n");
            http::StatusCode::OK
        }
        _ => http::StatusCode::NOT_FOUND,
    };
    let mut answer = http::Response::new(text);
    *answer.status_mut() = status;
    answer
}
