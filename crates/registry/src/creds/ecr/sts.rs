//! AWS Security Token Service: the keys of a role.

use std::path::Path;
use std::time::SystemTime;

use super::sign::Signing;
use super::{Key, host};
use crate::creds::http::{FORM, Question, form};
use crate::creds::{Failed, Hidden, Http};

/// How the role's session is called, in AWS's logs.
const SESSION: &str = "narthex-registry-credentials";

/// How long the role's keys are good for, in seconds: they are used at once.
const LIFE: &str = "900";

/// The longest token of a ServiceAccount.
const LONGEST: u64 = 64 << 10;

/// Whoever gives keys of roles.
pub(super) struct Sts<'a> {
    pub(super) http: &'a Http,
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
}

impl Sts<'_> {
    /// `AssumeRole`.
    pub(super) async fn assume(
        &self,
        role: &str,
        key: &Key,
        now: SystemTime,
    ) -> Result<Key, Failed> {
        let body = form(&[
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", SESSION),
            ("DurationSeconds", LIFE),
        ])
        .into_bytes();
        let mut headers = vec![("content-type", FORM.to_owned())];
        let signing = Signing {
            service: "sts",
            region: self.region,
            key,
        };
        signing.sign(self.endpoint, &mut headers, &body, now)?;
        let secrets: Vec<_> = [&key.secret].into_iter().chain(&key.session).collect();
        self.ask(role, headers, body, &secrets).await
    }

    /// `AssumeRoleWithWebIdentity`, which nothing signs.
    pub(super) async fn web(&self, role: &str, token: &Path) -> Result<Key, Failed> {
        let token = read(token).await?;
        let body = form(&[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", role),
            ("RoleSessionName", SESSION),
            ("WebIdentityToken", token.show()),
            ("DurationSeconds", LIFE),
        ])
        .into_bytes();
        let headers = vec![("content-type", FORM.to_owned())];
        self.ask(role, headers, body, &[&token]).await
    }

    async fn ask(
        &self,
        role: &str,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
        secrets: &[&Hidden],
    ) -> Result<Key, Failed> {
        let failed = |failed: Failed| failed.when(&format!("the role {role} is not assumed"));
        let question = Question {
            url: self.endpoint,
            headers,
            body,
        };
        let answer = self.http.post(question).await.map_err(failed)?;
        match answer.status {
            200 => key(&answer.body)
                .ok_or_else(|| Failed::new(format!("{} gives no keys", host(self.endpoint))))
                .map_err(failed),
            _ => Err(failed(answer.refused(&host(self.endpoint), secrets))),
        }
    }
}

async fn read(path: &Path) -> Result<Hidden, Failed> {
    let wrong = |why: String| Failed::new(format!("{} is not read: {why}", path.display()));
    let data = tokio::fs::metadata(path)
        .await
        .map_err(|error| wrong(error.to_string()))?;
    if data.len() > LONGEST {
        return Err(wrong("it is too long for a token".to_owned()));
    }
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| wrong(error.to_string()))?;
    Ok(Hidden::new(text.trim()))
}

pub(in crate::creds) fn key(body: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(body).ok()?;
    let keys = inner(text, "Credentials")?;
    let given = |name| element(keys, name).filter(|text| !text.is_empty());
    Some(Key {
        id: given("AccessKeyId")?,
        secret: Hidden::new(given("SecretAccessKey")?),
        session: Some(Hidden::new(given("SessionToken")?)),
    })
}

/// The text of the first XML element of that name, which has no attributes: all that is read of XML here.
pub(in crate::creds) fn element(text: &str, name: &str) -> Option<String> {
    let inner = inner(text, name)?.trim();
    if inner.contains('<') {
        return None;
    }
    let plain = inner
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&");
    Some(plain)
}

fn inner<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = after.split_once(&format!("</{name}>"))?;
    Some(inner)
}
