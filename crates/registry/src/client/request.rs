//! Requests: their pace, their second attempts, and who we are in them.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, StatusCode};
use reqwest::{Certificate, Identity, RequestBuilder, Response, Url, redirect};
use tokio::sync::OnceCell;
use url::Host;

use super::auth::Auth;
use super::error::{Error, Kind};
use super::names::host_of_docker_hub;
use super::pace::{Pace, back_off, retry_after};
use super::settings::{Settings, Transport};

/// The longest answer that is no blob and no manifest, in bytes.
const MAX_ANSWER: usize = 8 << 20;

/// Redirects of one request.
const MAX_REDIRECTS: usize = 6;

/// One registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    host: String,
    base: OnceCell<Url>,
    pub(super) http: reqwest::Client,
    pub(super) settings: Settings,
    pub(super) auth: Auth,
    pace: Pace,
}

/// What a registry asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Nothing.
    None,
    /// A name and a password with each request.
    Basic,
    /// A token of this service.
    Bearer {
        /// Where tokens are given out.
        realm: String,
        /// What the registry is called there.
        service: Option<String>,
    },
}

impl Client {
    /// A registry by its `host` or `host:port`. Nothing is asked yet.
    ///
    /// # Errors
    /// The name is none, or the authorities or our certificate are not readable.
    pub fn new(host: &str, settings: Settings) -> Result<Self, Error> {
        let address = host_of_docker_hub(host);
        let invalid = |why: String| Error::new(Kind::Invalid, format!("registry {host:?}: {why}"));
        // Checked here, once.
        parse_base("https", address).map_err(|why| invalid(why.to_owned()))?;
        let http = http_client(&settings).map_err(invalid)?;
        Ok(Self(Arc::new(Inner {
            host: host.to_owned(),
            base: OnceCell::new(),
            http,
            auth: Auth::default(),
            pace: Pace::of(settings.requests_per_second),
            settings,
        })))
    }

    /// What it is called.
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// What it asks of its clients, found out by `GET /v2/` without a credential.
    ///
    /// # Errors
    /// Nobody answers, or what answers is no registry.
    pub async fn asks(&self) -> Result<Scheme, Error> {
        let url = self.url("").await?;
        let response = self
            .attempts("GET /v2/", &|| self.0.http.get(url.clone()))
            .await?;
        match response.status() {
            StatusCode::OK => Ok(Scheme::None),
            StatusCode::UNAUTHORIZED => Auth::scheme(&response),
            status => Err(Error::new(
                Kind::Refused,
                format!(
                    "{} is no registry: GET /v2/ is answered by {status}",
                    self.host()
                ),
            )),
        }
    }

    /// Whether it takes our credential.
    ///
    /// # Errors
    /// It does not, or nobody answers.
    pub async fn login(&self) -> Result<(), Error> {
        let url = self.url("").await?;
        let response = self
            .send("GET /v2/", "", &|| self.0.http.get(url.clone()))
            .await?;
        self.expect("GET /v2/", response, &[StatusCode::OK])
            .await
            .map(drop)
    }

    /// Where a path below `/v2/` is.
    pub(super) async fn url(&self, path: &str) -> Result<Url, Error> {
        let base = self.0.base.get_or_try_init(|| self.find_base()).await?;
        below(base, path)
            .ok_or_else(|| Error::new(Kind::Invalid, format!("{path:?} is no path of a registry")))
    }

    async fn find_base(&self) -> Result<Url, Error> {
        let address = host_of_docker_hub(&self.0.host);
        let base =
            |scheme| parse_base(scheme, address).map_err(|why| Error::new(Kind::Invalid, why));
        let settings = &self.0.settings;
        match settings.transport {
            Transport::Https
                if settings.authorities.is_empty()
                    && settings.identity.is_none()
                    && is_loopback(&base("https")?) =>
            {
                self.find_either(base("https")?, base("http")?).await
            }
            Transport::Https | Transport::Unverified => base("https"),
            Transport::Plain => base("http"),
            Transport::Either => self.find_either(base("https")?, base("http")?).await,
        }
    }

    /// A registry by TLS or by plain HTTP, once it answers to one of both. One that speaks TLS with
    /// a certificate that is not trusted does not become trusted by that.
    async fn find_either(&self, https: Url, http: Url) -> Result<Url, Error> {
        let mut failed = 0;
        loop {
            let error = match self.0.http.get(https.clone()).send().await {
                Err(error) if error.is_connect() => error,
                _ => return Ok(https),
            };
            match self.0.http.get(http.clone()).send().await {
                // Who speaks TLS says so to those who do not.
                Ok(response) if response.status() != StatusCode::BAD_REQUEST => return Ok(http),
                Err(error) if error.is_connect() => {}
                _ => return Ok(https),
            }
            if failed >= self.0.settings.retries {
                return Err(Error::of_transport(&self.named("GET /v2/"), &error));
            }
            tokio::time::sleep(self.wait(failed)).await;
            failed += 1;
        }
    }

    /// Whether it turned out to speak plain HTTP; `false` before it was asked anything.
    pub fn is_plain(&self) -> bool {
        self.0
            .base
            .get()
            .is_some_and(|base| base.scheme() == "http")
    }

    /// Makes a request, again if need be, with whatever shows who we are. `scope` is what it
    /// needs, as `repository:a/b:pull`.
    pub(super) async fn send(
        &self,
        what: &str,
        scope: &str,
        make: &(dyn Fn() -> RequestBuilder + Sync),
    ) -> Result<Response, Error> {
        let mut challenged = false;
        loop {
            let header = self.0.auth.header(self, scope).await?;
            let authorized = || self.authorized(make(), header.as_ref());
            let response = self.attempts(what, &authorized).await?;
            if response.status() != StatusCode::UNAUTHORIZED
                || challenged
                || !self.is_ours(response.url())
            {
                return Ok(response);
            }
            challenged = true;
            self.0.auth.challenged(&response, scope)?;
        }
    }

    /// The same, one attempt only: for what is looked after before it is sent again.
    pub(super) async fn send_once(
        &self,
        what: &str,
        scope: &str,
        request: RequestBuilder,
    ) -> Result<Response, Error> {
        let header = self.0.auth.header(self, scope).await?;
        self.0.pace.turn().await;
        let request = self.authorized(request, header.as_ref());
        let sent = request.send().await;
        sent.map_err(|error| Error::of_transport(&self.named(what), &error))
    }

    /// Makes a request until it is answered by something that does not pass.
    pub(super) async fn attempts(
        &self,
        what: &str,
        make: &(dyn Fn() -> RequestBuilder + Sync),
    ) -> Result<Response, Error> {
        let mut failed = 0;
        loop {
            self.0.pace.turn().await;
            let sent = make().send().await;
            let last = failed >= self.0.settings.retries;
            match sent {
                Ok(response) if last || !passes(response.status()) => return Ok(response),
                Ok(response) => {
                    let status = response.status();
                    let asked = retry_after(response.headers(), SystemTime::now());
                    let wait = self.wait(failed).max(asked.unwrap_or_default());
                    let wait = wait.min(self.0.settings.longest_wait);
                    tracing::debug!("{} answers {status}: again in {wait:?}", self.host());
                    match status {
                        // It is too much for it from anybody.
                        StatusCode::TOO_MANY_REQUESTS => self.0.pace.rest(wait),
                        _ => tokio::time::sleep(wait).await,
                    }
                }
                Err(error) if last || error.is_builder() || error.is_redirect() => {
                    return Err(Error::of_transport(&self.named(what), &error));
                }
                Err(_) => tokio::time::sleep(self.wait(failed)).await,
            }
            failed += 1;
        }
    }

    /// How long to wait after so many failures.
    pub(super) fn wait(&self, failed: u32) -> std::time::Duration {
        let settings = &self.0.settings;
        back_off(settings.first_wait, settings.longest_wait, failed)
    }

    /// An answer with one of these statuses, or the error that it is.
    pub(super) async fn expect(
        &self,
        what: &str,
        response: Response,
        right: &[StatusCode],
    ) -> Result<Response, Error> {
        let status = response.status();
        if right.contains(&status) {
            return Ok(response);
        }
        // What does not come is no news then.
        let body = read(response, MAX_ANSWER).await.unwrap_or_default();
        Err(Error::of_answer(&self.named(what), status, &body))
    }

    /// All of a body that is no blob.
    pub(super) async fn body(&self, what: &str, response: Response) -> Result<Bytes, Error> {
        let body = read(response, MAX_ANSWER).await;
        body.map_err(|error| error.during(&self.named(what)))
    }

    /// Whether an address is the registry's own: only there we show who we are.
    pub(super) fn is_ours(&self, url: &Url) -> bool {
        let base = self.0.base.get();
        base.is_some_and(|base| base.origin() == url.origin())
    }

    pub(super) fn named(&self, what: &str) -> String {
        format!("{}: {what}", self.0.host)
    }

    fn authorized(&self, request: RequestBuilder, header: Option<&HeaderValue>) -> RequestBuilder {
        let Some(header) = header else {
            return request;
        };
        // An upload may go on elsewhere.
        let (http, request) = request.build_split();
        let Ok(mut request) = request else {
            // Nowhere: sending it tells of an error, as sending the other would.
            return http.get("");
        };
        if self.is_ours(request.url()) {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        RequestBuilder::from_parts(http, request)
    }
}

/// What is at `path` below `base`, if it leads there: names may be others', and `..` in one would
/// be another repository's.
pub(super) fn below(base: &Url, path: &str) -> Option<Url> {
    let url = base.join(path).ok()?;
    let wanted = path.split_once('?').map_or(path, |(path, _)| path);
    let is_below = url.origin() == base.origin()
        && url.fragment().is_none()
        && url.path().strip_prefix(base.path()) == Some(wanted);
    is_below.then_some(url)
}

/// Whether an answer may be another one soon.
fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// A body up to a limit.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Bytes, Error> {
    let too_long = || {
        Error::new(
            Kind::Broken,
            format!("the answer is longer than {limit} bytes"),
        )
    };
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_long());
    }
    let mut all = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if all.len() + chunk.len() > limit => return Err(too_long()),
            Ok(Some(chunk)) => all.extend_from_slice(&chunk),
            Ok(None) => return Ok(all.into()),
            Err(error) => return Err(Error::of_transport("the rest of the answer", &error)),
        }
    }
}

/// By its name alone: whoever answers for names could say of any that it is this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

pub(super) fn parse_base(scheme: &str, address: &str) -> Result<Url, &'static str> {
    let wrong = "write HOST or HOST:PORT";
    let url = Url::parse(&format!("{scheme}://{address}/v2/")).map_err(|_| wrong)?;
    // No user, no path, no query: only what comes before them.
    let plain = !address.is_empty()
        && !address.contains(['/', '@', '?', '#', '\\'])
        && !address.contains(char::is_whitespace);
    plain.then_some(url).ok_or(wrong)
}

/// The same that follows no redirect: for what nobody else is to be told.
pub(super) fn unredirected(settings: &Settings) -> Result<reqwest::Client, String> {
    client_with(settings, redirect::Policy::none())
}

fn http_client(settings: &Settings) -> Result<reqwest::Client, String> {
    let policy = redirect::Policy::custom(|attempt| {
        let from_tls = attempt.previous().iter().any(|it| it.scheme() == "https");
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if from_tls && attempt.url().scheme() != "https" {
            attempt.error("a redirect from HTTPS to HTTP")
        } else {
            attempt.follow()
        }
    });
    client_with(settings, policy)
}

fn client_with(settings: &Settings, policy: redirect::Policy) -> Result<reqwest::Client, String> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("narthex/", env!("CARGO_PKG_VERSION")))
        .redirect(policy)
        .referer(false)
        .connect_timeout(std::time::Duration::from_secs(15))
        .read_timeout(settings.idle);
    if matches!(
        settings.transport,
        Transport::Unverified | Transport::Either
    ) {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    let mut authorities = Vec::new();
    for pem in &settings.authorities {
        let some = Certificate::from_pem_bundle(pem).map_err(|error| error.to_string())?;
        if some.is_empty() {
            return Err("a file of authorities has no certificate in PEM".to_owned());
        }
        authorities.extend(some);
    }
    if !authorities.is_empty() {
        builder = builder.tls_certs_merge(authorities);
    }
    if let Some(pem) = &settings.identity {
        let identity =
            Identity::from_pem(pem).map_err(|_| "our certificate and key are not read")?;
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_this_machine_is_told_by_its_name() {
        let is_local =
            |address: &str| is_loopback(&parse_base("https", address).expect("an address"));
        for address in [
            "localhost",
            "LOCALHOST:5000",
            "a.localhost",
            "127.0.0.1:5000",
        ] {
            assert!(is_local(address), "{address}");
        }
        for address in ["127.8.9.1", "[::1]:5000"] {
            assert!(is_local(address), "{address}");
        }
        for address in [
            "localhost.example",
            "10.0.0.1:5000",
            "[::2]",
            "0.0.0.0:1",
            "mylocalhost",
        ] {
            assert!(!is_local(address), "{address}");
        }
    }
}
