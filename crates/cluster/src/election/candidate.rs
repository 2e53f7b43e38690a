//! What a candidate makes of the record that it sees: no clock, no network.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};

use super::LEASE;
use crate::clock::Moment;

/// One that would lead.
#[derive(Debug)]
pub(crate) struct Candidate {
    identity: String,
    /// The record as it was last seen, and when it was first seen like this.
    observed: Option<(LeaseSpec, Moment)>,
}

/// What a candidate may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nobody holds it, or nobody who was heard of for long enough, or we do: write the record.
    Write,
    /// Another holds it for so long yet, if it is not heard of again.
    Wait(Duration),
}

impl Candidate {
    pub(crate) fn new(identity: String) -> Self {
        Self {
            identity,
            observed: None,
        }
    }

    /// Sees the record as it is at `now`.
    pub(crate) fn see(&mut self, lease: &Lease, now: Moment) -> Step {
        let spec = lease.spec.clone().unwrap_or_default();
        let since = match &self.observed {
            Some((observed, since)) if *observed == spec => *since,
            _ => now,
        };
        let duration = seconds(&spec);
        let holder = spec.holder_identity.clone().unwrap_or_default();
        self.observed = Some((spec, since));
        if holder.is_empty() || holder == self.identity {
            return Step::Write;
        }
        match duration.checked_sub(now.since(since)) {
            Some(left) if !left.is_zero() => Step::Wait(left),
            _ => Step::Write,
        }
    }

    /// Who leads, as far as it is known.
    pub(crate) fn holder(&self) -> Option<&str> {
        let (spec, _) = self.observed.as_ref()?;
        spec.holder_identity.as_deref().filter(|it| !it.is_empty())
    }
}

/// How long the holder asked to be waited for.
fn seconds(spec: &LeaseSpec) -> Duration {
    let asked = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    asked.map_or(LEASE, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn lease(holder: &str, renewed: i64) -> Lease {
        let renewed = Timestamp::from_second(renewed).expect("a time");
        Lease {
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                renew_time: Some(MicroTime(renewed)),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        }
    }

    const fn after(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn another_is_waited_for_from_when_its_record_was_seen_to_change_whatever_its_clock_says() {
        let mut candidate = Candidate::new("b".to_owned());
        let start = Moment::now();
        // Renewed in 1970, and in the far future: neither clock is believed.
        let old = lease("a", 0);
        assert_eq!(candidate.see(&old, start), Step::Wait(after(15)));
        let later = start + after(14);
        assert_eq!(candidate.see(&old, later), Step::Wait(after(1)));
        let renewed = lease("a", 9_000_000_000);
        assert_eq!(candidate.see(&renewed, later), Step::Wait(after(15)));
        assert_eq!(candidate.see(&renewed, later + after(15)), Step::Write);
        assert_eq!(candidate.holder(), Some("a"));
    }

    #[test]
    fn what_is_ours_or_given_back_is_taken_at_once() {
        let mut candidate = Candidate::new("b".to_owned());
        let now = Moment::now();
        assert_eq!(candidate.see(&lease("b", 0), now), Step::Write);
        assert_eq!(candidate.see(&lease("", 0), now), Step::Write);
        assert_eq!(candidate.see(&Lease::default(), now), Step::Write);
        assert_eq!(candidate.holder(), None);
    }
}
