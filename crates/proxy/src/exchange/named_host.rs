//! Hosts that requests themselves name, as `auth-url: https://$host/verify` has it: looked up when
//! they are needed, remembered for a while, and never so many that memory grows.

use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use model::backend::Discovery;
use model::filter::access::NamedHost;
use model::policy::Ejection;
use model::{
    Backend, BackendTls, Endpoint, EndpointSet, HostName, HttpVersion, Member, Policy, Transport,
};
use tokio::sync::Semaphore;

use crate::dns::Lookup;
use crate::worker::Worker;

/// The most hosts that a worker remembers.
const MOST: usize = 256;
/// How long it remembers one …
const GOOD_FOR: Duration = Duration::from_secs(30);
/// … and that there is none.
const BAD_FOR: Duration = Duration::from_secs(1);
/// The most that it looks up at once.
const AT_ONCE: usize = 16;

/// The hosts that a worker remembers.
pub(crate) struct NamedHosts {
    lookup: OnceCell<Option<Lookup>>,
    known: RefCell<HashMap<Key, Known>>,
    turns: Semaphore,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    host: Box<str>,
    port: u16,
    tls: bool,
}

struct Known {
    backend: Option<Arc<Backend>>,
    until: Instant,
}

impl Default for NamedHosts {
    fn default() -> Self {
        Self {
            lookup: OnceCell::new(),
            known: RefCell::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

/// Who is meant by a host that a request has named, as it is written. None where that is no host,
/// or nobody's.
pub(super) async fn find(
    worker: &Worker,
    named: &NamedHost,
    authority: &[u8],
) -> Option<Arc<Backend>> {
    let hosts = &worker.named_hosts;
    let key = key(authority, named.tls)?;
    if let Some(known) = hosts.known(&key) {
        return known;
    }
    // It is never closed.
    let _turn = hosts.turns.acquire().await;
    if let Some(known) = hosts.known(&key) {
        return known;
    }
    let allow_local = worker.settings().allow_local_external_names;
    let lookup = hosts.lookup.get_or_init(|| {
        let lookup = Lookup::new(allow_local);
        lookup
            .inspect_err(|error| tracing::warn!(%error, "hosts that requests name are not found"))
            .ok()
    });
    let addresses = match lookup {
        Some(lookup) => lookup.addresses(&key.host, key.port).await,
        None => Err("there is no DNS client".to_owned()),
    };
    let backend = match addresses {
        Ok(addresses) if !addresses.is_empty() => Some(Arc::new(backend(&key, &addresses))),
        Ok(_) => None,
        Err(error) => {
            tracing::debug!(host = %key.host, error, "a host that a request names is not found");
            None
        }
    };
    hosts.remember(key, backend.clone());
    backend
}

impl NamedHosts {
    /// What is remembered of a host, if anything is.
    fn known(&self, key: &Key) -> Option<Option<Arc<Backend>>> {
        let known = self.known.borrow();
        let known = known.get(key)?;
        (Instant::now() < known.until).then(|| known.backend.clone())
    }

    fn remember(&self, key: Key, backend: Option<Arc<Backend>>) {
        let now = Instant::now();
        let mut known = self.known.borrow_mut();
        if known.len() >= MOST {
            known.retain(|_, known| now < known.until);
        }
        if known.len() >= MOST {
            known.clear();
        }
        let good = if backend.is_some() { GOOD_FOR } else { BAD_FOR };
        let until = now + good;
        known.insert(key, Known { backend, until });
    }
}

/// Host and port of an authority.
fn key(authority: &[u8], tls: bool) -> Option<Key> {
    let host = HostName::parse(authority)?;
    // The port follows the last colon, unless that is within the brackets of an IPv6 address.
    let colon = memchr::memrchr(b':', authority).map(|at| &authority[at + 1..]);
    let port = match colon.filter(|port| !port.contains(&b']')) {
        Some(port) => str::from_utf8(port).ok()?.parse().ok()?,
        None if tls => 443,
        None => 80,
    };
    (port > 0).then(|| Key {
        host: host.as_str().into(),
        port,
        tls,
    })
}

/// A backend at these addresses, which is asked however often it has failed.
fn backend(key: &Key, addresses: &[SocketAddr]) -> Backend {
    let transport = Transport {
        http: match key.tls {
            true => HttpVersion::Negotiated,
            false => HttpVersion::Http1,
        },
        // As in ingress-nginx nobody's certificate is verified here.
        tls: key.tls.then(|| {
            Arc::new(BackendTls {
                verify: false,
                ..BackendTls::new(&*key.host)
            })
        }),
        ..Transport::default()
    };
    let policy = Policy {
        ejection: Ejection {
            failures: 0,
            ..Ejection::default()
        },
        ..Policy::default()
    };
    let members = addresses.iter().map(|&address| {
        let endpoint = Endpoint::new(address).speaking(transport.clone());
        Member::from(Arc::new(endpoint))
    });
    let set = EndpointSet::new(members.collect(), Arc::new(policy));
    let name = format!("{}:{}", key.host, key.port);
    Backend::new(name, Discovery::Listed, set).speaking(transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_their_port_or_without() {
        let read = |authority: &str, tls| {
            key(authority.as_bytes(), tls).map(|key| (key.host.into_string(), key.port))
        };
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(read("A.example", false), is("a.example", 80));
        assert_eq!(read("a.example", true), is("a.example", 443));
        assert_eq!(read("a.example:8080", true), is("a.example", 8080));
        assert_eq!(read("[::1]:5", false), is("::1", 5));
        for wrong in ["", "a b", "a.example:0", "a.example:x", "a/b", "a@b"] {
            assert_eq!(read(wrong, false), None, "{wrong}");
        }
    }

    #[test]
    fn no_more_hosts_are_remembered_than_there_is_room_for() {
        let hosts = NamedHosts::default();
        let key = |port| key(format!("a.example:{port}").as_bytes(), false).expect("a host");
        for port in 1..=3 * 256_u16 {
            hosts.remember(key(port), None);
            assert!(hosts.known.borrow().len() <= MOST);
            assert!(hosts.known(&key(port)).is_some());
        }
    }
}
