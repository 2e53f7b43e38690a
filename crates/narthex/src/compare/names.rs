//! Backends in words.

use model::{Backend, Share, Split, Target};
use objects::Store;

/// Puts backends into words: their ports by number, however they were written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a>(pub(super) &'a Store);

impl Names<'_> {
    /// `namespace/service:port`, and why it cannot be reached, if it cannot.
    pub(super) fn named(self, backend: &Backend) -> String {
        let endpoints = backend.endpoints();
        let is_name = matches!(backend.discovery, model::backend::Discovery::Dns { .. });
        let name = self.by_number(&backend.name);
        match endpoints.unavailable.filter(|_| !is_name) {
            Some(why) => format!("{name} (503: {why})"),
            None => name,
        }
    }

    /// The same name with the number of a port that is named.
    pub(super) fn by_number(self, name: &str) -> String {
        let number = || {
            let (namespace, rest) = name.split_once('/')?;
            let (service, port) = match rest.split_once(':') {
                Some((service, port)) => (service, Some(port)),
                None => (rest, None),
            };
            let found = self.0.service(namespace, service)?;
            let mut ports = found.spec.ports.iter().flatten();
            let port = match port {
                Some(port) => ports.find(|known| known.name.as_deref() == Some(port)),
                None => ports.next(),
            };
            Some(format!("{namespace}/{service}:{}", port?.port))
        };
        number().unwrap_or_else(|| name.to_owned())
    }

    /// Who gets what part of a split.
    pub(super) fn shares(self, split: &Split) -> String {
        let with_weight = split.shares().iter().filter(|share| share.weight > 0);
        match &*with_weight.collect::<Vec<_>>() {
            [one] => self.target(&one.target),
            all => self.weighed(all),
        }
    }

    /// A target of a split.
    pub(super) fn target(self, target: &Target) -> String {
        match target {
            Target::Backend(backend) => self.named(backend),
            Target::Invalid => "500".to_owned(),
        }
    }

    /// Weights by their least common measure, so that 20 of 100 is 1 of 5.
    pub(super) fn weighed(self, all: &[&Share]) -> String {
        let total: u64 = all.iter().map(|share| u64::from(share.weight)).sum();
        let measure = all
            .iter()
            .fold(total, |a, share| greatest(a, share.weight.into()));
        let measure = measure.max(1);
        let mut words: Vec<String> = all
            .iter()
            .map(|share| {
                let weight = u64::from(share.weight) / measure;
                let who = self.target(&share.target);
                format!("{weight} of {} to {who}", total / measure)
            })
            .collect();
        words.sort();
        words.join(", ")
    }
}

/// The names of all that get a part, as they were written.
pub(super) fn written(split: &Split) -> Vec<String> {
    let shares = split.shares().iter().filter(|share| share.weight > 0);
    shares.filter_map(|share| name(&share.target)).collect()
}

/// A target's name, as it was written.
pub(super) fn name(target: &Target) -> Option<String> {
    match target {
        Target::Backend(backend) => Some(backend.name.to_string()),
        Target::Invalid => None,
    }
}

/// What a backend's endpoints speak.
pub(super) fn spoken(backend: &Backend) -> &'static str {
    let transport = &backend.transport;
    if transport.fastcgi.is_some() {
        return "FastCGI";
    }
    match (transport.http, transport.tls.is_some()) {
        (model::HttpVersion::Http2, false) => "HTTP/2",
        (model::HttpVersion::Http2, true) => "HTTP/2 over TLS",
        (_, false) => "HTTP/1.1",
        // Whether it is HTTP/2 is for ALPN to say.
        (_, true) => "HTTP over TLS",
    }
}

fn greatest(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest(b, a % b) }
}
