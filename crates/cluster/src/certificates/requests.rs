//! Requests of this module, each with a limit to its time, and what became of them.

use std::fmt;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::{sleep, timeout};

use super::MARK;
use crate::client::chain;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// How often what must not be lost is tried, and how long after the first failure; each further
/// time twice as long.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Wrong {
    /// It is another than it was thought to be, or is there, or is not (404, 409, and 422 of a
    /// test in a JSON patch).
    Changed(String),
    /// Another field manager has a field (409).
    Owned(String),
    /// It will not be done.
    Refused(String),
    /// It may be done later.
    Unreachable(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed(why) | Self::Owned(why) | Self::Refused(why) | Self::Unreachable(why) => {
                f.write_str(why)
            }
        }
    }
}

impl From<kube::Error> for Wrong {
    fn from(error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Unreachable(chain(&error));
        };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let mut causes = causes.map(|cause| cause.reason.as_str());
        match status.code {
            409 if causes.any(|reason| reason == "FieldManagerConflict") => {
                Self::Owned(status.message)
            }
            404 | 409 => Self::Changed(status.message),
            // What a failed test of a patch is told by; a value that is not valid says which.
            422 if status
                .details
                .as_ref()
                .is_none_or(|it| it.causes.is_empty()) =>
            {
                Self::Changed(status.message)
            }
            400..=428 | 430..=499 => Self::Refused(status.message),
            _ => Self::Unreachable(status.message),
        }
    }
}

/// A request, and its answer if it comes in time.
pub(super) async fn within<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Wrong> {
    match timeout(REQUEST, request).await {
        Ok(answer) => answer.map_err(Wrong::from),
        Err(_) => Err(Wrong::Unreachable(
            "the API server does not answer in time".to_owned(),
        )),
    }
}

/// Tries again while the API server is away, for about a quarter of a minute: what a CA has given
/// is not lost lightly.
pub(super) async fn stubbornly<T, F>(request: impl Fn() -> F) -> Result<T, Wrong>
where
    F: Future<Output = kube::Result<T>>,
{
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match within(request()).await {
            Err(Wrong::Unreachable(_)) => sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    within(request()).await
}

/// Whether an object is ours.
pub(super) fn is_marked(metadata: &ObjectMeta) -> bool {
    let labels = metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.get(MARK).is_some_and(|value| value == "true"))
}

/// Why an object is not touched, for people.
pub(super) fn not_ours(kind: &str, namespace: &str, name: &str) -> String {
    format!(
        "{kind} {namespace}/{name} exists and was not made by Narthex: delete it, or label it \
         {MARK}=true, so that it may be overwritten"
    )
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn wrong(code: u16, cause: &str) -> Wrong {
        let details = match cause {
            "" => json!(null),
            cause => json!({"causes": [{"reason": cause}]}),
        };
        let status = json!({"status": "Failure", "code": code, "details": details});
        let status: Status = serde_json::from_value(status).expect("a Status");
        kube::Error::Api(status.boxed()).into()
    }

    #[test]
    fn what_may_be_done_later_is_told_from_what_will_not_be_done() {
        for code in [429, 500, 503, 504] {
            assert!(matches!(wrong(code, ""), Wrong::Unreachable(_)), "{code}");
        }
        for code in [404, 409, 422] {
            assert!(matches!(wrong(code, ""), Wrong::Changed(_)), "{code}");
        }
        for code in [400, 401, 403, 413] {
            assert!(matches!(wrong(code, ""), Wrong::Refused(_)), "{code}");
        }
        let invalid = wrong(422, "FieldValueInvalid");
        assert!(matches!(invalid, Wrong::Refused(_)), "{invalid:?}");
        let owned = wrong(409, "FieldManagerConflict");
        assert!(matches!(owned, Wrong::Owned(_)), "{owned:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_loses_nothing_and_a_refusal_is_no_outage() {
        let tries = std::cell::Cell::new(0);
        let answer = |code: u16| {
            let error = Status::failure("no", "").with_code(code);
            kube::Error::Api(error.boxed())
        };
        let done = stubbornly(|| {
            tries.set(tries.get() + 1);
            let result = match tries.get() {
                1..5 => Err(answer(503)),
                _ => Ok(()),
            };
            std::future::ready(result)
        });
        assert!(done.await.is_ok());
        assert_eq!(tries.get(), 5);
        let refused = stubbornly(|| {
            tries.set(tries.get() + 1);
            std::future::ready(Err::<(), _>(answer(403)))
        });
        assert!(matches!(refused.await, Err(Wrong::Refused(_))));
        assert_eq!(tries.get(), 6);
    }
}
