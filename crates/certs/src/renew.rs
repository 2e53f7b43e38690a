//! When a certificate is renewed, and when a failed renewal is tried again.
//!
//! Pure: the caller brings the time. What is random is made of the certificate's id, so that
//! every replica comes to the same point, today and after a restart, and nothing has to be kept.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::random::share;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often an ACME server is asked for a renewal window if it does not say, and after it could
/// not be asked (RFC 9773, section 4.3.3).
const ASK_AGAIN: Duration = Duration::from_secs(6 * HOUR.as_secs());

/// The longest that a CA may put us off: a limit counted by the week is over by then, and a
/// nonsensical date must not end renewals for good.
const LONGEST_PUT_OFF: Duration = Duration::from_secs(8 * DAY.as_secs());

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its `notBefore`.
    pub not_before: SystemTime,
    /// Its `notAfter`.
    pub not_after: SystemTime,
}

impl Validity {
    /// How long it is valid; nothing if it ends before it begins.
    pub fn lifetime(&self) -> Duration {
        self.not_after
            .duration_since(self.not_before)
            .unwrap_or_default()
    }
}

/// The window in which a CA would like a certificate to be renewed (RFC 9773, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    start: SystemTime,
    end: SystemTime,
}

impl Window {
    /// A window, or none if it does not end after its start: such an answer counts as no answer
    /// (RFC 9773, section 4.2).
    pub fn new(start: SystemTime, end: SystemTime) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// The point at which the certificate `id` is renewed: the same for as long as the window is
    /// the same. One in the past means now.
    fn point(&self, id: &[u8]) -> SystemTime {
        let width = self.end.duration_since(self.start).unwrap_or_default();
        let (start, end) = (since_epoch(self.start), since_epoch(self.end));
        let share = share(&[b"window", id, &start.to_be_bytes(), &end.to_be_bytes()]);
        // Within the window, which ends at a time that there is.
        self.start + width.mul_f64(share).min(width)
    }
}

/// When a certificate is renewed that its CA says nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Schedule {
    /// When two thirds of its lifetime have passed, give or take a fortieth.
    #[default]
    TwoThirds,
    /// So long before its end (cert-manager's `renewBefore`). If that is its whole lifetime or
    /// more, as if nothing had been said: it would be renewed without end.
    Before(Duration),
}

/// When the certificate `id` is renewed: at a random point of the CA's window if there is one,
/// else by the schedule. A point in the past means now. Never later than at nine tenths of the
/// lifetime, whatever the CA says, so that there is time left for a second try.
pub fn due(
    id: &[u8],
    validity: Validity,
    window: Option<Window>,
    schedule: Schedule,
) -> SystemTime {
    let lifetime = validity.lifetime();
    let latest = validity.not_before + lifetime.mul_f64(0.9).min(lifetime);
    let point = match window {
        Some(window) => window.point(id),
        None => scheduled(id, validity, schedule),
    };
    point.min(latest)
}

fn scheduled(id: &[u8], validity: Validity, schedule: Schedule) -> SystemTime {
    let lifetime = validity.lifetime();
    let made = since_epoch(validity.not_before).to_be_bytes();
    let share = share(&[b"schedule", id, &made]);
    let after = match schedule {
        Schedule::Before(before) if before < lifetime => {
            // Earlier by no more than a fortieth, never later than what was asked for.
            let asked = lifetime - before;
            asked.saturating_sub(lifetime.min(asked).mul_f64(share / 40.0))
        }
        Schedule::Before(_) | Schedule::TwoThirds => {
            lifetime.mul_f64(2.0 / 3.0 + (share - 0.5) / 20.0)
        }
    };
    validity.not_before + after.min(lifetime)
}

/// How long after one question for the renewal window comes the next: what the CA asks for
/// (`Retry-After`), between a minute and a day (RFC 9773, section 4.3.2), or six hours.
pub fn ask_again_after(retry_after: Option<Duration>) -> Duration {
    retry_after.unwrap_or(ASK_AGAIN).clamp(MINUTE, DAY)
}

/// The failures since a certificate was last got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many one after another, at least one.
    pub count: u32,
    /// When the last one was.
    pub last: SystemTime,
    /// Whether the last one was a rate limit (`rateLimited`, RFC 8555, section 6.6).
    pub is_rate_limit: bool,
    /// When the CA wants to be asked again (`Retry-After`), if it said so.
    pub not_before: Option<SystemTime>,
    /// What was wished for when it failed, as a number that tells wishes apart: another wish is
    /// not made to wait for the mending of this one. None if that is not known.
    #[serde(default)]
    pub of: Option<u64>,
}

/// When to try again for the certificate `id`: each time twice as long after the last failure, by
/// a tenth more or less, up to a twenty-fourth of the certificate's lifetime, or six hours if
/// there is none yet; a day at most. What the CA asked for comes on top, up to eight days, and
/// after a rate limit without such a word it is an hour at least.
pub fn try_again(id: &[u8], failures: &Failures, lifetime: Option<Duration>) -> SystemTime {
    let (first, longest) = match lifetime {
        // Five failed validations an hour are what some CAs allow: the first steps take longer.
        None => (5 * MINUTE, 6 * HOUR),
        Some(lifetime) => {
            let first = (lifetime / 60).clamp(MINUTE / 6, 5 * MINUTE);
            (first, (lifetime / 24).clamp(first, DAY))
        }
    };
    let (first, longest) = if failures.is_rate_limit && failures.not_before.is_none() {
        (first.max(HOUR), longest.max(DAY))
    } else {
        (first, longest)
    };
    let doubled = 1u32 << failures.count.saturating_sub(1).min(20);
    let wait = first.saturating_mul(doubled).min(longest);
    let last = since_epoch(failures.last).to_be_bytes();
    let share = share(&[b"again", id, &last, &failures.count.to_be_bytes()]);
    let own = failures.last + wait.mul_f64(0.9 + share / 5.0);
    let Some(asked) = failures.not_before else {
        return own;
    };
    let asked = asked.min(failures.last + LONGEST_PUT_OFF);
    // Some minutes after it, so that not everybody comes at once.
    own.max(asked + first.min(5 * MINUTE).mul_f64(share))
}

/// Whole seconds, before 1970 negative: what a certificate's times are made of.
fn since_epoch(time: SystemTime) -> i64 {
    let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => seconds(since),
        Err(before) => seconds(before.duration()).saturating_neg(),
    }
}

#[cfg(test)]
mod tests;
