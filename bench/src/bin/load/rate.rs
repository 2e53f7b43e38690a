//! Open loop: a request is due when the clock says so, not when the one before was answered, and
//! its latency counts from then. A slow answer cannot hide those that it delayed.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{http, tls};

pub(crate) async fn run(
    to: SocketAddr,
    connections: usize,
    time: Duration,
    rate: f64,
    tls: bool,
) -> io::Result<Value> {
    let mut queues = Vec::new();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (queue, due) = unbounded_channel();
        queues.push(queue);
        if tls {
            let stream = tls::connect(to, tls::configuration(false)).await?;
            tasks.push(tokio::spawn(answer(stream, due)));
        } else {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            tasks.push(tokio::spawn(answer(stream, due)));
        }
    }
    // A thread of its own: its sleep is exact to some 50 µs, the runtime's timer to 1 ms.
    let clock = std::thread::spawn(move || dispatch(&queues, time, rate));
    let (mut latencies, mut errors) = (Vec::new(), 0);
    for task in tasks {
        let (answered, failed) = task.await.map_err(io::Error::other)?;
        latencies.extend(answered);
        errors += failed;
    }
    clock.join().expect("the clock never panics");
    latencies.sort_unstable();
    let at = |part: f64| {
        let last = latencies.len().saturating_sub(1);
        let micros = latencies.get((last as f64 * part).round() as usize);
        micros.copied().unwrap_or(0)
    };
    Ok(json!({
        "requests": latencies.len(),
        "errors": errors,
        "p50_us": at(0.5),
        "p90_us": at(0.9),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
    }))
}

fn dispatch(queues: &[UnboundedSender<Instant>], time: Duration, rate: f64) {
    let start = Instant::now();
    for (number, queue) in (0u32..).zip(queues.iter().cycle()) {
        let after = Duration::from_secs_f64(f64::from(number) / rate);
        if after > time {
            return;
        }
        let due = start + after;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // A connection that failed has counted its failure.
        let _ = queue.send(due);
    }
}

/// The latencies in microseconds of what was answered, and how many were not.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut due: UnboundedReceiver<Instant>,
) -> (Vec<u64>, usize) {
    let request = http::get("keep-alive");
    let mut buffer = Vec::with_capacity(4096);
    let (mut latencies, mut errors) = (Vec::new(), 0);
    while let Some(due) = due.recv().await {
        match http::ask(&mut stream, request.as_bytes(), &mut buffer).await {
            Ok(()) => {
                let micros = due.elapsed().as_micros();
                latencies.push(u64::try_from(micros).unwrap_or(u64::MAX));
            }
            Err(_) => errors += 1,
        }
    }
    (latencies, errors)
}
