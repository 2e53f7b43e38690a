//! How often it is told how many routes are attached: no network.

use std::time::Duration;

use tokio::time::Instant;

/// How soon after a first change.
const FIRST: Duration = Duration::from_millis(500);

/// How rarely, where they change all the time.
const LONGEST: Duration = Duration::from_secs(8);

/// When the numbers of attached routes of one object may be written. While they go on changing,
/// each write is followed by a longer pause: a thousand routes that come one after the other within
/// a minute are about ten writes.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when there is something to be written.
    since: Option<Instant>,
    /// When it was last written.
    wrote: Option<Instant>,
    pause: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            since: None,
            wrote: None,
            pause: FIRST,
        }
    }

    /// The numbers are others than those that were written. When they may be.
    pub(super) fn changed(&mut self, now: Instant) -> Instant {
        let first = *self.since.get_or_insert(now) + FIRST;
        let next = self.wrote.map(|wrote| wrote + self.pause);
        next.map_or(first, |next| next.max(first))
    }

    /// They are written.
    pub(super) fn wrote(&mut self, now: Instant) {
        let calm = self.pause * 2;
        self.pause = match self.wrote {
            Some(wrote) if now.duration_since(wrote) < calm => (self.pause * 2).min(LONGEST),
            _ => FIRST,
        };
        self.wrote = Some(now);
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_changes_is_about_ten_writes_and_a_single_one_is_told_soon() {
        let start = Instant::now();
        let mut pace = Pace::new();
        let mut writes = 0;
        for step in 0..1200 {
            let now = start + Duration::from_millis(50) * step;
            if pace.changed(now) <= now {
                pace.wrote(now);
                writes += 1;
            }
        }
        assert!((5..=12).contains(&writes), "{writes}");
        pace.wrote(start + Duration::from_secs(60));
        let later = start + Duration::from_secs(120);
        assert_eq!(pace.changed(later), later + FIRST);
        assert_eq!(pace.changed(later + FIRST), later + FIRST);
        pace.wrote(later + FIRST);
        assert_eq!(pace.pause, FIRST);
    }
}
