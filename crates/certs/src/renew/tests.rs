use proptest::prelude::*;

use super::*;

const ID: &[u8] = b"default/web-tls";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn valid(from: u64, lifetime: Duration) -> Validity {
    Validity {
        not_before: at(from),
        not_after: at(from) + lifetime,
    }
}

fn failed(count: u32) -> Failures {
    Failures {
        count,
        last: at(1_800_000_000),
        is_rate_limit: false,
        not_before: None,
        of: None,
    }
}

fn share_of(validity: Validity, due: SystemTime) -> f64 {
    let after = due.duration_since(validity.not_before).expect("after");
    after.as_secs_f64() / validity.lifetime().as_secs_f64()
}

#[test]
fn without_a_window_it_is_about_two_thirds_of_long_and_short_lifetimes() {
    for lifetime in [90 * DAY, 45 * DAY, 160 * HOUR, HOUR, 5 * MINUTE] {
        let validity = valid(1_800_000_000, lifetime);
        let share = share_of(validity, due(ID, validity, None, Schedule::TwoThirds));
        assert!((0.64..0.70).contains(&share), "{lifetime:?}: {share}");
    }
}

#[test]
fn certificates_of_one_hour_are_not_all_renewed_at_once() {
    let validity = valid(1_800_000_000, 90 * DAY);
    let mut points: Vec<_> = (0..100u32)
        .map(|id| due(&id.to_be_bytes(), validity, None, Schedule::TwoThirds))
        .collect();
    points.sort();
    let spread = points[99].duration_since(points[0]).expect("sorted");
    assert!(spread > 3 * DAY, "{spread:?}");
}

#[test]
fn a_window_moved_into_the_past_means_now() {
    let validity = valid(1_800_000_000, 90 * DAY);
    let now = at(1_800_000_000) + DAY;
    let window = Window::new(now - 3 * HOUR, now - HOUR);
    assert!(due(ID, validity, window, Schedule::TwoThirds) < now);
}

#[test]
fn a_window_that_ends_before_it_starts_is_none() {
    assert_eq!(Window::new(at(10), at(10)), None);
    assert_eq!(Window::new(at(10), at(9)), None);
    assert!(Window::new(at(10), at(11)).is_some());
}

#[test]
fn a_window_after_the_end_does_not_leave_a_gap() {
    let validity = valid(1_800_000_000, 160 * HOUR);
    let window = Window::new(validity.not_after + DAY, validity.not_after + 2 * DAY);
    let share = share_of(validity, due(ID, validity, window, Schedule::TwoThirds));
    assert!((0.89..0.91).contains(&share), "{share}");
}

#[test]
fn a_renew_before_as_long_as_the_lifetime_is_not_listened_to() {
    let validity = valid(1_800_000_000, 160 * HOUR);
    let by = |schedule| due(ID, validity, None, schedule);
    assert_eq!(
        by(Schedule::Before(30 * DAY)),
        by(Schedule::TwoThirds),
        "it would be renewed without end"
    );
    let share = share_of(validity, by(Schedule::Before(40 * HOUR)));
    assert!((0.73..=0.75).contains(&share), "{share}");
}

#[test]
fn a_server_is_asked_for_its_window_between_once_a_minute_and_once_a_day() {
    assert_eq!(ask_again_after(Some(Duration::ZERO)), MINUTE);
    assert_eq!(ask_again_after(Some(2 * HOUR)), 2 * HOUR);
    assert_eq!(ask_again_after(Some(Duration::MAX)), DAY);
    assert_eq!(ask_again_after(None), 6 * HOUR);
}

#[test]
fn a_certificate_of_one_hour_is_tried_for_several_times_before_its_end() {
    let validity = valid(1_800_000_000, HOUR);
    let mut failures = failed(0);
    failures.last = due(ID, validity, None, Schedule::TwoThirds);
    let mut tries = 0;
    while failures.last < validity.not_after {
        tries += 1;
        failures.count += 1;
        failures.last = try_again(ID, &failures, Some(HOUR));
    }
    assert!((5..30).contains(&tries), "{tries}");
}

#[test]
fn a_new_name_fails_no_more_than_five_times_an_hour() {
    let mut failures = failed(0);
    let start = failures.last;
    let mut tries = 1;
    loop {
        failures.count += 1;
        failures.last = try_again(ID, &failures, None);
        if failures.last >= start + HOUR {
            break;
        }
        tries += 1;
    }
    assert!(tries <= 5, "{tries}");
}

#[test]
fn a_rate_limit_without_a_date_waits_an_hour_and_more_each_time() {
    let mut failures = failed(1);
    failures.is_rate_limit = true;
    let wait = |failures: &Failures| {
        let again = try_again(ID, failures, Some(HOUR));
        again.duration_since(failures.last).expect("later")
    };
    let first = wait(&failures);
    assert!(first >= HOUR.mul_f64(0.9), "{first:?}");
    failures.count = 4;
    assert!(wait(&failures) > 5 * HOUR);
}

#[test]
fn a_nonsensical_retry_after_does_not_end_renewals() {
    let mut failures = failed(1);
    failures.not_before = Some(failures.last + 10_000 * DAY);
    let again = try_again(ID, &failures, Some(90 * DAY));
    assert!(again < failures.last + 9 * DAY);
}

proptest! {
    #[test]
    fn the_point_is_in_the_window_and_the_same_each_time(
        id: Vec<u8>,
        start in 0u64..4_000_000_000,
        width in 1u64..10_000_000,
    ) {
        let validity = valid(start, Duration::from_secs(width) * 10);
        let window = Window::new(at(start), at(start + width));
        let point = due(&id, validity, window, Schedule::TwoThirds);
        prop_assert!(point >= at(start) && point <= at(start + width));
        prop_assert_eq!(point, due(&id, validity, window, Schedule::Before(HOUR)));
    }

    #[test]
    fn it_is_renewed_within_its_lifetime_whatever_is_said(
        id: Vec<u8>,
        from in 0u64..4_000_000_000,
        lifetime in 0u64..1_000_000_000,
        before: u64,
        window in proptest::option::of((0u64..9_000_000_000, 0u64..9_000_000_000)),
    ) {
        let validity = valid(from, Duration::from_secs(lifetime));
        let window = window.and_then(|(start, end)| Window::new(at(start), at(end)));
        let schedule = Schedule::Before(Duration::from_secs(before));
        let due = due(&id, validity, window, schedule);
        prop_assert!(due <= validity.not_after);
        if window.is_none() {
            prop_assert!(due >= validity.not_before);
        }
    }

    #[test]
    fn a_retry_is_later_than_the_failure_and_than_what_the_ca_asked_for(
        id: Vec<u8>,
        count: u32,
        put_off in proptest::option::of(0u64..600_000),
        lifetime in proptest::option::of(0u64..1_000_000_000),
        is_rate_limit: bool,
    ) {
        let mut failures = failed(count);
        failures.is_rate_limit = is_rate_limit;
        failures.not_before = put_off.map(|after| failures.last + Duration::from_secs(after));
        let again = try_again(&id, &failures, lifetime.map(Duration::from_secs));
        prop_assert!(again > failures.last);
        prop_assert!(failures.not_before.is_none_or(|asked| again >= asked));
        prop_assert!(again < failures.last + 9 * DAY);
    }
}
