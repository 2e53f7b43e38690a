//! Tokens that the cluster gave, as those of ServiceAccounts: the API server is asked about them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::remembered::Remembered;
use super::subject::Identity;

/// For so long a token that was good is good …
const GOOD: Duration = Duration::from_secs(60);

/// … and one that was not is not.
const BAD: Duration = Duration::from_secs(10);

/// How many questions are under way at the same time.
const AT_ONCE: usize = 16;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest token in bytes that the API server is asked about.
const LONGEST: usize = 16 * 1024;

/// Whose a token is, as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The user's name: `system:serviceaccount:NAMESPACE:NAME` of a ServiceAccount.
    pub name: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// What a question is answered with: none of a token that is not good, an error for people where
/// nobody can tell.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Option<Reviewed>, String>> + Send + 'a>>;

/// Who knows the cluster's tokens.
pub trait Reviewer: fmt::Debug + Send + Sync {
    /// Whose a token is.
    fn review<'a>(&'a self, token: &'a str) -> Answer<'a>;
}

/// Asks, and remembers the answers for a short while.
#[derive(Debug)]
pub(crate) struct Reviews {
    reviewer: Box<dyn Reviewer>,
    known: Remembered<Option<Reviewed>>,
    at_once: Semaphore,
}

impl Reviews {
    pub(crate) fn new(reviewer: Box<dyn Reviewer>) -> Self {
        Self {
            reviewer,
            known: Remembered::default(),
            at_once: Semaphore::new(AT_ONCE),
        }
    }

    /// Whether a text may be a token: three parts of Base64, of which the API server's are made.
    pub(crate) fn may_be(token: &str) -> bool {
        let is_part = |part: &str| {
            let is_of = |it: u8| it.is_ascii_alphanumeric() || it == b'-' || it == b'_';
            !part.is_empty() && part.bytes().all(is_of)
        };
        token.len() <= LONGEST && token.split('.').count() == 3 && token.split('.').all(is_part)
    }

    /// Whether the answer is known without asking.
    pub(crate) fn is_known(&self, token: &str) -> bool {
        let seal = self.known.seal(&[token.as_bytes()]);
        seal.is_some_and(|seal| self.known.get(&seal, Instant::now()).is_some())
    }

    /// Who shows this token; none if it is not good.
    ///
    /// # Errors
    /// If nobody can tell, for people.
    pub(crate) async fn ask(&self, token: &str) -> Result<Option<Identity>, String> {
        let seal = self.known.seal(&[token.as_bytes()]);
        let known = seal.and_then(|seal| self.known.get(&seal, Instant::now()));
        let answer = match known {
            Some(answer) => answer,
            None => {
                let asking = async {
                    // It is never closed.
                    let _turn = self.at_once.acquire().await;
                    self.reviewer.review(token).await
                };
                let late = |_| "the API server does not answer in time".to_owned();
                let answer = tokio::time::timeout(PATIENCE, asking)
                    .await
                    .map_err(late)??;
                if let Some(seal) = seal {
                    let now = Instant::now();
                    let until = now + if answer.is_some() { GOOD } else { BAD };
                    self.known.put(seal, answer.clone(), until, now);
                }
                answer
            }
        };
        Ok(answer.map(|Reviewed { name, groups }| Identity::Cluster { name, groups }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Counting(Arc<AtomicUsize>);

    impl Reviewer for Counting {
        fn review<'a>(&'a self, token: &'a str) -> Answer<'a> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let answer = match token {
                "down.x.y" => Err("down".to_owned()),
                "good.x.y" => Ok(Some(Reviewed {
                    name: "system:serviceaccount:a:b".to_owned(),
                    groups: Vec::new(),
                })),
                _ => Ok(None),
            };
            Box::pin(async { answer })
        }
    }

    #[tokio::test]
    async fn the_api_server_is_asked_once_about_a_token_and_again_after_a_failure() {
        let counting = Counting::default();
        let count = Arc::clone(&counting.0);
        let reviews = Reviews::new(Box::new(counting));
        for _ in 0..3 {
            let good = reviews.ask("good.x.y").await.expect("an answer");
            assert_eq!(good.expect("good").to_string(), "system:serviceaccount:a:b");
            assert_eq!(reviews.ask("bad.x.y").await, Ok(None));
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);
        for _ in 0..2 {
            assert_eq!(reviews.ask("down.x.y").await, Err("down".to_owned()));
        }
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_password_is_not_sent_to_the_api_server() {
        assert!(Reviews::may_be("eyJh.eyJp.c2ln"));
        for password in ["secret", "a.b", "a..c", "my.pass word.x", "a.b.c.d", ""] {
            assert!(!Reviews::may_be(password), "{password}");
        }
    }
}
