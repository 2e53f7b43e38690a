//! What the status of an ImageList is to be.

use std::time::Duration;

use k8s_openapi::jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::report::Report;

/// The type of the one condition.
const READY: &str = "Ready";

/// Its reason as long as the first round goes on.
const SYNCING: &str = "Syncing";

/// The longest message of a condition, and of an image, in characters.
const MESSAGE: usize = 600;
const REASON: usize = 300;

/// The longest name of an image there, in characters.
const NAME: usize = 300;

/// How often is written that all is still there, where nothing else changes.
const STILL: Duration = Duration::from_hours(1);

/// An ImageList's `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) observed_generation: Option<i64>,
    pub(super) conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) images: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) present: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failing: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_sync_time: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) failures: Vec<Failing>,
}

/// As `meta/v1` has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) observed_generation: i64,
    pub(super) last_transition_time: String,
    pub(super) reason: String,
    pub(super) message: String,
}

/// An image that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Failing {
    image: String,
    reason: String,
}

/// What is known of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Of the object as it is.
    pub(super) generation: i64,
    /// Why it cannot be followed, if it cannot.
    pub(super) wrong: Option<&'a Wrong>,
    /// What became of it, in this form or the one before.
    pub(super) report: Option<&'a Report>,
}

/// Why a list cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// In a word.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) message: String,
}

impl Status {
    /// What it is to be after `self`, which it is now.
    pub(super) fn next(&self, known: Known<'_>, now: Timestamp) -> Self {
        let report = known.report;
        let is_current = report.is_some_and(|it| it.generation == known.generation);
        // As after a restart: it is so until something else is known. How far a round is, is news of
        // the first one alone.
        let is_over = is_current && report.is_some_and(|it| !it.is_under_way);
        let is_first = is_current && self.is_syncing();
        if known.wrong.is_none()
            && !is_over
            && !is_first
            && self.observed_generation == Some(known.generation)
        {
            return self.clone();
        }
        let (is_ready, reason, message) = match (known.wrong, report) {
            (Some(wrong), _) => (false, wrong.reason, cut(&wrong.message, MESSAGE)),
            (None, Some(report)) if is_current => said(report),
            _ => (false, SYNCING, "its images are being brought".to_owned()),
        };
        let mut next = Self {
            observed_generation: Some(known.generation),
            ..self.clone()
        };
        let status = if is_ready { "True" } else { "False" };
        let former = self
            .ready()
            .filter(|it| it.status == status && is_time(&it.last_transition_time));
        next.conditions = vec![Condition {
            r#type: READY.to_owned(),
            status: status.to_owned(),
            observed_generation: known.generation,
            last_transition_time: former
                .map_or_else(|| time(now), |it| it.last_transition_time.clone()),
            reason: reason.to_owned(),
            message,
        }];
        match report {
            Some(report) => next.counts(report),
            // Those were of another form of it.
            None => {
                (next.images, next.present, next.failing) = (None, None, None);
                next.failures.clear();
            }
        }
        next.last_sync_time = next.last_sync_time.filter(|it| is_time(it));
        next
    }

    /// Whether it is worth writing over `last`.
    pub(super) fn is_news(&self, last: &Self) -> bool {
        let without_time = |it: &Self| Self {
            last_sync_time: None,
            ..it.clone()
        };
        if without_time(self) != without_time(last) {
            return true;
        }
        let read = |it: &Self| it.last_sync_time.as_ref()?.parse::<Timestamp>().ok();
        match (read(last), read(self)) {
            (Some(last), Some(now)) => now.duration_since(last).unsigned_abs() >= STILL,
            (last, now) => last != now,
        }
    }

    fn ready(&self) -> Option<&Condition> {
        self.conditions.iter().find(|it| it.r#type == READY)
    }

    /// Whether nothing has come of it yet.
    fn is_syncing(&self) -> bool {
        self.ready().is_some_and(|it| it.reason == SYNCING)
    }

    fn counts(&mut self, report: &Report) {
        self.images = Some(report.images);
        self.present = Some(report.present);
        self.failing = Some(report.failing);
        let failures = report.failures.iter();
        self.failures = failures
            .map(|it| Failing {
                image: cut(&it.image, NAME),
                reason: cut(&it.reason, REASON),
            })
            .collect();
        if report.failing == 0 && !report.is_under_way {
            self.last_sync_time = Some(time(report.at));
        }
    }
}

fn said(report: &Report) -> (bool, &'static str, String) {
    if report.is_under_way {
        let message = format!("{} of {} images are there", report.present, report.images);
        return (false, SYNCING, message);
    }
    let Some(first) = report.failures.first() else {
        let message = match report.images {
            1 => "its image is there".to_owned(),
            count => format!("all {count} images are there"),
        };
        return (true, "Synced", message);
    };
    let more = match report.failing {
        1 => String::new(),
        count => format!("; and {} more", count - 1),
    };
    let (image, why) = (cut(&first.image, NAME), cut(&first.reason, REASON));
    let counted = format!("{} of {} images are missing", report.failing, report.images);
    (false, "Failing", format!("{counted}: {image}: {why}{more}"))
}

/// The beginning of a text, on one line.
fn cut(text: &str, most: usize) -> String {
    let mut plain = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    let mut start: String = plain.by_ref().take(most).collect();
    if plain.next().is_some() {
        start.pop();
        start.push('…');
    }
    start
}

/// As the API server takes it, in seconds.
fn time(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

fn is_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
    }

    fn report(generation: i64, present: usize, failed: &[(&str, &str)], when: i64) -> Report {
        let failed = failed.iter();
        let failed: BTreeMap<_, _> = failed
            .map(|(name, why)| ((*name).to_owned(), (*why).to_owned()))
            .collect();
        Report {
            at: at(when),
            ..Report::new(generation, present, &failed)
        }
    }

    fn known(generation: i64, report: Option<&Report>) -> Known<'_> {
        Known {
            generation,
            wrong: None,
            report,
        }
    }

    fn ready(status: &Status) -> (&str, &str) {
        let condition = &status.conditions[0];
        (&condition.status, &condition.reason)
    }

    #[test]
    fn it_goes_with_the_list_and_stays_where_nothing_changes() {
        let new = Status::default().next(known(1, None), at(0));
        assert_eq!(ready(&new), ("False", "Syncing"));
        assert!(new.is_news(&Status::default()));
        assert!(!new.next(known(1, None), at(9)).is_news(&new));
        let done = report(1, 3, &[], 5);
        let synced = new.next(known(1, Some(&done)), at(6));
        assert_eq!(ready(&synced), ("True", "Synced"));
        assert_eq!(
            synced.last_sync_time.as_deref(),
            Some("2023-11-14T22:13:25Z")
        );
        assert!(synced.is_news(&new));
        // Rounds that find the same are told once an hour.
        for (later, is_news) in [(600, false), (3_599, false), (3_605, true)] {
            let again = report(1, 3, &[], later);
            let next = synced.next(known(1, Some(&again)), at(later));
            assert_eq!(next.is_news(&synced), is_news, "{later}");
            assert_eq!(next.conditions, synced.conditions);
        }
        // A process that has just begun leaves it as it is …
        let read: Status = serde_json::from_value(serde_json::json!(synced)).expect("ours");
        assert_eq!(read, synced);
        assert!(!read.next(known(1, None), at(99)).is_news(&synced));
        // … unless the list is another one.
        let other = read.next(known(2, None), at(99));
        assert_eq!((ready(&other), other.images), (("False", "Syncing"), None));
        assert!(other.last_sync_time.is_some(), "of the last time");
    }

    #[test]
    fn how_far_the_first_round_is_is_told_and_of_others_only_what_came_of_them() {
        let under_way =
            |generation, present| Report::under_way(generation, 9, present, &BTreeMap::new());
        let new = Status::default().next(known(1, None), at(0));
        for present in [0, 4] {
            let status = new.next(known(1, Some(&under_way(1, present))), at(1));
            assert_eq!(ready(&status), ("False", "Syncing"));
            assert_eq!((status.images, status.present), (Some(9), Some(present)));
            assert_eq!(
                status.conditions[0].message,
                format!("{present} of 9 images are there")
            );
            assert_eq!(status.last_sync_time, None);
            assert!(status.is_news(&new));
        }
        let some = new.next(known(1, Some(&under_way(1, 4))), at(1));
        let synced = some.next(known(1, Some(&report(1, 9, &[], 5))), at(6));
        assert_eq!(ready(&synced), ("True", "Synced"));
        let failing = some.next(known(1, Some(&report(1, 8, &[("a", "gone")], 5))), at(6));
        for done in [synced, failing] {
            let next = done.next(known(1, Some(&under_way(1, 2))), at(9));
            assert!(!next.is_news(&done), "{next:?}");
            // Another form of it has a first round of its own.
            let other = done.next(known(2, Some(&under_way(2, 2))), at(9));
            assert_eq!(
                (ready(&other), other.present),
                (("False", "Syncing"), Some(2))
            );
        }
    }

    #[test]
    fn what_fails_is_named_with_the_cause_and_cut() {
        let long = "x".repeat(2_000);
        let failed = report(1, 1, &[("a.example/b:1", "no\u{1b}such"), ("c", &long)], 5);
        let status = Status::default().next(known(1, Some(&failed)), at(6));
        let message = &status.conditions[0].message;
        assert_eq!(
            message,
            "2 of 3 images are missing: a.example/b:1: no such; and 1 more"
        );
        assert_eq!((status.present, status.failing), (Some(1), Some(2)));
        assert_eq!(status.failures[1].reason.chars().count(), REASON);
        assert_eq!(status.last_sync_time, None);
        let many: Vec<_> = (0..50).map(|it| format!("i{it:02}")).collect();
        let many: Vec<_> = many.iter().map(|it| (it.as_str(), "gone")).collect();
        let many = report(1, 0, &many, 5);
        let status = Status::default().next(known(1, Some(&many)), at(6));
        assert_eq!((status.failures.len(), status.failing), (20, Some(50)));
    }

    #[test]
    fn a_list_that_becomes_wrong_keeps_the_counts_of_what_it_was() {
        let done = report(1, 3, &[], 5);
        let synced = Status::default().next(known(1, Some(&done)), at(6));
        let wrong = Wrong {
            reason: "Invalid",
            message: "spec.images[0]: none".to_owned(),
        };
        let known = Known {
            generation: 2,
            wrong: Some(&wrong),
            report: Some(&done),
        };
        let status = synced.next(known, at(7));
        assert_eq!(ready(&status), ("False", "Invalid"));
        assert_eq!(status.observed_generation, Some(2));
        assert_eq!(status.images, Some(3));
        assert!(!status.next(known, at(70)).is_news(&status));
    }
}
