//! Connections for watches.

use std::sync::Arc;

use kube::Client;

use crate::client::Connection;

/// How many watches share a connection. API servers take about a hundred requests at once on one,
/// and let more wait without a word.
const WATCHES: usize = 64;

/// As many connections as all watches take, so that an ordinary request never waits for a watch.
#[derive(Debug)]
pub(crate) struct Pool {
    connection: Connection,
    clients: Vec<Place>,
}

/// A place for a watch on a connection, free again when it is dropped.
#[derive(Clone)]
pub(crate) struct Place(Arc<Client>);

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place")
            .field(&Arc::strong_count(&self.0))
            .finish()
    }
}

impl Place {
    pub(crate) fn client(&self) -> &Client {
        &self.0
    }
}

impl Pool {
    pub(crate) fn new(connection: Connection) -> Self {
        Self {
            connection,
            clients: Vec::new(),
        }
    }

    /// The client for requests now and then.
    pub(crate) fn client(&self) -> &Client {
        self.connection.client()
    }

    /// A place for a watch, or for a request now and then.
    pub(crate) fn place_for(&mut self, is_watch: bool) -> Place {
        match is_watch {
            true => self.place(),
            false => Place(Arc::new(self.connection.client().clone())),
        }
    }

    /// A place for one more watch.
    pub(crate) fn place(&mut self) -> Place {
        // One is the pool's own.
        let has_room = |place: &&Place| Arc::strong_count(&place.0) <= WATCHES;
        if let Some(place) = self.clients.iter().find(has_room) {
            return place.clone();
        }
        let place = Place(Arc::new(self.connection.another()));
        self.clients.push(place.clone());
        place
    }
}
