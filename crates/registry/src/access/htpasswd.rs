//! The password file: `NAME:HASH` a line, bcrypt hashes alone (`htpasswd -B`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::remembered::Remembered;

/// No hash may take longer than a few seconds.
const MOST_COST: u32 = 15;

/// For so long a password that was right is right. With another hash it is another one.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How many are verified at the same time.
const AT_ONCE: usize = 2;

/// How many wait for it.
const WAITING: usize = 64;

/// The names and hashes of a password file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Htpasswd(HashMap<String, String>);

// By hand, so that no hash can reach a log.
impl fmt::Debug for Htpasswd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Htpasswd")
            .field("users", &self.0.len())
            .finish_non_exhaustive()
    }
}

impl Htpasswd {
    /// Reads a password file.
    ///
    /// # Errors
    /// The first line that is wrong, and what would be right; without anything that is secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut users = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| Err(format!("line {}: {what}", number + 1));
            let Some((name, hash)) = line.split_once(':') else {
                return wrong("is not NAME:HASH, as `htpasswd -nB NAME` writes it");
            };
            if name.is_empty() {
                return wrong("has no name before the `:`");
            }
            match cost(hash) {
                None => {
                    return wrong(
                        "the hash is none of bcrypt ($2y$…), as `htpasswd -nB NAME` writes it",
                    );
                }
                Some(cost) if cost > MOST_COST => {
                    let what = format!("the hash's cost {cost} is above {MOST_COST}");
                    return wrong(&what);
                }
                Some(_) => {}
            }
            if users.insert(name.to_owned(), hash.to_owned()).is_some() {
                return wrong("has a name that is there already");
            }
        }
        Ok(Self(users))
    }

    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a user of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The highest cost of a hash.
    fn cost(&self) -> u32 {
        let costs = self.0.values().filter_map(|hash| cost(hash));
        costs.max().unwrap_or(10)
    }
}

fn cost(hash: &str) -> Option<u32> {
    let known = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|it| hash.starts_with(it));
    let parts: bcrypt::HashParts = hash.parse().ok().filter(|_| known)?;
    (4..=31)
        .contains(&parts.get_cost())
        .then(|| parts.get_cost())
}

/// It cannot be verified in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// Verifies passwords on threads of their own, and remembers which were right.
#[derive(Debug)]
pub(crate) struct Passwords {
    right: Remembered<()>,
    at_once: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            right: Remembered::default(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Passwords {
    /// Whether it was right a moment ago: then no work is done again.
    pub(crate) fn is_known(&self, users: &Htpasswd, name: &str, password: &str) -> bool {
        let hash = users.0.get(name);
        let seal = hash.and_then(|hash| self.right.seal(&[hash.as_bytes(), password.as_bytes()]));
        seal.is_some_and(|seal| self.right.get(&seal, Instant::now()).is_some())
    }

    /// Whether the password is this user's. For a user that there is not it takes as long.
    ///
    /// # Errors
    /// If too many wait for the same.
    pub(crate) async fn verify(
        &self,
        users: &Htpasswd,
        name: &str,
        password: &str,
    ) -> Result<bool, Busy> {
        if self.is_known(users, name, password) {
            return Ok(true);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        // It is never closed.
        let turn = Arc::clone(&self.at_once)
            .acquire_owned()
            .await
            .map_err(|_| Busy)?;
        let hash = users.0.get(name).cloned();
        let cost = users.cost();
        let shown = password.to_owned();
        let check = move || {
            let _turn = turn;
            match &hash {
                Some(hash) => bcrypt::verify(shown, hash).unwrap_or(false),
                None => {
                    let _ = std::hint::black_box(bcrypt::hash(shown, cost));
                    false
                }
            }
        };
        let is_right = tokio::task::spawn_blocking(check).await.map_err(|_| Busy)?;
        let seal = users
            .0
            .get(name)
            .and_then(|hash| self.right.seal(&[hash.as_bytes(), password.as_bytes()]));
        if let Some(seal) = seal.filter(|_| is_right) {
            let now = Instant::now();
            self.right.put(seal, (), now + REMEMBERED, now);
        }
        Ok(is_right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Htpasswd {
        let hash = bcrypt::hash("right", 4).expect("bcrypt");
        Htpasswd::parse(&format!("# people\n\nalice:{hash}\n")).expect("right")
    }

    #[tokio::test]
    async fn a_password_is_right_or_wrong_and_a_right_one_is_remembered() {
        let (file, passwords) = (file(), Passwords::default());
        assert_eq!(passwords.verify(&file, "alice", "wrong").await, Ok(false));
        assert!(!passwords.is_known(&file, "alice", "right"));
        assert_eq!(passwords.verify(&file, "alice", "right").await, Ok(true));
        assert!(passwords.is_known(&file, "alice", "right"));
        assert!(!passwords.is_known(&file, "alice", "wrong"));
        assert_eq!(passwords.verify(&file, "bob", "right").await, Ok(false));
        // With a new hash the old password has to be shown to be right again.
        assert!(!passwords.is_known(&super::tests::file(), "alice", "right"));
    }

    #[test]
    fn lines_that_are_wrong_are_named_without_what_is_secret() {
        let hash = bcrypt::hash("x", 4).expect("bcrypt");
        for (text, part) in [
            ("alice", "line 1: is not NAME:HASH".to_owned()),
            (
                "\nalice:secret",
                "line 2: the hash is none of bcrypt".to_owned(),
            ),
            (
                "alice:$apr1$abc$def",
                "line 1: the hash is none of bcrypt".to_owned(),
            ),
            (
                &format!("alice:{}", hash.replace("$04$", "$31$")),
                "cost 31".to_owned(),
            ),
            (
                &format!("a:{hash}\na:{hash}"),
                "line 2: has a name".to_owned(),
            ),
        ] {
            let wrong = Htpasswd::parse(text).expect_err("wrong");
            assert!(wrong.contains(&part), "{wrong}");
            assert!(!wrong.contains("secret"), "{wrong}");
        }
        assert!(!format!("{:?}", file()).contains("$2"));
    }
}
