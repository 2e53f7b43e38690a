//! Questions to providers, with limits to what they answer.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;

use super::Hidden;

/// How long a provider may take for an answer, from the connection to its last byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// For the connection alone.
const CONNECT: Duration = Duration::from_secs(8);

/// The longest answer, in bytes: tokens are some kilobytes.
const LONGEST: usize = 256 << 10;

/// How much of a provider's own words is repeated, in characters.
const REPEATED: usize = 200;

/// Why there is no credential, for people. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(String);

impl Failed {
    /// Says why.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// With what was being done, before it.
    pub(super) fn when(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// What providers are asked with.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    patience: Duration,
}

/// What is asked: always a POST.
pub(super) struct Question<'a> {
    pub(super) url: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What a provider said.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Http {
    /// With the authorities that the system trusts, and the proxies that the environment names.
    ///
    /// # Errors
    /// The system's authorities cannot be read.
    pub fn new() -> Result<Self, Failed> {
        Self::with_patience(PATIENCE)
    }

    pub(super) fn with_patience(patience: Duration) -> Result<Self, Failed> {
        // Whoever was first has installed the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(patience)
            // A secret is sent to nobody but whom it is for.
            .redirect(Policy::none())
            .pool_max_idle_per_host(0)
            .user_agent(concat!("narthex/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failed::new(format!("no HTTP client: {}", chain(&error))))?;
        Ok(Self { client, patience })
    }

    /// Asks, and reads the answer up to its limit.
    pub(super) async fn post(&self, question: Question<'_>) -> Result<Answer, Failed> {
        let Question { url, headers, body } = question;
        let target = safe(url)?;
        let host = target.host_str().unwrap_or_default().to_owned();
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| Failed::new(format!("the header field {name} cannot be sent")))?;
            value.set_sensitive(true);
            fields.insert(HeaderName::from_static(name), value);
        }
        let sent = self.client.post(target).headers(fields).body(body).send();
        let wrong = |error: reqwest::Error| self.unanswered(&host, error);
        let mut response = sent.await.map_err(wrong)?;
        let status = response.status().as_u16();
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(wrong)? {
            if answer.len() + chunk.len() > LONGEST {
                return Err(Failed::new(format!(
                    "{host} answers more than {LONGEST} bytes"
                )));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body: answer,
        })
    }

    fn unanswered(&self, host: &str, error: reqwest::Error) -> Failed {
        if error.is_timeout() && !error.is_connect() {
            let seconds = self.patience.as_secs_f32();
            return Failed::new(format!("{host} does not answer within {seconds} s"));
        }
        // A URL may have in it what nobody is to see.
        Failed::new(format!(
            "{host} does not answer: {}",
            chain(&error.without_url())
        ))
    }

    /// Sends a form, and reads JSON. What is secret of it is in no error, should the provider repeat it.
    pub(super) async fn form<T: DeserializeOwned>(
        &self,
        url: &str,
        fields: &[(&str, &str)],
        secrets: &[&Hidden],
    ) -> Result<T, Failed> {
        let answer = self
            .post(Question {
                url,
                headers: vec![
                    ("content-type", FORM.to_owned()),
                    ("accept", "application/json".to_owned()),
                ],
                body: form(fields).into_bytes(),
            })
            .await?;
        let host = host(url);
        if answer.status != 200 {
            return Err(answer.refused(&host, secrets));
        }
        answer.json(&host)
    }
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self, host: &str) -> Result<T, Failed> {
        // What serde says of a value may repeat it.
        serde_json::from_slice(&self.body).map_err(|error| {
            Failed::new(format!(
                "{host} answers what cannot be read (line {}, column {} of its JSON)",
                error.line(),
                error.column()
            ))
        })
    }

    /// Why a provider did not do it, in its own words.
    pub(super) fn refused(&self, host: &str, secrets: &[&Hidden]) -> Failed {
        let said = words(&self.body);
        let said = presentable(&said, secrets);
        let status = self.status;
        Failed::new(match said.is_empty() {
            true => format!("{host} answers {status}"),
            false => format!("{host} answers {status}: {said}"),
        })
    }
}

/// A form's media type.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// A form, encoded.
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let pairs = fields
        .iter()
        .map(|(name, value)| format!("{}={}", percent(name), percent(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Everything percent-encoded but RFC 3986's unreserved characters.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The host of a URL, for people.
pub(super) fn host(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.and_then(|url| url.host_str().map(str::to_owned));
    host.unwrap_or_else(|| "the provider".to_owned())
}

/// A URL that secrets may be sent to: of HTTPS, or of this machine.
pub(super) fn safe(url: &str) -> Result<reqwest::Url, Failed> {
    let parsed = reqwest::Url::parse(url)
        .map_err(|error| Failed::new(format!("its endpoint is no URL: {error}")))?;
    let host = parsed.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_here = host == "localhost" || address.is_some_and(|it| it.is_loopback());
    match parsed.scheme() {
        "https" => Ok(parsed),
        "http" if is_here => Ok(parsed),
        _ => Err(Failed::new(format!(
            "its endpoint at {host} is not of https://, and secrets are sent to no other"
        ))),
    }
}

/// What an answer says went wrong, in the forms that the providers have.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) {
        let first = |names: &[&str]| {
            let found = names.iter().find_map(|name| json[*name].as_str());
            found.map(str::to_owned)
        };
        let code = first(&["__type", "error"]).or_else(|| {
            let error = &json["errors"][0];
            Some(error["code"].as_str()?.to_owned())
        });
        let message = first(&["message", "Message", "error_description"])
            .or_else(|| Some(json["errors"][0]["message"].as_str()?.to_owned()));
        let both = [code, message].into_iter().flatten();
        return both.collect::<Vec<_>>().join(": ");
    }
    let inside = |name: &str| super::ecr::element(&text, name);
    match (inside("Code"), inside("Message")) {
        (None, None) => String::new(),
        (code, message) => {
            let both = [code, message].into_iter().flatten();
            both.collect::<Vec<_>>().join(": ")
        }
    }
}

/// One line of it without secrets. Amazon repeats header fields where a signature is wrong, on lines
/// of their own.
pub(super) fn presentable(text: &str, secrets: &[&Hidden]) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut line: String = line.chars().filter(|it| !it.is_control()).collect();
    for secret in secrets {
        if !secret.is_empty() {
            line = line.replace(secret.show(), "(hidden)");
        }
    }
    let cut: String = line.chars().take(REPEATED).collect();
    cut.trim().to_owned()
}

/// An error with what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for good in [
            "https://sts.amazonaws.com/",
            "http://127.0.0.1:1/",
            "http://localhost:1",
            "http://[::1]:1",
        ] {
            assert!(safe(good).is_ok(), "{good}");
        }
        for bad in [
            "http://sts.amazonaws.com/",
            "ftp://localhost",
            "sts.amazonaws.com",
            "http://localhost.example.com/",
            "",
        ] {
            assert!(safe(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_provider_says_is_repeated_without_secrets_on_one_line() {
        let answer = |body: &str| Answer {
            status: 400,
            body: body.as_bytes().to_vec(),
        };
        let secret = Hidden::new("hunter2");
        let said = |body: &str| answer(body).refused("host", &[&secret]).to_string();
        assert_eq!(
            said(r#"{"error":"invalid_grant","error_description":"hunter2 is\nwrong"}"#),
            "host answers 400: invalid_grant: (hidden) is"
        );
        assert_eq!(
            said(r#"{"__type":"UnrecognizedClientException","message":"no"}"#),
            "host answers 400: UnrecognizedClientException: no"
        );
        assert_eq!(
            said(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>a &amp; b</Message></Error></ErrorResponse>"
            ),
            "host answers 400: AccessDenied: a & b"
        );
        assert_eq!(said("<html>hunter2</html>"), "host answers 400");
        let long = said(&format!(r#"{{"error":"{}"}}"#, "ä".repeat(10_000)));
        assert!(long.chars().count() < 240, "{long}");
    }
}
