//! How many connections there may be, in all and of one client.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::guard::Guards;
use crate::metrics::Refused;
use crate::settings::Limits;

/// Shards of the table of clients, each with a lock of its own; taken once a connection, and only
/// if there is a limit.
const SHARDS: usize = 64;

/// Counts the connections of the process.
#[derive(Debug)]
pub(crate) struct Admission {
    most: usize,
    most_per_client: usize,
    count: AtomicUsize,
    clients: Vec<Mutex<HashMap<IpAddr, usize>>>,
    most_sessions: usize,
    sessions: AtomicUsize,
    /// What is known of clients besides.
    pub(crate) guards: Guards,
}

/// Counts one session of UDP until it is dropped.
#[derive(Debug)]
pub(crate) struct SessionPermit(Arc<Admission>);

impl Drop for SessionPermit {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    client: Option<IpAddr>,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let or_all = |limit| if limit == 0 { usize::MAX } else { limit };
        Self {
            most: or_all(limits.connections),
            most_per_client: or_all(limits.connections_per_client),
            count: AtomicUsize::new(0),
            clients: (0..SHARDS).map(|_| Mutex::default()).collect(),
            most_sessions: or_all(limits.udp_sessions),
            sessions: AtomicUsize::new(0),
            guards: Guards::default(),
        }
    }

    /// How many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Admits a connection of `client`, if the limits let it.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Refused> {
        let mut permit = self.admit_unknown()?;
        permit.count_for(client)?;
        Ok(permit)
    }

    /// Admits a connection whose client is not known yet.
    pub(crate) fn admit_unknown(self: &Arc<Self>) -> Result<Permit, Refused> {
        if self.count.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.count.fetch_sub(1, Ordering::AcqRel);
            return Err(Refused::Connections);
        }
        Ok(Permit {
            admission: Arc::clone(self),
            client: None,
        })
    }

    /// Admits a session of UDP, if there are not as many as may be.
    pub(crate) fn admit_session(self: &Arc<Self>) -> Option<SessionPermit> {
        if self.sessions.fetch_add(1, Ordering::AcqRel) >= self.most_sessions {
            self.sessions.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(SessionPermit(Arc::clone(self)))
    }

    /// How many sessions of UDP there are.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Acquire)
    }

    fn shard(&self, client: IpAddr) -> &Mutex<HashMap<IpAddr, usize>> {
        let last = match client {
            IpAddr::V4(address) => address.octets()[3],
            // The network's part: a client has the rest for itself.
            IpAddr::V6(address) => address.octets()[7],
        };
        &self.clients[usize::from(last) % SHARDS]
    }
}

impl Permit {
    /// Counts the connection for its client, if the limits let it; once only.
    pub(crate) fn count_for(&mut self, client: IpAddr) -> Result<(), Refused> {
        let admission = &self.admission;
        if admission.most_per_client == usize::MAX || self.client.is_some() {
            return Ok(());
        }
        let mut clients = admission
            .shard(client)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_default();
        if *count >= admission.most_per_client {
            return Err(Refused::ConnectionsPerClient);
        }
        *count += 1;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.count.fetch_sub(1, Ordering::AcqRel);
        let Some(client) = self.client else { return };
        let mut clients = self
            .admission
            .shard(client)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = clients.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_limited_in_all_and_of_one_client() {
        let limits = Limits {
            connections: 3,
            connections_per_client: 2,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::new(&limits));
        let [one, two] =
            ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let first = admission.admit(one).expect("a place");
        let _second = admission.admit(one).expect("a place");
        assert_eq!(
            admission.admit(one).err(),
            Some(Refused::ConnectionsPerClient)
        );
        let _third = admission.admit(two).expect("a place");
        assert_eq!(admission.admit(two).err(), Some(Refused::Connections));
        drop(first);
        assert_eq!(admission.count(), 2);
        assert!(admission.admit(one).is_ok());
    }
}
