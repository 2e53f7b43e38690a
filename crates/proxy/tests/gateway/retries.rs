//! Requests that are sent again, and time limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::policy::{Asked, Ejection, Retry, RetryOn, RouteRetry};
use model::{Action, Policy, Rule, Timeouts};

use crate::support::*;

fn retrying(server: &Server, attempts: u8, codes: &[u16]) -> Rule {
    Rule {
        retry: Some(Arc::new(RouteRetry {
            attempts,
            codes: codes.into(),
            backoff: Duration::from_millis(1),
            on: RetryOn::ANY_REQUEST,
            within: Duration::ZERO,
        })),
        ..rule(Action::Forward(backend(
            "default/web:80",
            &[server.address],
        )))
    }
}

/// Fails so many times before it answers.
fn failing(times: usize, with: u16) -> Server {
    Server::new(move |_, before| {
        Some(if before < times {
            status(with)
        } else {
            ok("good")
        })
    })
}

#[test]
fn statuses_that_the_rule_names_are_followed_by_other_attempts() {
    let plane = Plane::new();
    for (times, with, attempts, codes, expected) in [
        (2, 500, 3, &[500][..], 200),
        (3, 500, 3, &[500], 200),
        (4, 500, 3, &[500], 500),
        (2, 503, 3, &[500], 503),
        (1, 504, 2, &[500, 502, 503, 504], 200),
        (3, 502, 2, &[500, 502, 503, 504], 502),
        (1, 500, 0, &[500], 500),
    ] {
        let server = failing(times, with);
        let at = plane.serve(http(vec![retrying(&server, attempts, codes)]));
        let response = get(at, "/", &[]);
        let what = format!("{times} times {with}, {attempts} retries of {codes:?}");
        assert_eq!(response.status, expected, "{what}");
        let body = if expected == 200 { "good" } else { "own" };
        assert_eq!(
            response.body, body,
            "the last answer is the backend's own: {what}"
        );
        let most = usize::from(attempts) + 1;
        assert!(server.seen().len() <= most, "{what}");
    }
}

#[test]
fn bodies_are_sent_again_as_far_as_they_are_kept() {
    let plane = Plane::new();
    let server = failing(2, 500);
    let at = plane.serve(http(vec![retrying(&server, 3, &[500])]));
    let body: Vec<u8> = (0..10_000_u32).map(|n| n.to_be_bytes()[3]).collect();
    assert_eq!(ask(at, "POST", "/", &[], &body).status, 200);
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|seen| seen.body == body));
    // Longer than what is kept.
    let server = failing(2, 500);
    let at = plane.serve(http(vec![retrying(&server, 3, &[500])]));
    let response = ask(at, "POST", "/", &[], &[b'x'; 100_000]);
    assert!(matches!(response.status, 500 | 502), "{}", response.status);
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_connection_that_is_closed_or_refused_is_followed_by_another_attempt() {
    let plane = Plane::new();
    let server = Server::new(|_, before| (before > 1).then(|| ok("good")));
    let at = plane.serve(http(vec![retrying(&server, 3, &[])]));
    assert_eq!(ask(at, "POST", "/", &[], b"body").body, "good");
    assert_eq!(server.seen().len(), 3);
    let good = Server::named("good");
    let both = backend("default/web:80", &[nobody(), good.address]);
    let rule = Rule {
        action: Action::Forward(both),
        ..retrying(&good, 1, &[])
    };
    let at = plane.serve(http(vec![rule]));
    for _ in 0..10 {
        assert_eq!(ask(at, "POST", "/", &[], b"body").body, "good");
    }
}

#[test]
fn there_is_a_pause_between_attempts() {
    let plane = Plane::new();
    let server = failing(2, 500);
    let pause = Duration::from_millis(300);
    let rule = Rule {
        retry: Some(Arc::new(RouteRetry {
            attempts: 2,
            codes: [500].into(),
            backoff: pause,
            on: RetryOn::ANY_REQUEST,
            within: Duration::ZERO,
        })),
        ..retrying(&server, 2, &[500])
    };
    let at = plane.serve(http(vec![rule]));
    let begin = Instant::now();
    assert_eq!(get(at, "/", &[]).status, 200);
    assert!(begin.elapsed() >= 2 * pause);
}

fn slow(delay: Duration) -> Server {
    Server::new(move |_, before| {
        if before == 0 {
            std::thread::sleep(delay);
        }
        Some(ok("good"))
    })
}

fn limited(rule: Rule, total: Duration, attempt: Duration) -> Rule {
    Rule {
        timeouts: Arc::new(Timeouts {
            total,
            attempt,
            ..timeouts()
        }),
        ..rule
    }
}

#[test]
fn what_takes_too_long_is_504() {
    let plane = Plane::new();
    let short = Duration::from_millis(200);
    for (total, attempt) in [
        (short, Duration::ZERO),
        (Duration::ZERO, short),
        (PATIENCE, short),
    ] {
        let server = slow(Duration::from_secs(40));
        let plain = Rule {
            retry: None,
            ..retrying(&server, 0, &[])
        };
        let at = plane.serve(http(vec![limited(plain, total, attempt)]));
        let begin = Instant::now();
        assert_eq!(get(at, "/", &[]).status, 504);
        assert!(begin.elapsed() < Duration::from_secs(15));
        // One that the machine held up for longer says nothing.
        let quick = (0..10).any(|_| get(at, "/", &[]).status == 200);
        assert!(quick, "the next answers are");
    }
}

#[test]
fn an_attempt_that_takes_too_long_is_followed_by_another_within_the_whole_time() {
    let plane = Plane::new();
    let server = slow(Duration::from_secs(40));
    let attempt = Duration::from_secs(4);
    let again = retrying(&server, 2, &[]);
    let at = plane.serve(http(vec![limited(again, PATIENCE, attempt)]));
    assert_eq!(get(at, "/", &[]).body, "good");
    assert_eq!(server.seen().len(), 2);

    let server = Server::new(|_, _| {
        std::thread::sleep(Duration::from_secs(40));
        Some(ok("late"))
    });
    let again = retrying(&server, 7, &[]);
    let attempt = Duration::from_millis(300);
    let total = Duration::from_millis(700);
    let at = plane.serve(http(vec![limited(again, total, attempt)]));
    let begin = Instant::now();
    assert_eq!(get(at, "/", &[]).status, 504);
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "the whole time bounds all"
    );
    assert!(server.seen().len() <= 3);
}

/// What part of the requests is sent again, in percent, when every one would be.
fn sent_again(asked: Asked, expected: u16) -> usize {
    const REQUESTS: usize = 200;

    let server = failing(usize::MAX, 500);
    let policy = Policy {
        retry: Retry {
            // With what time earns, which is next to nothing.
            min_per_second: 1,
            asked,
            ..Retry::default()
        },
        // Nobody is left out for what it answers here.
        ejection: Ejection {
            failures: 0,
            ..Ejection::default()
        },
        ..Policy::default()
    };
    let backend = backend_with("default/web:80", &[server.address], policy);
    let plane = Plane::new();
    let at = plane.serve(http(vec![Rule {
        retry: Some(Arc::new(RouteRetry {
            attempts: 1,
            codes: [500].into(),
            backoff: Duration::ZERO,
            on: RetryOn::ANY_REQUEST,
            within: Duration::ZERO,
        })),
        ..rule(Action::Forward(backend))
    }]));
    let mut others = 0;
    for _ in 0..REQUESTS {
        let status = get(at, "/", &[]).status;
        // Whoever was sent again hears what the backend said last.
        others += usize::from(status == expected);
    }
    let again = server.seen().len() - REQUESTS;
    if expected != 500 {
        assert_eq!(others, REQUESTS - again, "who was not sent again hears so");
    }
    again * 100 / REQUESTS
}

#[test]
fn a_rules_retries_are_as_many_as_it_says_unless_somebody_asks_for_a_budget() {
    assert_eq!(
        sent_again(Asked::Nobody, 500),
        100,
        "the API has no budget unasked"
    );
    // 20 %, and what the seconds of a slow machine earn.
    for (asked, status) in [(Asked::Service, 500), (Asked::Constraint, 503)] {
        let again = sent_again(asked, status);
        assert!((15..=45).contains(&again), "{asked:?}: {again} %");
    }
}
