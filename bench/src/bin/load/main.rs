//! The loads that wrk and h2load do not make, and the backend that nginx cannot be.
//!
//! Every load writes one JSON object on standard output when it is done: `requests`, `errors`, and
//! what else it measured.

mod h2c;
mod http;
mod idle;
mod rate;
mod serve;
mod tls;
mod websocket;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Loads for the bench.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// One TLS handshake and one request a connection.
    Handshake {
        to: SocketAddr,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        seconds: f64,
        /// Resume the session of the connection before.
        #[arg(long)]
        resume: bool,
    },
    /// WebSocket messages of 64 bytes, each sent after the echo of the one before.
    Websocket {
        to: SocketAddr,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        seconds: f64,
    },
    /// Requests at a fixed rate whatever the answers do, and their latencies from the moment at
    /// which each was due.
    Rate {
        to: SocketAddr,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        seconds: f64,
        /// Requests a second.
        #[arg(long)]
        rate: f64,
        #[arg(long)]
        tls: bool,
    },
    /// Connections that made one request, held until standard input ends.
    Idle {
        to: SocketAddr,
        #[arg(long)]
        connections: usize,
    },
    /// A backend: reads bodies to their end before it answers, and echoes WebSocket messages.
    Serve { listen: SocketAddr },
    /// A backend that speaks HTTP/2 without TLS, and gRPC.
    ServeH2c { listen: SocketAddr },
}

fn main() {
    let load = Cli::parse().load;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let said = runtime.block_on(async {
        match load {
            Load::Handshake {
                to,
                connections,
                seconds,
                resume,
            } => tls::handshakes(to, connections, time(seconds), resume).await,
            Load::Websocket {
                to,
                connections,
                seconds,
            } => websocket::echo(to, connections, time(seconds)).await,
            Load::Rate {
                to,
                connections,
                seconds,
                rate,
                tls,
            } => rate::run(to, connections, time(seconds), rate, tls).await,
            Load::Idle { to, connections } => idle::hold(to, connections).await,
            Load::Serve { listen } => serve::run(listen).await,
            Load::ServeH2c { listen } => h2c::run(listen).await,
        }
    });
    match said {
        Ok(said) => println!("{said}"),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

fn time(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
