//! Who we are: challenges (RFC 9110, section 11) and token services, as docker speaks with them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::credentials::Credential;
use super::error::{Error, Kind};
use super::request::{Client, Scheme, read, unredirected};
use crate::hidden::Hidden;

/// The longest answer of a token service, in bytes.
const MAX_TOKEN: usize = 256 * 1024;

/// How long a token holds that does not say.
const LIFETIME: u64 = 60;

/// How long a credential is shown before it is looked for again.
const SHOWN: Duration = Duration::from_secs(60);

/// Credentials, and tokens, that are remembered at once.
const MOST_KEPT: usize = 4096;

/// What a registry asked for, and the tokens that were got for it.
#[derive(Debug, Default)]
pub(super) struct Auth(Mutex<State>);

#[derive(Default)]
struct State {
    asked: Option<Scheme>,
    /// By scope; with the moment from which they are not used any more.
    tokens: HashMap<String, (Hidden, Instant)>,
    /// By repository; likewise.
    credentials: HashMap<String, (Option<Credential>, Instant)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.asked.fmt(f)
    }
}

/// What a token service is asked.
struct Asked<'a> {
    realm: &'a str,
    service: Option<&'a str>,
    scope: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Hidden>,
    access_token: Option<Hidden>,
    expires_in: Option<u64>,
}

impl Auth {
    /// What a 401 asks for.
    pub(super) fn scheme(response: &Response) -> Result<Scheme, Error> {
        challenge(response.headers()).ok_or_else(|| {
            Error::new(
                Kind::Denied,
                "it wants to know who we are, and asks for neither Basic nor Bearer",
            )
        })
    }

    /// Keeps what a 401 asks for, and gives up the token that it does not take.
    pub(super) fn challenged(&self, response: &Response, scope: &str) -> Result<(), Error> {
        let scheme = Self::scheme(response)?;
        let mut state = self.state();
        state.tokens.remove(scope);
        state.credentials.remove(repository(scope));
        state.asked = Some(scheme);
        Ok(())
    }

    /// What shows who we are, if anything is asked for.
    pub(super) async fn header(
        &self,
        client: &Client,
        scope: &str,
    ) -> Result<Option<HeaderValue>, Error> {
        let asked = self.state().asked.clone();
        let (realm, service) = match asked {
            None | Some(Scheme::None) => return Ok(None),
            Some(Scheme::Basic) => {
                return match self.credential(client, scope).await? {
                    Some(Credential::Password { username, password }) => {
                        basic(&username, &password).map(Some)
                    }
                    _ => Ok(None),
                };
            }
            Some(Scheme::Bearer { realm, service }) => (realm, service),
        };
        if let Some((token, until)) = self.state().tokens.get(scope)
            && Instant::now() < *until
        {
            return bearer(token).map(Some);
        }
        let credential = self.credential(client, scope).await?;
        if let Some(Credential::Bearer(token)) = &credential {
            return bearer(token).map(Some);
        }
        let asked = Asked {
            realm: &realm,
            service: service.as_deref(),
            scope,
        };
        let answer = token(client, &asked, credential.as_ref()).await?;
        let Some(token) = answer.token() else {
            let why = format!("{realm}: the token service's answer has no token");
            return Err(Error::new(Kind::Denied, client.named(&why)));
        };
        // Not to its last second: clocks differ, and requests take time.
        let lifetime = answer.expires_in.unwrap_or(LIFETIME).clamp(10, 86_400);
        let until = Instant::now() + Duration::from_secs(lifetime * 4 / 5);
        let header = bearer(&token);
        let mut state = self.state();
        if state.tokens.len() >= MOST_KEPT {
            state.tokens.clear();
        }
        state.tokens.insert(scope.to_owned(), (token, until));
        drop(state);
        header.map(Some)
    }

    /// Who we are, for what is asked for.
    async fn credential(&self, client: &Client, scope: &str) -> Result<Option<Credential>, Error> {
        let Some(credentials) = &client.0.settings.credentials else {
            return Ok(None);
        };
        let repository = repository(scope);
        if let Some((credential, until)) = self.state().credentials.get(repository)
            && Instant::now() < *until
        {
            return Ok(credential.clone());
        }
        let found = credentials.find(client.host(), repository).await?;
        let mut state = self.state();
        if state.credentials.len() >= MOST_KEPT {
            state.credentials.clear();
        }
        let until = Instant::now() + SHOWN;
        let kept = (found.clone(), until);
        state.credentials.insert(repository.to_owned(), kept);
        Ok(found)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// Under either of its names (RFC 6749 has the second).
    fn token(&self) -> Option<Hidden> {
        let given = self.token.as_ref().or(self.access_token.as_ref());
        given.filter(|it| !it.is_empty()).cloned()
    }
}

/// The token of a token service's answer.
#[cfg(test)]
pub(super) fn token_of(body: &[u8]) -> Option<Hidden> {
    serde_json::from_slice::<Answer>(body).ok()?.token()
}

/// The first repository of a scope; nothing where there is none.
pub(super) fn repository(scope: &str) -> &str {
    let first = scope.split(' ').next().unwrap_or_default();
    let name = first.strip_prefix("repository:").unwrap_or_default();
    name.rsplit_once(':').map_or(name, |(name, _)| name)
}

/// Asks a token service for a token.
async fn token(
    client: &Client,
    asked: &Asked<'_>,
    credential: Option<&Credential>,
) -> Result<Answer, Error> {
    let &Asked {
        realm,
        service,
        scope,
    } = asked;
    let failed = |kind, why: &str| Error::new(kind, client.named(&format!("{realm}: {why}")));
    let mut url = Url::parse(realm)
        .ok()
        .filter(|it| matches!(it.scheme(), "http" | "https") && it.has_host())
        .ok_or_else(|| failed(Kind::Refused, "the token service's address is none"))?;
    let base = client.url("").await?;
    if credential.is_some() && base.scheme() == "https" && url.scheme() == "http" {
        return Err(failed(
            Kind::Denied,
            "the token service has no TLS, though the registry has: it is not told the password",
        ));
    }
    let http = &client.0.http;
    let response = if let Some(Credential::Identity(refresh)) = credential {
        let mut form = form_urlencoded(&[
            ("grant_type", "refresh_token"),
            ("service", service.unwrap_or_default()),
            ("scope", scope),
            ("client_id", "narthex"),
        ]);
        form.push_str("&refresh_token=");
        form.push_str(&form_urlencoded(&[("", refresh.show())])[1..]);
        // What is in a body goes wherever a redirect leads.
        let http = unredirected(&client.0.settings).map_err(|why| failed(Kind::Invalid, &why))?;
        let make = || {
            http.post(url.clone())
                .header(
                    http::header::CONTENT_TYPE,
                    "application/x-www-form-urlencoded",
                )
                .body(form.clone())
        };
        client.attempts("the token service", &make).await?
    } else {
        {
            let mut pairs = url.query_pairs_mut();
            if let Some(service) = service {
                pairs.append_pair("service", service);
            }
            for one in scope.split(' ').filter(|it| !it.is_empty()) {
                pairs.append_pair("scope", one);
            }
        }
        let header = match credential {
            Some(Credential::Password { username, password }) => Some(basic(username, password)?),
            _ => None,
        };
        let make = || {
            let request = http.get(url.clone());
            match &header {
                Some(header) => request.header(AUTHORIZATION, header.clone()),
                None => request,
            }
        };
        client.attempts("the token service", &make).await?
    };
    let status = response.status();
    if status != StatusCode::OK {
        let why = match (status, credential) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Some(_)) => {
                "the credential is refused".to_owned()
            }
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, None) => {
                "a credential is needed".to_owned()
            }
            _ => format!("the token service answers {status}"),
        };
        return Err(failed(Kind::Denied, &why));
    }
    let body = read(response, MAX_TOKEN).await?;
    serde_json::from_slice(&body).map_err(|_| {
        failed(
            Kind::Refused,
            "the token service's answer is not understood",
        )
    })
}

fn basic(username: &str, password: &Hidden) -> Result<HeaderValue, Error> {
    let pair = format!("{username}:{}", password.show());
    sensitive(&format!("Basic {}", STANDARD.encode(pair)))
}

fn bearer(token: &Hidden) -> Result<HeaderValue, Error> {
    sensitive(&format!("Bearer {}", token.show()))
}

fn sensitive(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::new(Kind::Invalid, "the credential cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn form_urlencoded(pairs: &[(&str, &str)]) -> String {
    let nowhere = Url::parse("http://localhost/");
    let mut url = nowhere.unwrap_or_else(|_| unreachable!("it is one"));
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// The challenge that we can answer best: Bearer, else Basic.
pub(super) fn challenge(headers: &HeaderMap) -> Option<Scheme> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    let all = values
        .filter_map(|it| it.to_str().ok())
        .flat_map(challenges);
    let mut basic = None;
    for (scheme, mut parameters) in all {
        if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = parameters.remove("realm")
        {
            let service = parameters.remove("service");
            return Some(Scheme::Bearer { realm, service });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Scheme::Basic);
        }
    }
    basic
}

/// `Scheme a="b", c=d, Other e="f"`, as leniently as it is written out there.
pub(super) fn challenges(text: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut all: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find([' ', '=', ',', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after = after.trim_start_matches([' ', '\t']);
        match (after.strip_prefix('='), all.last_mut()) {
            (Some(value), Some((_, parameters))) => {
                let (value, after) = parameter(value.trim_start());
                parameters.insert(word.to_ascii_lowercase(), value);
                rest = after;
            }
            // A parameter of nothing.
            (Some(value), None) => rest = parameter(value).1,
            (None, _) => {
                if !word.is_empty() {
                    all.push((word.to_owned(), HashMap::new()));
                }
                rest = after;
            }
        }
        rest = rest.trim_start_matches([' ', ',', '\t']);
    }
    all
}

/// A token or a quoted string, and what comes after it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, it)| it)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Option<Scheme> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().expect("a value"));
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read_as_they_are_written() {
        let bearer = |service: Option<&str>| {
            Some(Scheme::Bearer {
                realm: "https://a.example/token".to_owned(),
                service: service.map(str::to_owned),
            })
        };
        let hub = "Bearer realm=\"https://a.example/token\",service=\"s, \\\"x\\\"\",scope=\"a b\"";
        assert_eq!(of(&[hub]), bearer(Some("s, \"x\"")));
        assert_eq!(of(&["bearer realm=https://a.example/token"]), bearer(None));
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Scheme::Basic));
        let both = "Basic realm=x, Bearer realm = \"https://a.example/token\"";
        assert_eq!(of(&[both]), bearer(None));
        assert_eq!(of(&["Negotiate", "Basic"]), Some(Scheme::Basic));
        assert_eq!(of(&["Negotiate abc=="]), None);
        assert_eq!(of(&[]), None);
    }

    proptest! {
        #[test]
        fn no_challenge_is_too_strange(text in "[ -~]{0,80}") {
            let _ = challenges(&text);
        }
    }
}
