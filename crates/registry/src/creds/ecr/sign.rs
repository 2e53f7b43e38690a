//! AWS Signature Version 4: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use super::Key;
use crate::creds::Failed;
use crate::creds::time::basic;

/// What a signature is made for.
pub(super) struct Signing<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) key: &'a Key,
}

impl Signing<'_> {
    /// Adds what signs a POST of `body`, with all the header fields that there are.
    pub(super) fn sign(
        &self,
        url: &str,
        headers: &mut Vec<(&'static str, String)>,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), Failed> {
        let url = reqwest::Url::parse(url)
            .map_err(|error| Failed::new(format!("its endpoint is no URL: {error}")))?;
        if url.query().is_some() || url.path() != "/" {
            return Err(Failed::new("an endpoint of AWS has neither path nor query"));
        }
        let host = url.host_str().unwrap_or_default();
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let date = basic(now);
        headers.push(("x-amz-date", date.clone()));
        if let Some(session) = &self.key.session {
            headers.push(("x-amz-security-token", session.show().to_owned()));
        }
        let mut signed: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.trim()))
            .chain([("host", host.as_str())])
            .collect();
        signed.sort_unstable();
        let authorization = self.authorization("POST", "/", &signed, body, &date);
        headers.push(("authorization", authorization));
        Ok(())
    }

    /// The field `authorization`, for header fields that are sorted by their lower-case names.
    fn authorization(
        &self,
        method: &str,
        path: &str,
        signed: &[(&str, &str)],
        body: &[u8],
        date: &str,
    ) -> String {
        let fields: String = signed
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let payload = hex(digest(&SHA256, body).as_ref());
        let canonical = format!("{method}\n{path}\n\n{fields}\n{names}\n{payload}");
        let (day, _) = date.split_at(8);
        let (region, service) = (self.region, self.service);
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let canonical = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{}", self.key.secret.show()).into_bytes();
        for part in [day, region, service, "aws4_request"] {
            key = mac(&key, part);
        }
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
            self.key.id,
            hex(&mac(&key, &text))
        )
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::creds::Hidden;

    /// `post-vanilla` and `post-vanilla-with-session-token` of AWS's own test suite of the signature.
    #[test]
    fn the_signature_is_that_of_awss_own_examples() {
        let key = Key {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Hidden::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session: None,
        };
        let signing = Signing {
            service: "service",
            region: "us-east-1",
            key: &key,
        };
        let date = "20150830T123600Z";
        let fields = [("host", "example.amazonaws.com"), ("x-amz-date", date)];
        assert_eq!(
            signing.authorization("POST", "/", &fields, b"", date),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(
            signing.authorization("GET", "/", &fields, b"", date),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }
}
