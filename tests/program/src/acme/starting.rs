//! The server's configuration, one for each test.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::site::Here;
use super::{Acme, Challenges, Process, Site, files};
use crate::ports;
use crate::tls::Client;

/// An ACME server before it starts.
pub struct Starting {
    profiles: Vec<(String, Duration)>,
    bound: Vec<(String, String)>,
    blocked: Vec<String>,
    environment: Vec<(&'static str, String)>,
    retry_after: u32,
    validating: Option<(u16, u16)>,
    resolving: Option<SocketAddr>,
    answering: bool,
    site: Box<dyn Site>,
}

impl Default for Starting {
    fn default() -> Self {
        Self {
            profiles: vec![("default".to_owned(), Duration::from_secs(90 * 24 * 3600))],
            bound: Vec::new(),
            blocked: Vec::new(),
            environment: vec![
                ("PEBBLE_VA_NOSLEEP", "1".to_owned()),
                ("PEBBLE_WFE_NONCEREJECT", "0".to_owned()),
                ("PEBBLE_AUTHZREUSE", "0".to_owned()),
            ],
            retry_after: 1,
            validating: None,
            resolving: None,
            answering: false,
            site: Box::new(Here),
        }
    }
}

impl Starting {
    /// How long certificates of the profile `default` are valid: 90 days unless said.
    pub fn validity(self, validity: Duration) -> Self {
        self.profile("default", validity)
    }

    /// A profile to choose, with the validity of its certificates. pebble takes any one, by chance,
    /// for an order that names none.
    pub fn profile(mut self, name: &str, validity: Duration) -> Self {
        self.profiles.retain(|(known, _)| known != name);
        self.profiles.push((name.to_owned(), validity));
        self
    }

    /// Takes only accounts bound to one of these keys: id, and HMAC key in base64url.
    pub fn external_account(mut self, kid: &str, hmac: &str) -> Self {
        self.bound.push((kid.to_owned(), hmac.to_owned()));
        self
    }

    /// Refuses orders for a name, and for those below it.
    pub fn blocking(mut self, name: &str) -> Self {
        self.blocked.push(name.to_owned());
        self
    }

    /// Answers so many of a hundred good nonces with `badNonce`.
    pub fn bad_nonces(self, percent: u8) -> Self {
        self.env("PEBBLE_WFE_NONCEREJECT", &percent.to_string())
    }

    /// Lets a validation begin only after some whole seconds, by chance, below `seconds`.
    pub fn slow_validation(mut self, seconds: u32) -> Self {
        self.environment
            .retain(|(name, _)| *name != "PEBBLE_VA_NOSLEEP");
        self.env("PEBBLE_VA_SLEEPTIME", &seconds.to_string())
    }

    /// Takes what was proved before for a new order, so many times of a hundred.
    pub fn reusing_authorizations(self, percent: u8) -> Self {
        self.env("PEBBLE_AUTHZREUSE", &percent.to_string())
    }

    /// What `Retry-After` says while an authorization or an order is not ready: 1 second unless said.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = seconds;
        self
    }

    /// So many further roots, whose chains are alternates of each certificate.
    pub fn alternate_roots(self, count: usize) -> Self {
        self.env("PEBBLE_ALTERNATE_ROOTS", &count.to_string())
    }

    /// Connects to these ports for HTTP-01 and TLS-ALPN-01.
    pub fn validating_at(mut self, http: u16, tls: u16) -> Self {
        self.validating = Some((http, tls));
        self
    }

    /// Asks this DNS server instead of the challenge test server.
    pub fn resolving_at(mut self, dns: SocketAddr) -> Self {
        self.resolving = Some(dns);
        self
    }

    /// Lets the challenge test server answer HTTP-01 and TLS-ALPN-01, and remember who asked.
    pub fn answering(mut self) -> Self {
        self.answering = true;
        self
    }

    /// Runs both servers in another network.
    pub fn at(mut self, site: impl Site + 'static) -> Self {
        self.site = Box::new(site);
        self
    }

    /// Starts both servers and waits until they listen.
    #[track_caller]
    pub fn start(self) -> Acme {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let site = &*self.site;
        let authority = files(folder.path(), site.address());
        let validating = self.validating;
        let (http, tls) = validating.unwrap_or_else(|| (ports::free(), ports::free()));
        let challenges = Challenges::start(site, self.answering.then_some((http, tls)));
        let (port, management) = (ports::free(), ports::free());
        let dns = self.resolving.unwrap_or_else(|| challenges.dns());
        let file = folder.path().join("pebble.json");
        let configuration = self.configuration([port, management, http, tls]);
        std::fs::write(&file, configuration.to_string()).expect("a file");
        let mut server = Process::start("pebble", site, |command| {
            command
                .arg("-config")
                .arg(&file)
                .arg("-dnsserver")
                .arg(dns.to_string())
                .current_dir(folder.path())
                .envs(self.environment.iter().cloned());
        });
        let address = SocketAddr::new(site.address(), port);
        let [port, management] = [port, management].map(|port| site.reach(port));
        server.until_listening(port);
        server.until_listening(management);
        Acme {
            challenges,
            http,
            tls,
            address,
            port,
            management,
            trusting: Client::trusting(&authority.der),
            folder,
            server,
        }
    }

    fn configuration(&self, [port, management, http, tls]: [u16; 4]) -> Value {
        let profile = |(name, validity): &(String, Duration)| {
            let value = json!({ "description": name, "validityPeriod": validity.as_secs() });
            (name.clone(), value)
        };
        let profiles: serde_json::Map<_, _> = self.profiles.iter().map(profile).collect();
        let keys: serde_json::Map<_, _> = self
            .bound
            .iter()
            .map(|(kid, hmac)| (kid.clone(), json!(hmac)))
            .collect();
        json!({ "pebble": {
            "listenAddress": SocketAddr::new(self.site.address(), port).to_string(),
            "managementListenAddress": SocketAddr::new(self.site.address(), management).to_string(),
            "certificate": "tls.crt",
            "privateKey": "tls.key",
            "httpPort": http,
            "tlsPort": tls,
            "externalAccountBindingRequired": !self.bound.is_empty(),
            "externalAccountMACKeys": keys,
            "domainBlocklist": self.blocked,
            "retryAfter": { "authz": self.retry_after, "order": self.retry_after },
            "keyAlgorithm": "ecdsa",
            "profiles": profiles,
        } })
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.to_owned()));
        self
    }
}
