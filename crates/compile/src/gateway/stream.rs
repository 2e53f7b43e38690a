//! TCPRoutes, TLSRoutes and UDPRoutes: connections and datagrams by weight.

use std::sync::Arc;

use model::{Share, Split, Stream, Target};
use objects::kinds::gateway::BackendRef;

use super::backend::Backends;
use super::rank::Age;
use super::references::Reference;
use crate::options::Options;
use crate::status::Wrong;

/// What came of a route's rules.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) stream: Arc<Stream>,
    /// What is referred to and is not there.
    pub(super) unresolved: Option<Wrong>,
}

/// A route of one rule; the API takes no more.
pub(super) fn build(
    references: &[BackendRef],
    age: &Age,
    backends: &mut Backends<'_, '_>,
    options: &Options,
) -> Built {
    let mut unresolved = None;
    let mut shares = Vec::new();
    for (index, reference) in references.iter().enumerate() {
        let field = format!("spec.rules[0].backendRefs[{index}]");
        let to = Reference::to_backend(reference);
        let target = match backends.find(&field, to, reference.port) {
            Ok(backend) => Target::Backend(backend),
            Err(wrong) => {
                unresolved.get_or_insert(wrong);
                Target::Invalid
            }
        };
        shares.push(Share {
            weight: reference.weight(),
            target,
            filters: [].into(),
        });
    }
    let stream = Stream {
        route: age.name.to_string().into(),
        field: "spec.rules[0]".into(),
        split: Split::new(shares).map(Arc::new),
        connect: options.timeouts.connect,
        idle: if backends.udp {
            options.datagram_idle
        } else {
            options.stream_idle
        },
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    };
    Built {
        stream: Arc::new(stream),
        unresolved,
    }
}
