//! Traces (OpenTelemetry): which requests are in one, what is noted of them, and who tells a
//! collector.
//!
//! A request that is in none costs the fields that the backend is told. Of one that is told, spans
//! are made when it has ended, and handed to one thread through a queue that has an end; what does
//! not fit is dropped and counted.

mod context;
mod export;
mod otlp;
mod span;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use model::{Sampler, Traced};
use tokio::sync::mpsc::UnboundedSender;

use crate::headers::Headers;
use crate::settings::TraceSettings;
use context::Context;
pub(crate) use export::Teller;
use otlp::Span;
pub(crate) use span::{Ended, Trace};

/// What becomes of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How many wait.
    waiting: AtomicUsize,
    pub(crate) told: AtomicU64,
    /// For there were too many, or nobody to tell.
    pub(crate) dropped: AtomicU64,
    /// The collector would not have them.
    pub(crate) refused: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Where spans wait until they are told.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    to: UnboundedSender<Span>,
    counts: Arc<Counts>,
}

impl Queue {
    /// Takes what is to be told of an exchange that has ended.
    pub(crate) fn take(&self, settings: &TraceSettings, trace: Trace, ended: &Ended<'_>) {
        for span in trace.spans(ended) {
            let counts = &self.counts;
            // The channel itself has no end; this has.
            let waiting = counts.waiting.fetch_add(1, Ordering::Relaxed);
            if waiting >= settings.queue || self.to.send(span).is_err() {
                counts.waiting.fetch_sub(1, Ordering::Relaxed);
                Counts::add(&counts.dropped, 1);
            }
        }
    }
}

/// Puts a request into a trace: its client's, or one that begins here. The backend is told in any
/// case; a trace comes back where it is told a collector, too.
pub(crate) fn begin(
    settings: &TraceSettings,
    traced: &Traced,
    headers: &mut Headers,
) -> Option<Box<Trace>> {
    let parent = traced.trusts.then(|| Context::of(headers)).flatten();
    let state = parent.and_then(|_| context::state(headers));
    let trace = parent.map_or_else(|| fastrand::u128(1..), |parent| parent.trace);
    let context = Context {
        trace,
        span: span::id(),
        sampled: match parent {
            Some(parent) if settings.parent_based => parent.sampled,
            _ => samples(settings, trace),
        },
    };
    context.tell(headers, state.as_deref());
    let is_told = context.sampled && settings.collector.is_some();
    is_told.then(|| Box::new(Trace::new(context, parent.map(|parent| parent.span), state)))
}

/// Whether a trace is told that nobody else has decided about.
fn samples(settings: &TraceSettings, trace: u128) -> bool {
    match settings.sampler {
        Sampler::AlwaysOn => true,
        Sampler::AlwaysOff => false,
        Sampler::TraceIdRatioBased => settings.ratio.has(trace),
    }
}

#[cfg(test)]
mod tests {
    use model::Ratio;

    use super::*;
    use crate::settings::Collector;

    const PARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const SILENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    /// What the backend is told, and whether the collector is.
    fn outcome(settings: &TraceSettings, trusts: bool, parent: &[u8]) -> (Context, bool, bool) {
        let mut headers = Headers::default();
        headers.push(b"traceparent", parent);
        headers.push(b"tracestate", b"a=b");
        let traced = Traced {
            trusts,
            ..Traced::default()
        };
        let trace = begin(settings, &traced, &mut headers);
        let told = Context::of(&headers).expect("a parent");
        (told, context::state(&headers).is_some(), trace.is_some())
    }

    fn settings() -> TraceSettings {
        TraceSettings {
            collector: Some(Collector {
                host: "collector".into(),
                port: 4317,
                tls: false,
            }),
            ..TraceSettings::default()
        }
    }

    #[test]
    fn a_clients_trace_goes_on_where_it_is_trusted_and_only_there() {
        let given = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let (told, state, is_told) = outcome(&settings(), true, PARENT);
        assert_eq!(
            (told.trace, told.sampled, state, is_told),
            (given, true, true, true)
        );
        assert_ne!(told.span, 0x00f0_67aa_0ba9_02b7);
        let (told, state, is_told) = outcome(&settings(), false, PARENT);
        assert_eq!((told.sampled, state, is_told), (true, false, true));
        assert_ne!(told.trace, given);
        let (told, _, is_told) = outcome(&settings(), true, b"nonsense");
        assert!(told.trace != given && is_told);
    }

    #[test]
    fn who_began_a_trace_decides_whether_it_is_told_unless_the_sampler_is_to() {
        let (told, _, is_told) = outcome(&settings(), true, SILENT);
        assert_eq!((told.sampled, is_told), (false, false));
        let off = TraceSettings {
            sampler: Sampler::AlwaysOff,
            ..settings()
        };
        assert!(outcome(&off, true, PARENT).2 && !outcome(&off, false, PARENT).2);
        let alone = TraceSettings {
            parent_based: false,
            ..settings()
        };
        assert!(outcome(&alone, true, SILENT).2);
        let half = TraceSettings {
            sampler: Sampler::TraceIdRatioBased,
            ratio: Ratio::new(0.5).expect("a part"),
            ..settings()
        };
        let some = (0..1000).filter(|_| outcome(&half, false, b"").2).count();
        assert!((350..650).contains(&some), "{some} of 1000");
        // Without a collector there is nobody to tell, and the trace goes on all the same.
        let (told, _, is_told) = outcome(&TraceSettings::default(), true, PARENT);
        assert_eq!((told.sampled, is_told), (true, false));
    }
}
