//! Where certificates are kept, and who may order one: a cluster's Secrets and Leases, or files.
//!
//! Generic rather than boxed: who wires the parts together knows them.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::ca::Issued;
use crate::renew::{Failures, Window};

/// What is known of one certificate. Failures and windows are kept with it, so that all replicas
/// wait for as long as the one that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// The chain and key that are served, if there are any.
    pub issued: Option<Issued>,
    /// Who certified it, as the wish said; none if it came otherwise.
    pub issuer: Option<String>,
    /// The failures since then.
    pub failures: Option<Failures>,
    /// What the last one was, for people.
    pub error: Option<String>,
    /// When the CA would like it to be renewed.
    pub window: Option<Window>,
    /// When the CA is asked so again; none before it was asked first.
    pub ask_again: Option<SystemTime>,
}

/// Why something was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotKept {
    /// Somebody else wrote meanwhile.
    Changed,
    /// For people: it belongs to somebody else, or cannot be written.
    Failed(String),
}

/// Keeps records by id.
pub trait Vault: Send + Sync + 'static {
    /// A state of a record, as a Secret's `resourceVersion`.
    type Version: Send + Sync;

    /// The record and its state, none if there is none.
    ///
    /// # Errors
    /// It cannot be read, for people.
    fn read(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<(Record, Self::Version)>, String>> + Send;

    /// Keeps a record, whole or not at all, if it is still in the state `after`, or not there.
    ///
    /// # Errors
    /// It was changed, belongs to somebody else or cannot be written.
    fn write(
        &self,
        id: &str,
        record: &Record,
        after: Option<&Self::Version>,
    ) -> impl Future<Output = Result<(), NotKept>> + Send;
}

/// Lets one replica at a time order a certificate. Whoever loses a lock that it holds (its Lease
/// ran out) is kept from harm by [`Vault::write`], which sees that somebody else wrote.
pub trait Lock: Send + Sync + 'static {
    /// Given back when dropped.
    type Held: Send;

    /// The lock of a certificate, none if somebody else has it.
    ///
    /// # Errors
    /// It cannot be told, for people.
    fn try_lock(&self, id: &str)
    -> impl Future<Output = Result<Option<Self::Held>, String>> + Send;
}

/// What a document holds: its entries by name, as a Secret's `data`.
pub type Entries = BTreeMap<String, Vec<u8>>;

/// Keeps small documents by id, as `namespace/name`: accounts' keys, an authority's.
pub trait Papers: Send + Sync + 'static {
    /// A state of a document, as a Secret's `resourceVersion`.
    type Version: Send + Sync;

    /// The document and its state, none if there is none.
    ///
    /// # Errors
    /// It cannot be read, for people.
    fn read(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<(Entries, Self::Version)>, String>> + Send;

    /// Keeps a document, whole or not at all, if it is still in the state `after`, or not there.
    ///
    /// # Errors
    /// It was changed, belongs to somebody else or cannot be written.
    fn write(
        &self,
        id: &str,
        entries: &Entries,
        after: Option<&Self::Version>,
    ) -> impl Future<Output = Result<(), NotKept>> + Send;
}

impl<T: Vault> Vault for Arc<T> {
    type Version = T::Version;

    fn read(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<(Record, Self::Version)>, String>> + Send {
        T::read(self, id)
    }

    fn write(
        &self,
        id: &str,
        record: &Record,
        after: Option<&Self::Version>,
    ) -> impl Future<Output = Result<(), NotKept>> + Send {
        T::write(self, id, record, after)
    }
}

impl<T: Lock> Lock for Arc<T> {
    type Held = T::Held;

    fn try_lock(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<Self::Held>, String>> + Send {
        T::try_lock(self, id)
    }
}

impl<T: Papers> Papers for Arc<T> {
    type Version = T::Version;

    fn read(
        &self,
        id: &str,
    ) -> impl Future<Output = Result<Option<(Entries, Self::Version)>, String>> + Send {
        T::read(self, id)
    }

    fn write(
        &self,
        id: &str,
        entries: &Entries,
        after: Option<&Self::Version>,
    ) -> impl Future<Output = Result<(), NotKept>> + Send {
        T::write(self, id, entries, after)
    }
}
