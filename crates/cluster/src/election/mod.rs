//! One leader among the replicas: who holds the Lease `--election-id`.
//!
//! The rules are those of client-go's leader election, so that it may be watched and reasoned
//! about as any other: a record's age is judged by when *we* saw it change, never by the other's
//! clock; every update names the version that it replaces; whoever goes gives it back.

mod candidate;
mod leadership;
mod run;

pub(crate) use candidate::{Candidate, Step};
pub(crate) use leadership::Leadership;
pub(crate) use run::{Election, Leader};

use std::time::Duration;

/// How long a leader that is not heard of any more is waited for.
///
/// client-go's 15 s, 10 s and 2 s, with the first two shorter: a new leader is there within 15 s
/// of the old one's death, even where its last renewal was seen one retry late.
const LEASE: Duration = Duration::from_secs(12);

/// How long after its last renewal a leader still acts. What it sends at the last moment has the
/// rest of the lease to arrive.
const RENEW_DEADLINE: Duration = Duration::from_secs(8);

/// How often a leader renews, and another looks.
const RETRY: Duration = Duration::from_secs(2);

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(3);
