//! Routes that are added one at a time, and asked for until they answer.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Error;
use crate::api::{Api, Watch};
use crate::figures::{Figures, Histogram};
use crate::narthex::{HTTP, Narthex};
use crate::objects::{self, collection, host};
use crate::rig::NODE;

/// So many connections ask in turn, so that it is not always the same worker.
const CONNECTIONS: usize = 4;
/// Between two requests.
const PAUSE: Duration = Duration::from_micros(150);
/// Between two routes.
const REST: Duration = Duration::from_millis(40);
/// After which a route has failed.
const LIMIT: Duration = Duration::from_secs(10);

const EVENT_TO_SERVED: &str = "narthex_config_event_to_served_seconds";

/// What some routes came to.
pub(crate) struct Phase {
    pub(crate) name: String,
    /// From the request that created it to the probe's own event, in milliseconds.
    pub(crate) watch: Figures,
    /// From the probe's own event to the end of the first 200.
    pub(crate) served: Figures,
    /// The same, until all connections were answered 200.
    pub(crate) everywhere: Figures,
    /// What Narthex measured itself.
    pub(crate) event_to_served: Histogram,
    pub(crate) churn_per_second: Option<f64>,
}

/// Adds `count` routes, from the number `first` on.
pub(crate) async fn phase(
    name: &str,
    api: &Api,
    narthex: &Narthex,
    first: usize,
    count: usize,
) -> Result<Phase, Error> {
    let mut watch = api.watch_ingresses().await?;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open().await?);
    }
    let before = Histogram::read(&narthex.metrics().await?, EVENT_TO_SERVED);
    let (mut told, mut served, mut everywhere) = (Vec::new(), Vec::new(), Vec::new());
    for number in first..first + count {
        let route = format!("new-{number}");
        let figures = add(
            &route,
            &objects::name(number),
            api,
            &mut watch,
            &mut connections,
        )
        .await?;
        told.push(figures[0]);
        served.push(figures[1]);
        everywhere.push(figures[2]);
        tokio::time::sleep(REST).await;
    }
    let after = Histogram::read(&narthex.metrics().await?, EVENT_TO_SERVED);
    let phase = Phase {
        name: name.to_owned(),
        watch: Figures::of(told),
        served: Figures::of(served),
        everywhere: Figures::of(everywhere),
        event_to_served: after.since(&before),
        churn_per_second: None,
    };
    println!(
        "{name}: event to first 200 p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
        phase.served.quantile(0.5),
        phase.served.quantile(0.99),
        phase.served.most(),
    );
    Ok(phase)
}

/// In milliseconds: creation to own event, own event to first 200, own event to 200 on every
/// connection.
async fn add(
    route: &str,
    service: &str,
    api: &Api,
    watch: &mut Watch,
    connections: &mut [Connection],
) -> Result<[f64; 3], Error> {
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", host(route));
    for connection in connections.iter_mut() {
        match connection.ask(&request).await? {
            404 => {}
            other => return Err(format!("{route} is answered {other} before it exists")),
        }
    }
    let begun = Instant::now();
    let created = {
        let (api, ingress) = (api.clone(), objects::ingress(route, service));
        tokio::spawn(async move { api.create(&collection("Ingress"), &ingress).await })
    };
    let told = loop {
        let next = tokio::time::timeout(LIMIT, watch.added());
        let (name, at) = next.await.map_err(|_| format!("no event of {route}"))??;
        if name == route {
            break at;
        }
    };
    let (mut first, mut answered) = (None, [false; CONNECTIONS]);
    while answered.contains(&false) {
        for (connection, answered) in connections.iter_mut().zip(&mut answered) {
            if *answered {
                continue;
            }
            match connection.ask(&request).await? {
                200 => {
                    *answered = true;
                    first.get_or_insert_with(|| told.elapsed());
                }
                404 if told.elapsed() < LIMIT => std::thread::sleep(PAUSE),
                other => return Err(format!("{route} is answered {other}")),
            }
        }
    }
    let everywhere = told.elapsed();
    created.await.map_err(|error| error.to_string())??;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok([
        ms(told.duration_since(begun)),
        ms(first.unwrap_or(everywhere)),
        ms(everywhere),
    ])
}

/// A kept connection to Narthex.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open() -> Result<Self, Error> {
        let stream = TcpStream::connect((NODE, HTTP)).await;
        let stream = stream.map_err(|error| format!("port {HTTP}: {error}"))?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            buffer: vec![0; 16 << 10],
        })
    }

    /// The status of the answer, which is read to its end.
    async fn ask(&mut self, request: &str) -> Result<u16, Error> {
        let failed = |error: std::io::Error| format!("a request: {error}");
        self.stream
            .write_all(request.as_bytes())
            .await
            .map_err(failed)?;
        let mut held = 0;
        loop {
            let read = self
                .stream
                .read(&mut self.buffer[held..])
                .await
                .map_err(failed)?;
            if read == 0 {
                return Err("a kept connection was closed".to_owned());
            }
            held += read;
            if let Some(status) = whole(&self.buffer[..held]) {
                return Ok(status);
            }
        }
    }
}

/// The status of an answer with a content-length, if all of it is there.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.get(9..12)?.parse().ok()?;
    let mut fields = lines.filter_map(|line| line.split_once(':'));
    let (_, length) = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    (body.len() >= length.trim().parse().ok()?).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_body() {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n";
        assert_eq!(whole(answer), Some(404));
        assert_eq!(whole(&answer[..answer.len() - 1]), None);
        assert_eq!(whole(&answer[..20]), None);
    }
}
