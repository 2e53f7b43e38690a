//! The data plane: what is accepted, routed, filtered, balanced, forwarded and logged.
//!
//! In: a [`Snapshot`], published as often as it changes. Out: sockets. Each of N worker threads
//! has a runtime, listeners, upstream connections, buffers and counters of its own, so that a
//! request meets no lock and no other thread. What Kubernetes says does not belong here.

mod accept;
mod access_log;
mod admission;
mod buffer;
mod client;
mod datagrams;
mod date;
pub mod dns;
mod exchange;
mod filters;
mod flood;
mod forwarded;
#[cfg(test)]
mod fuzz;
mod geo;
mod grpc;
mod guard;
mod h2_message;
mod headers;
mod health;
mod http1;
mod http2;
mod in_step;
mod inherit;
mod io;
mod linger;
mod listen;
mod metrics;
mod orders;
mod proxy;
mod proxy_header;
mod proxy_protocol;
mod record;
mod respond;
mod scratch;
mod settings;
mod spread;
mod streams;
mod telemetry;
mod timer;
mod tls;
mod upstream;
mod variables;
mod worker;

pub use geo::{BadDatabase, Databases};
pub use inherit::{Addresses, Inherited};
pub use listen::{BindError, Bound, Listening};
pub use metrics::Connections;
pub use proxy::{IngressCounts, Proxy};
pub use settings::{
    AccessLogFormat, ClientTimeouts, Collector, Forwarding, IngressMetrics, Limits, Settings,
    TlsSettings, TraceSettings, UpstreamHttp2,
};
pub use tls::Wanted;
