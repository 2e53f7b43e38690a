//! A ServiceAccount's token, which is replaced while it is used.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use http::header::{AUTHORIZATION, HeaderValue};
use kube::config::AuthInfo;

use crate::clock::Moment;

/// For how long a token is used that was read.
const FRESH: Duration = Duration::from_secs(10);

/// The token in a file, read again and again.
///
/// kube's own is read again by the wall clock: where that is put back by a day, a token that is
/// over is used for a day. This one goes by a clock that nobody sets.
#[derive(Debug, Clone)]
pub(crate) struct TokenFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    last: Mutex<Option<(HeaderValue, Moment)>>,
}

impl TokenFile {
    /// Takes over what a configuration says of a token's file, if that is what counts in it.
    ///
    /// # Errors
    /// If there is no token in the file.
    pub(crate) fn take(auth: &mut AuthInfo) -> Result<Option<Self>, String> {
        let is_known_otherwise =
            auth.token.is_some() || auth.username.is_some() || auth.auth_provider.is_some();
        let path = match auth.token_file.take_if(|_| !is_known_otherwise) {
            Some(path) => PathBuf::from(path),
            None => return Ok(None),
        };
        let first = read(&path)?;
        Ok(Some(Self(Arc::new(Shared {
            path,
            last: Mutex::new(Some((first, Moment::now()))),
        }))))
    }

    /// Says in a request who asks.
    pub(crate) fn sign<B>(&self, mut request: Request<B>) -> Request<B> {
        if let Some(value) = self.at(Moment::now()) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        request
    }

    fn at(&self, now: Moment) -> Option<HeaderValue> {
        // No code that holds the lock can leave it half changed.
        let last = &mut *self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |read_at: Moment| now.since(read_at) < FRESH;
        if last.as_ref().is_none_or(|(_, at)| !is_fresh(*at)) {
            match (read(&self.0.path), &mut *last) {
                (Ok(value), last) => *last = Some((value, now)),
                // A file that is being replaced, or was taken away on purpose: the token may be
                // good still.
                (Err(_), Some((_, at))) => *at = now,
                (Err(_), None) => {}
            }
        }
        last.as_ref().map(|(value, _)| value.clone())
    }
}

fn read(path: &Path) -> Result<HeaderValue, String> {
    let wrong = |reason: &dyn std::fmt::Display| format!("the token {}: {reason}", path.display());
    let token = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let token = token.trim();
    if token.is_empty() {
        return Err(wrong(&"the file is empty"));
    }
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| wrong(&"it is no token"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(path: &Path) -> AuthInfo {
        AuthInfo {
            token_file: Some(path.display().to_string()),
            ..AuthInfo::default()
        }
    }

    #[test]
    fn a_token_that_was_replaced_is_used_soon_and_one_that_is_missing_not_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        fs::write(&path, "one\n").expect("writes");
        let token = TokenFile::take(&mut auth(&path)).expect("there");
        let token = token.expect("by file");
        let begin = Moment::now();
        let at = |seconds| {
            let value = token.at(begin + Duration::from_secs(seconds));
            value.expect("a token").to_str().expect("text").to_owned()
        };
        assert_eq!(at(0), "Bearer one");
        fs::write(&path, "two\n").expect("writes");
        assert_eq!(at(5), "Bearer one");
        assert_eq!(at(11), "Bearer two");
        // While it is being replaced.
        fs::write(&path, "").expect("writes");
        assert_eq!(at(30), "Bearer two");
        fs::remove_file(&path).expect("there");
        assert_eq!(at(60), "Bearer two");
        fs::write(&path, "three").expect("writes");
        assert_eq!(at(90), "Bearer three");
        let request = token.sign(Request::new(()));
        let value = request.headers().get(AUTHORIZATION).expect("signed");
        assert!(value.is_sensitive());
    }

    #[test]
    fn another_way_to_say_who_asks_counts_before_a_file() {
        let mut auth = AuthInfo {
            token: Some("inline".to_owned().into()),
            ..auth(Path::new("/not/there"))
        };
        assert!(TokenFile::take(&mut auth).expect("not read").is_none());
        auth.token = None;
        let said = TokenFile::take(&mut auth).expect_err("not there");
        assert!(said.contains("/not/there"), "{said}");
        assert!(TokenFile::take(&mut auth).expect("taken").is_none());
    }
}
