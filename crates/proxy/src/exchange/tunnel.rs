//! Tunnels: what follows an upgrade, WebSocket above all.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::parts::{Facts, Parts};
use crate::client::{ClientFault, RequestBody, ResponseSink};
use crate::headers::{Headers, Name};
use crate::http1::stream::{Reader, Writer};
use crate::record::{Reason, Version};
use crate::timer::Timer;
use crate::upstream::{BodySource, Upstream};

/// Opens a tunnel after the backend's 101, and relays bytes until both directions have ended.
pub(super) async fn tunnel<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    mut upstream: Upstream,
) -> Result<(), Reason> {
    let worker = parts.worker;
    // RFC 8441, section 5: where there is no upgrade, success is a 200.
    facts
        .status
        .set(if parts.request.version == Version::Http2 {
            200
        } else {
            101
        });
    parts.timer.total = None;
    let response = &mut *parts.response;
    let protocol = response
        .headers
        .get(Name::Upgrade)
        .map(<[u8]>::to_vec)
        .ok_or(Reason::UpstreamProtocol)?;
    response.headers.remove_hop_by_hop();
    response
        .headers
        .retain(|name, _| name != Name::ContentLength);
    response
        .headers
        .push_known(Name::Upgrade, b"Upgrade", &protocol);
    facts.finish_head(worker, &mut response.headers);
    sink.open_tunnel(response)
        .await
        .map_err(ClientFault::reason)?;
    body.become_tunnel();
    parts.upstream_out.clear();

    let idle = worker.settings().timeouts.tunnel_idle;
    let activity = Cell::new(Instant::now());
    let (_, stream, mut reader) = upstream.split(&worker.buffers);
    reader.become_tunnel();
    let mut writer = Writer::new(stream, parts.upstream_out);
    let up = async {
        let mut timer = Timer::default();
        while let Some(count) = active(&mut timer, idle, &activity, body).await? {
            let bytes = body.fill().await.map_err(ClientFault::reason)?;
            writer
                .data(&bytes[..count])
                .await
                .map_err(|_| Reason::UpstreamClosed)?;
            writer.flush().await.map_err(|_| Reason::UpstreamClosed)?;
            body.consume(count);
            Facts::add(&facts.bytes_in, count);
        }
        writer.shutdown().await.map_err(|_| Reason::UpstreamClosed)
    };
    let timer = &mut *parts.timer;
    let down = async {
        while let Some(count) = active(timer, idle, &activity, &mut reader).await? {
            let bytes = BodySource::fill(&mut reader).await?;
            sink.data(&bytes[..count], false)
                .await
                .map_err(ClientFault::reason)?;
            sink.flush().await.map_err(ClientFault::reason)?;
            BodySource::consume(&mut reader, count);
            Facts::add(&facts.bytes_out, count);
        }
        sink.end(&Headers::default())
            .await
            .map_err(ClientFault::reason)
    };
    // The client may end its direction and go on reading; once the backend has ended, all is said.
    let up = async {
        match up.await {
            Ok(()) => std::future::pending().await,
            Err(reason) => reason,
        }
    };
    tokio::select! {
        result = down => result,
        reason = up => Err(reason),
    }
}

/// One direction of a tunnel.
trait Source {
    /// How many bytes there are, once there are any; none at the end.
    async fn ready(&mut self) -> Result<usize, Reason>;
}

impl<B: RequestBody> Source for B {
    async fn ready(&mut self) -> Result<usize, Reason> {
        self.fill()
            .await
            .map(<[u8]>::len)
            .map_err(ClientFault::reason)
    }
}

impl Source for Reader<'_> {
    async fn ready(&mut self) -> Result<usize, Reason> {
        BodySource::fill(self).await.map(<[u8]>::len)
    }
}

/// Waits for the next bytes, for as long as either direction is active.
async fn active(
    timer: &mut Timer,
    idle: Duration,
    activity: &Cell<Instant>,
    source: &mut impl Source,
) -> Result<Option<usize>, Reason> {
    let mut limit = idle;
    loop {
        match timer.limit(limit, source.ready()).await {
            Ok(count) => {
                activity.set(Instant::now());
                return count.map(|count| (count > 0).then_some(count));
            }
            Err(_) => match idle.checked_sub(activity.get().elapsed()) {
                Some(left) if !left.is_zero() => limit = left,
                _ => return Err(Reason::ClientClosed),
            },
        }
    }
}
