//! How quickly a registry is asked.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Instant;

/// The pace of all requests to one registry.
#[derive(Debug)]
pub(super) struct Pace {
    gap: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn of(requests_per_second: Option<f64>) -> Self {
        let gap = requests_per_second
            .filter(|it| it.is_finite() && *it > 0.001)
            .map_or(Duration::ZERO, |it| Duration::from_secs_f64(1.0 / it));
        Self {
            gap,
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until the next request may be made.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(Instant::now());
            *next = at + self.gap;
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Nobody asks for so long.
    pub(super) fn rest(&self, span: Duration) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Instant::now() + span);
    }
}

/// How long to wait before the attempt after `failed` ones: twice as long each time, give or take
/// half.
pub(super) fn back_off(first: Duration, longest: Duration, failed: u32) -> Duration {
    let span = first.saturating_mul(1 << failed.min(16)).min(longest);
    span.mul_f64(0.5 + fastrand::f64())
}

/// What `Retry-After` asks for, as seconds or a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_keep_their_distance() {
        let pace = Pace::of(Some(10.0));
        let start = Instant::now();
        for _ in 0..11 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed().as_millis() / 100, 10);
        pace.rest(Duration::from_secs(30));
        pace.turn().await;
        assert!(start.elapsed() >= Duration::from_secs(31));
    }

    #[test]
    fn waits_grow_and_end() {
        let wait = |failed| back_off(Duration::from_millis(100), Duration::from_secs(10), failed);
        assert!(wait(0) <= Duration::from_millis(150));
        assert!(wait(4) >= Duration::from_millis(800));
        assert!(wait(60) <= Duration::from_secs(15));
    }

    #[test]
    fn a_registry_says_when_to_come_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let of = |text: &'static str| {
            let headers =
                HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static(text))]);
            retry_after(&headers, now)
        };
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:49:40 GMT";
        assert_eq!(of(date), Some(Duration::from_secs(3)));
        assert_eq!(of("soon"), None);
    }
}
