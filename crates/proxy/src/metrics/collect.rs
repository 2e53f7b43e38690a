//! The workers' counters added up, in the form in which Prometheus reads them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::health;

use super::{
    BOUNDS, CLASSES, Counter, FIRST_STATUS, Histogram, LISTENERS, Listener, METHODS, REASON_ORDER,
    REFUSALS, STATUSES, WorkerMetrics,
};
use crate::spread::Spread;
use crate::telemetry;

/// The data plane's metrics, of all workers together.
pub(crate) struct Metrics {
    workers: Box<[Arc<WorkerMetrics>]>,
    hosts: ArcSwap<Arc<[Box<str>]>>,
    spread: Arc<Spread>,
    dropped_lines: Arc<AtomicU64>,
    health: Arc<health::Counts>,
    traces: Arc<telemetry::Counts>,
}

impl Metrics {
    /// Connections that clients opened, of all listeners.
    pub(crate) fn connections_opened(&self) -> u64 {
        let listeners = self.workers.iter().flat_map(|worker| &worker.listeners);
        total(listeners.map(|listener| &listener.opened))
    }

    pub(crate) fn new(
        workers: impl IntoIterator<Item = Arc<WorkerMetrics>>,
        spread: Arc<Spread>,
        dropped_lines: Arc<AtomicU64>,
        health: Arc<health::Counts>,
        traces: Arc<telemetry::Counts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            workers: workers.into_iter().collect(),
            hosts: ArcSwap::from_pointee(Arc::from([])),
            spread,
            dropped_lines,
            health,
            traces,
        })
    }

    /// Says which host each metrics slot stands for (`VirtualHost::metrics_slot`). Slot 0 is shown
    /// as `_` whatever its label says, slots without a label as `other`.
    pub(crate) fn set_host_labels(&self, labels: Arc<[Box<str>]>) {
        self.hosts.store(Arc::new(labels));
    }

    /// What clients have opened and asked.
    pub(crate) fn connections(&self) -> Connections {
        let listeners = || self.workers.iter().flat_map(|worker| &worker.listeners);
        // In this order: a connection that comes and goes meanwhile is not counted below zero.
        let closed = total(listeners().map(|listener| &listener.closed));
        let accepted = total(listeners().map(|listener| &listener.opened));
        let durations = listeners().flat_map(|listener| &listener.duration.buckets);
        Connections {
            accepted,
            active: accepted.saturating_sub(closed),
            requests: total(durations),
        }
    }

    fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers
            .iter()
            .fold(0, |sum, worker| sum.wrapping_add(counter(worker).get()))
    }
}

/// What clients have opened and asked, on all listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Connections, ever.
    pub accepted: u64,
    /// Those that are open.
    pub active: u64,
    /// Requests that have ended, ever.
    pub requests: u64,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.hosts(encoder)?;
        self.listeners(encoder)?;
        self.worker_connections(encoder)?;
        self.upstreams(encoder)?;
        self.balancing(encoder)?;
        self.errors(encoder)?;
        counter(
            encoder,
            "narthex_request_body_bytes",
            "Bytes of request bodies.",
            self.sum(|worker| &worker.request_bytes),
        )?;
        counter(
            encoder,
            "narthex_response_body_bytes",
            "Bytes of response bodies.",
            self.sum(|worker| &worker.response_bytes),
        )?;
        self.traces(encoder)?;
        counter(
            encoder,
            "narthex_access_log_dropped_lines",
            "Access log lines that could not be written.",
            self.dropped_lines.load(Ordering::Relaxed),
        )
    }
}

impl Metrics {
    fn hosts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = self.hosts.load();
        // Keyed by label: two slots with one label must not become one series twice.
        let mut by_host: BTreeMap<&str, [u64; CLASSES]> = BTreeMap::new();
        for worker in &self.workers {
            for (slot, counters) in worker.hosts.iter().enumerate() {
                if counters.iter().all(|counter| counter.get() == 0) {
                    continue;
                }
                let label = match slot {
                    0 => "_",
                    _ => labels.get(slot).map_or("other", |label| label),
                };
                let sums = by_host.entry(label).or_default();
                for (sum, counter) in sums.iter_mut().zip(counters) {
                    *sum = sum.wrapping_add(counter.get());
                }
            }
        }
        let mut metric = encoder.encode_descriptor(
            "narthex_requests",
            "Requests by virtual host and class of the status.",
            None,
            MetricType::Counter,
        )?;
        for (host, sums) in by_host {
            for (class, count) in ["other", "1xx", "2xx", "3xx", "4xx", "5xx"]
                .iter()
                .zip(sums)
            {
                series(&mut metric, &[("host", host), ("code", class)], count)?;
            }
        }
        Ok(())
    }

    fn listeners(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let listeners = self.listeners_by_port();
        let mut metric = encoder.encode_descriptor(
            "narthex_responses",
            "Responses by listener, method and status.",
            None,
            MetricType::Counter,
        )?;
        for (port, listeners) in &listeners {
            for (method, name) in METHODS.iter().enumerate() {
                responses(&mut metric, port, name, || {
                    listeners
                        .iter()
                        .filter_map(move |listener| listener.responses[method].get())
                        .map(|counters| &counters[..])
                })?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "narthex_request_duration_seconds",
            "From a request's first byte to the end of its response.",
            None,
            MetricType::Histogram,
        )?;
        for (port, listeners) in &listeners {
            let durations = listeners.iter().map(|listener| &listener.duration);
            let labels = [("listener", port.as_str())];
            histogram(&mut metric.encode_family(&labels)?, durations)?;
        }
        let mut metric = encoder.encode_descriptor(
            "narthex_connections",
            "Connections that clients opened.",
            None,
            MetricType::Counter,
        )?;
        for (port, listeners) in &listeners {
            let opened = total(listeners.iter().map(|listener| &listener.opened));
            series(&mut metric, &[("listener", port.as_str())], opened)?;
        }
        let mut metric = encoder.encode_descriptor(
            "narthex_connections_active",
            "Connections of clients that are open.",
            None,
            MetricType::Gauge,
        )?;
        for (port, listeners) in &listeners {
            // In this order: a connection that comes and goes meanwhile is not counted below zero.
            let closed = total(listeners.iter().map(|listener| &listener.closed));
            let opened = total(listeners.iter().map(|listener| &listener.opened));
            let active = i64::try_from(opened.saturating_sub(closed)).unwrap_or(i64::MAX);
            metric
                .encode_family(&[("listener", port.as_str())])?
                .encode_gauge(&active)?;
        }
        Ok(())
    }

    fn traces(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "narthex_trace_spans",
            "Spans of traces, by what became of them.",
            None,
            MetricType::Counter,
        )?;
        let telemetry::Counts {
            told,
            dropped,
            refused,
            ..
        } = &*self.traces;
        for (outcome, count) in [("told", told), ("dropped", dropped), ("refused", refused)] {
            let count = count.load(Ordering::Relaxed);
            series(&mut metric, &[("outcome", outcome)], count)?;
        }
        Ok(())
    }

    fn worker_connections(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "narthex_worker_connections",
            "Connections of clients that each worker has.",
            None,
            MetricType::Gauge,
        )?;
        for (worker, load) in self.spread.loads().enumerate() {
            metric
                .encode_family(&[("worker", worker.to_string())])?
                .encode_gauge(&i64::try_from(load).unwrap_or(i64::MAX))?;
        }
        Ok(())
    }

    /// The listeners that were ever used, by what their label says.
    fn listeners_by_port(&self) -> BTreeMap<String, Vec<&Listener>> {
        let mut by_port: BTreeMap<String, Vec<&Listener>> = BTreeMap::new();
        for worker in &self.workers {
            for (place, listener) in worker.listeners.iter().enumerate() {
                let label = match listener.port.load(Ordering::Relaxed) {
                    0 if place < LISTENERS - 1 || listener.opened.get() == 0 => continue,
                    0 => "other".to_owned(),
                    port => port.to_string(),
                };
                by_port.entry(label).or_default().push(listener);
            }
        }
        by_port
    }

    fn upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "narthex_upstream_duration_seconds",
            "From a request's being sent upstream to the end of the response head.",
            None,
            MetricType::Histogram,
        )?;
        histogram(
            &mut metric,
            self.workers.iter().map(|worker| &worker.upstream_duration),
        )?;
        let mut metric = encoder.encode_descriptor(
            "narthex_upstream_connections",
            "Connections to endpoints: new ones, kept ones used again, and failures.",
            None,
            MetricType::Counter,
        )?;
        for (outcome, count) in [
            ("new", self.sum(|worker| &worker.upstream_new)),
            ("reused", self.sum(|worker| &worker.upstream_reused)),
            ("failed", self.sum(|worker| &worker.upstream_failed)),
        ] {
            series(&mut metric, &[("outcome", outcome)], count)?;
        }
        Ok(())
    }

    fn balancing(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counter(
            encoder,
            "narthex_retries",
            "Requests that were sent again, to another endpoint or on a new connection.",
            self.sum(|worker| &worker.retries),
        )?;
        counter(
            encoder,
            "narthex_retries_refused",
            "Requests that were not sent again because the retry budget was spent.",
            self.sum(|worker| &worker.retries_refused),
        )?;
        counter(
            encoder,
            "narthex_endpoint_ejections",
            "Endpoints that were left out for a while after failures in a row.",
            self.sum(|worker| &worker.ejections),
        )?;
        counter(
            encoder,
            "narthex_mirrored_requests",
            "Copies of requests that were sent.",
            self.sum(|worker| &worker.mirrored),
        )?;
        counter(
            encoder,
            "narthex_mirrored_requests_refused",
            "Copies of requests that were not made, for want of room.",
            self.sum(|worker| &worker.mirrors_refused),
        )?;
        counter(
            encoder,
            "narthex_streams",
            "Connections that were passed on byte for byte and have ended.",
            self.sum(|worker| &worker.streams),
        )?;
        counter(
            encoder,
            "narthex_udp_sessions",
            "Sessions of UDP that have ended.",
            self.sum(|worker| &worker.sessions),
        )?;
        let mut metric = encoder.encode_descriptor(
            "narthex_health_checks",
            "Active health checks, by whether the endpoint passed.",
            None,
            MetricType::Counter,
        )?;
        for (outcome, count) in [
            ("passed", &self.health.passed),
            ("failed", &self.health.failed),
        ] {
            let count = count.load(Ordering::Relaxed);
            series(&mut metric, &[("outcome", outcome)], count)?;
        }
        let down = self.health.down.load(Ordering::Relaxed);
        encoder
            .encode_descriptor(
                "narthex_endpoints_unhealthy",
                "Endpoints that fail their active health check now.",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(down).unwrap_or(i64::MAX))
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "narthex_errors",
            "Exchanges that Narthex answered itself or that ended early, by reason.",
            None,
            MetricType::Counter,
        )?;
        for (index, reason) in REASON_ORDER.into_iter().enumerate() {
            let count = self.sum(|worker| &worker.errors[index]);
            series(&mut metric, &[("reason", reason.as_str())], count)?;
        }
        let mut metric = encoder.encode_descriptor(
            "narthex_connections_refused",
            "Connections that were closed as soon as they came, by the limit they exceeded.",
            None,
            MetricType::Counter,
        )?;
        for (index, reason) in REFUSALS.into_iter().enumerate() {
            let count = self.sum(|worker| &worker.refused[index]);
            series(&mut metric, &[("reason", reason)], count)?;
        }
        counter(
            encoder,
            "narthex_tls_handshake_failures",
            "TLS handshakes that failed.",
            self.sum(|worker| &worker.handshake_failures),
        )?;
        counter(
            encoder,
            "narthex_http2_abusive_connections",
            "HTTP/2 connections that were ended because of floods of frames or abandoned requests.",
            self.sum(|worker| &worker.http2_abuse),
        )?;
        counter(
            encoder,
            "narthex_accept_errors",
            "Errors in accepting a connection, as of too many open files.",
            self.sum(|worker| &worker.accept_errors),
        )
    }
}

/// A family without labels. These are shown from the beginning, so that a rate sees the first.
fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, None, MetricType::Counter)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

/// One series of a family, unless it never counted anything: there are thousands that never do.
fn series(metric: &mut MetricEncoder<'_>, labels: &impl EncodeLabelSet, value: u64) -> fmt::Result {
    if value == 0 {
        return Ok(());
    }
    metric
        .encode_family(labels)?
        .encode_counter::<NoLabelSet, _, u64>(&value, None)
}

/// The series of one listener and method, whose counters each worker may have.
fn responses<'a, I>(
    metric: &mut MetricEncoder<'_>,
    port: &str,
    method: &str,
    workers: impl Fn() -> I,
) -> fmt::Result
where
    I: Iterator<Item = &'a [Counter]>,
{
    for index in 0..STATUSES {
        let count = total(workers().map(|counters| &counters[index]));
        if count == 0 {
            continue;
        }
        let code = (index + FIRST_STATUS).to_string();
        let status = if index == STATUSES - 1 {
            "other"
        } else {
            &code
        };
        let labels = [("listener", port), ("method", method), ("status", status)];
        series(metric, &labels, count)?;
    }
    Ok(())
}

fn histogram<'a>(
    metric: &mut MetricEncoder<'_>,
    parts: impl Iterator<Item = &'a Histogram>,
) -> fmt::Result {
    let mut sum_micros = 0_u64;
    let mut counts = [0_u64; BOUNDS.len() + 1];
    for part in parts {
        sum_micros = sum_micros.wrapping_add(part.sum_micros.get());
        for (count, bucket) in counts.iter_mut().zip(&part.buckets) {
            *count += bucket.get();
        }
    }
    let count: u64 = counts.iter().sum();
    if count == 0 {
        return Ok(());
    }
    let bounds = BOUNDS.iter().map(|&micros| seconds(micros));
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
    metric.encode_histogram::<NoLabelSet>(
        seconds(sum_micros),
        count,
        &buckets,
        None::<&HashMap<_, _>>,
    )
}

fn total<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.fold(0, |sum, counter| sum.wrapping_add(counter.get()))
}

fn seconds(micros: u64) -> f64 {
    // Exact up to 285 years.
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, UNIX_EPOCH};

    use prometheus_client::registry::Registry;

    use super::super::Refused;
    use super::*;
    use crate::record::{Reason, Record, Version};

    fn record() -> Record<'static> {
        Record {
            port: 8080,
            start: UNIX_EPOCH,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            method: b"GET",
            host: b"example.com",
            target: b"/",
            version: Version::Http11,
            tls: None,
            status: 200,
            reason: None,
            route: "",
            backend: "",
            endpoint: None,
            attempts: 0,
            duration: Duration::from_millis(5),
            upstream: None,
            bytes_in: 10,
            bytes_out: 100,
            request_id: b"",
            user_agent: b"",
            referer: b"",
            host_slot: 0,
            unlogged: false,
        }
    }

    fn text(metrics: &Arc<Metrics>) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(metrics)));
        let mut out = String::new();
        prometheus_client::encoding::text::encode(&mut out, &registry).unwrap();
        out
    }

    fn two_workers() -> ([Arc<WorkerMetrics>; 2], Arc<Metrics>) {
        let workers = [WorkerMetrics::new(), WorkerMetrics::new()];
        let metrics = Metrics::new(
            workers.clone(),
            Spread::new(2).0,
            Arc::new(AtomicU64::new(3)),
            Arc::default(),
            Arc::default(),
        );
        (workers, metrics)
    }

    #[track_caller]
    fn assert_series(text: &str, series: &str) {
        assert!(
            text.lines().any(|line| line == series),
            "no {series} in\n{text}"
        );
    }

    #[test]
    fn workers_are_added_up() {
        let ([a, b], metrics) = two_workers();
        metrics.set_host_labels(Arc::from(["ignored".into(), "example.com".into()]));
        a.exchange(&Record {
            host_slot: 1,
            ..record()
        });
        b.exchange(&Record {
            host_slot: 1,
            status: 204,
            ..record()
        });
        b.exchange(&Record {
            status: 404,
            method: b"BREW",
            reason: Some(Reason::NoRoute),
            upstream: Some(Duration::from_millis(3)),
            duration: Duration::from_secs(60),
            ..record()
        });
        let text = text(&metrics);
        for series in [
            "narthex_requests_total{host=\"example.com\",code=\"2xx\"} 2",
            "narthex_requests_total{host=\"_\",code=\"4xx\"} 1",
            "narthex_responses_total{listener=\"8080\",method=\"GET\",status=\"200\"} 1",
            "narthex_responses_total{listener=\"8080\",method=\"GET\",status=\"204\"} 1",
            "narthex_responses_total{listener=\"8080\",method=\"other\",status=\"404\"} 1",
            "narthex_request_duration_seconds_sum{listener=\"8080\"} 60.01",
            "narthex_request_duration_seconds_count{listener=\"8080\"} 3",
            "narthex_request_duration_seconds_bucket{le=\"0.001\",listener=\"8080\"} 0",
            "narthex_request_duration_seconds_bucket{le=\"0.005\",listener=\"8080\"} 2",
            "narthex_request_duration_seconds_bucket{le=\"10.0\",listener=\"8080\"} 2",
            "narthex_request_duration_seconds_bucket{le=\"+Inf\",listener=\"8080\"} 3",
            "narthex_upstream_duration_seconds_bucket{le=\"0.005\"} 1",
            "narthex_errors_total{reason=\"no_route\"} 1",
            "narthex_request_body_bytes_total 30",
            "narthex_response_body_bytes_total 300",
            "narthex_access_log_dropped_lines_total 3",
        ] {
            assert_series(&text, series);
        }
    }

    #[test]
    fn connections_may_close_on_another_worker() {
        let ([a, b], metrics) = two_workers();
        a.connection_opened(443);
        a.connection_opened(443);
        b.connection_closed(443);
        a.connection_refused(Refused::ConnectionsPerClient);
        a.handshake_failed();
        b.accept_error();
        a.upstream_used(false);
        b.upstream_used(true);
        b.upstream_connect_failed();
        let text = text(&metrics);
        for series in [
            "narthex_connections_total{listener=\"443\"} 2",
            "narthex_connections_active{listener=\"443\"} 1",
            "narthex_connections_refused_total{reason=\"connections_per_client\"} 1",
            "narthex_tls_handshake_failures_total 1",
            "narthex_accept_errors_total 1",
            "narthex_upstream_connections_total{outcome=\"new\"} 1",
            "narthex_upstream_connections_total{outcome=\"reused\"} 1",
            "narthex_upstream_connections_total{outcome=\"failed\"} 1",
        ] {
            assert_series(&text, series);
        }
    }

    #[test]
    fn an_idle_proxy_shows_only_its_workers_and_counters_without_labels() {
        let (_, metrics) = two_workers();
        let text = text(&metrics);
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                "narthex_worker_connections{worker=\"0\"} 0",
                "narthex_worker_connections{worker=\"1\"} 0",
                "narthex_retries_total 0",
                "narthex_retries_refused_total 0",
                "narthex_endpoint_ejections_total 0",
                "narthex_mirrored_requests_total 0",
                "narthex_mirrored_requests_refused_total 0",
                "narthex_streams_total 0",
                "narthex_udp_sessions_total 0",
                "narthex_endpoints_unhealthy 0",
                "narthex_tls_handshake_failures_total 0",
                "narthex_http2_abusive_connections_total 0",
                "narthex_accept_errors_total 0",
                "narthex_request_body_bytes_total 0",
                "narthex_response_body_bytes_total 0",
                "narthex_access_log_dropped_lines_total 3",
            ]
        );
    }

    #[test]
    fn labels_are_bounded_whatever_is_counted() {
        let ([a, b], metrics) = two_workers();
        metrics.set_host_labels(Arc::from(["_".into(), "same".into(), "same".into()]));
        for slot in 0..u16::MAX {
            a.exchange(&Record {
                host_slot: slot,
                port: 1 + slot % 30,
                ..record()
            });
            b.exchange(&Record {
                host_slot: slot,
                status: slot,
                ..record()
            });
            a.connection_opened(1 + slot % 30);
        }
        let text = text(&metrics);
        let hosts = text
            .lines()
            .filter(|line| line.starts_with("narthex_requests_total{"));
        assert!(hosts.count() <= 3 * CLASSES, "_, same and other, by class");
        let listeners = text
            .lines()
            .filter(|line| line.starts_with("narthex_connections_total{"));
        assert_eq!(listeners.count(), 16);
        assert!(text.contains("narthex_connections_total{listener=\"other\"}"));
        let mut series: Vec<&str> = text
            .lines()
            .filter_map(|line| line.rsplit_once(' ').map(|(series, _)| series))
            .filter(|series| !series.starts_with('#'))
            .collect();
        let all = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), all, "each series is shown once");
    }
}
