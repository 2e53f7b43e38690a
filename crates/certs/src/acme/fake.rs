//! A CA in memory for tests: it looks at what is put up, as a real one does, and has its moods.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http::{Method as Verb, Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rcgen::{CertificateSigningRequestParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde_json::{Value, json};

use super::{Answer, Solver};

pub(crate) const DIRECTORY: &str = "https://ca.test/dir";
const PROBLEM: &str = "urn:ietf:params:acme:error:";

/// An answer of its own for the next request to a path: status, header, and the body.
pub(crate) type Mood = (u16, Option<(&'static str, String)>, Value);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) meta: Value,
    /// The window that it suggests; without, it knows no such thing.
    pub(crate) window: Option<(&'static str, &'static str)>,
    pub(crate) offers: Vec<&'static str>,
    /// What is answered once to a path, in this order.
    pub(crate) moods: Vec<(&'static str, Mood)>,
    /// So many nonces are refused.
    pub(crate) bad_nonces: usize,
    pub(crate) accounts: Vec<Value>,
    /// What was told of accounts afterwards.
    pub(crate) changes: Vec<Value>,
    pub(crate) orders: Vec<Value>,
    pub(crate) revoked: Vec<Value>,
    thumb: String,
    nonces: HashSet<String>,
    made: usize,
    ready: HashMap<(usize, usize), Result<(), Value>>,
    certificates: HashMap<usize, String>,
}

/// The CA, and the place where answers are put up.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    board: Arc<Mutex<Vec<Answer>>>,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let fake = Self::default();
        fake.state().meta = json!({});
        fake.state().offers = vec!["dns-01", "http-01", "tls-alpn-01", "dns-persist-01"];
        fake
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with it")
    }

    pub(crate) fn board(&self) -> Vec<Answer> {
        self.board.lock().expect("no test panics with it").clone()
    }
}

impl Solver for Fake {
    async fn present(&self, answers: &[Answer]) -> Result<(), String> {
        let mut board = self.board.lock().expect("no test panics with it");
        board.extend_from_slice(answers);
        Ok(())
    }

    async fn withdraw(&self, answers: &[Answer]) {
        let mut board = self.board.lock().expect("no test panics with it");
        board.retain(|answer| !answers.contains(answer));
    }
}

impl HttpClient for Fake {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (fake, (parts, body)) = (self.clone(), request.into_parts());
        Box::pin(async move {
            // RFC 8555, section 6.1.
            assert!(parts.headers.contains_key("user-agent"), "{parts:?}");
            let body = body.collect().await.expect("cannot fail").to_bytes();
            let board = fake.board();
            let mut state = fake.state();
            let (status, header, answer) =
                state.serve(&parts.method, parts.uri.path(), &body, &board);
            let mut response = Response::builder()
                .status(status)
                .header("Replay-Nonce", state.nonce());
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            let body = match answer {
                Value::String(text) => text,
                json => json.to_string(),
            };
            Ok(response
                .body(Full::new(Bytes::from(body)))
                .expect("a response")
                .into())
        })
    }
}

impl State {
    fn nonce(&mut self) -> String {
        self.made += 1;
        let nonce = format!("nonce-{}", self.made);
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn serve(&mut self, verb: &Verb, path: &str, body: &[u8], board: &[Answer]) -> Mood {
        let at = self.moods.iter().position(|(of, _)| path.starts_with(of));
        if verb != Verb::HEAD
            && let Some(at) = at
        {
            return self.moods.remove(at).1;
        }
        if verb == Verb::HEAD {
            return (200, None, json!(""));
        }
        if verb == Verb::GET {
            return match (path, self.window) {
                ("/dir", _) => (200, None, self.directory()),
                (_, Some((start, end))) if path.starts_with("/ari/") => {
                    let window = json!({"start": start, "end": end});
                    (200, None, json!({"suggestedWindow": window}))
                }
                _ => (404, None, json!("not here")),
            };
        }
        let body: Value = serde_json::from_slice(body).expect("JSON");
        let (protected, payload) = (decode(&body["protected"]), decode(&body["payload"]));
        let nonce = protected["nonce"].as_str().expect("a nonce");
        if !self.nonces.remove(nonce) || self.bad_nonces > 0 {
            self.bad_nonces = self.bad_nonces.saturating_sub(1);
            return (400, None, problem("badNonce", "no such nonce"));
        }
        self.post(path, &protected, payload, board)
    }

    fn directory(&self) -> Value {
        let mut directory = json!({
            "newNonce": "https://ca.test/nonce", "newAccount": "https://ca.test/account",
            "newOrder": "https://ca.test/new-order", "revokeCert": "https://ca.test/revoke",
            "meta": self.meta,
        });
        if self.window.is_some() {
            directory["renewalInfo"] = json!("https://ca.test/ari");
        }
        directory
    }

    fn post(&mut self, path: &str, protected: &Value, payload: Value, board: &[Answer]) -> Mood {
        let mut parts = path.trim_start_matches('/').split('/');
        let what = parts.next().unwrap_or_default();
        let mut number = || parts.next().and_then(|text| text.parse::<usize>().ok());
        let (order, name) = (number().unwrap_or(0), number().unwrap_or(0));
        match what {
            "account" => {
                let jwk = &protected["jwk"];
                let text = format!(
                    r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#,
                    jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]
                );
                self.thumb = hash(&text);
                self.accounts.push(payload);
                let url = format!("https://ca.test/acct/{}", self.accounts.len());
                (201, Some(("Location", url)), json!({"status": "valid"}))
            }
            "acct" => {
                self.changes.push(payload);
                (200, None, json!({"status": "valid"}))
            }
            "new-order" => {
                self.orders.push(payload);
                let order = self.orders.len() - 1;
                let url = format!("https://ca.test/order/{order}");
                (201, Some(("Location", url)), self.order(order))
            }
            "order" => (200, None, self.order(order)),
            "authz" => (200, None, self.authorization(order, name)),
            "chall" => {
                let method = path.rsplit('/').next().unwrap_or_default();
                // As real ones do: it looks afterwards, and says here only that it will.
                let pending = self.challenge(order, name, method);
                let seen = self.look(order, name, method, board);
                self.ready.insert((order, name), seen);
                (200, None, pending)
            }
            "finalize" => {
                let csr = BASE64_URL_SAFE_NO_PAD.decode(payload["csr"].as_str().expect("a CSR"));
                let csr = CertificateSigningRequestDer::from(csr.expect("base64"));
                self.certificates.insert(order, certify(&csr));
                (200, None, self.order(order))
            }
            "cert" => (200, None, json!(self.certificates[&order])),
            "revoke" => {
                self.revoked.push(payload);
                (200, None, json!(""))
            }
            _ => (404, None, json!("not here")),
        }
    }

    fn order(&self, order: usize) -> Value {
        let names = self.orders[order]["identifiers"]
            .as_array()
            .expect("names")
            .len();
        let seen = |name| self.ready.get(&(order, name));
        let status = if self.certificates.contains_key(&order) {
            "valid"
        } else if (0..names).any(|name| seen(name).is_some_and(Result::is_err)) {
            "invalid"
        } else if (0..names).all(|name| seen(name).is_some()) {
            "ready"
        } else {
            "pending"
        };
        let url = |name| format!("https://ca.test/authz/{order}/{name}");
        let mut state = json!({
            "status": status, "authorizations": (0..names).map(url).collect::<Vec<_>>(),
            "finalize": format!("https://ca.test/finalize/{order}"),
            "certificate": format!("https://ca.test/cert/{order}"),
        });
        if let Some(replaces) = self.orders[order].get("replaces") {
            state["replaces"] = replaces.clone();
        }
        state
    }

    fn name(&self, order: usize, name: usize) -> (Value, bool) {
        let mut identifier = self.orders[order]["identifiers"][name].clone();
        let text = identifier["value"].as_str().expect("a name").to_owned();
        let base = text.strip_prefix("*.");
        identifier["value"] = json!(base.unwrap_or(&text));
        (identifier, base.is_some())
    }

    fn authorization(&self, order: usize, name: usize) -> Value {
        let (identifier, is_wildcard) = self.name(order, name);
        let status = match self.ready.get(&(order, name)) {
            None => "pending",
            Some(Ok(())) => "valid",
            Some(Err(_)) => "invalid",
        };
        let all = self.offers.iter().map(|of| self.challenge(order, name, of));
        json!({
            "identifier": identifier, "wildcard": is_wildcard, "status": status,
            "challenges": all.collect::<Vec<_>>(),
        })
    }

    fn challenge(&self, order: usize, name: usize, method: &str) -> Value {
        let mut challenge = json!({
            "type": method, "status": "pending", "token": token(order, name),
            "url": format!("https://ca.test/chall/{order}/{name}/{method}"),
        });
        if let Some(Err(problem)) = self.ready.get(&(order, name)) {
            challenge["status"] = json!("invalid");
            challenge["error"] = problem.clone();
        }
        challenge
    }

    /// Whether what the CA would look at is there.
    fn look(&self, order: usize, name: usize, method: &str, board: &[Answer]) -> Result<(), Value> {
        let (identifier, _) = self.name(order, name);
        let wanted = identifier["value"].as_str().unwrap_or_default();
        let key = format!("{}.{}", token(order, name), self.thumb);
        let is_there = board.iter().any(|answer| match answer {
            Answer::Http {
                name,
                token: path,
                key_authorization,
            } => {
                method == "http-01"
                    && name == wanted
                    && key.starts_with(&format!("{path}."))
                    && *key_authorization == key
            }
            Answer::Dns { name, value, .. } => {
                let at = format!("_acme-challenge.{wanted}");
                method == "dns-01" && *name == at && *value == hash(&key)
            }
            Answer::TlsAlpn {
                server_name,
                certificate,
            } => {
                let der = CertificateDer::from_pem_slice(certificate.chain.as_bytes());
                let der = der.expect("PEM");
                let digest = digest(&SHA256, key.as_bytes());
                let has = der.windows(32).any(|part| part == digest.as_ref());
                method == "tls-alpn-01" && (server_name == wanted || is_reverse(server_name)) && has
            }
            Answer::DnsPersist { name, .. } => {
                let at = format!("_validation-persist.{wanted}");
                method == "dns-persist-01" && *name == at
            }
        });
        is_there
            .then_some(())
            .ok_or_else(|| problem("unauthorized", &format!("{wanted} leads elsewhere")))
    }
}

fn is_reverse(name: &str) -> bool {
    name.ends_with(".arpa")
}

fn token(order: usize, name: usize) -> String {
    format!("token-{order}-{name}")
}

fn hash(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

pub(crate) fn problem(r#type: &str, detail: &str) -> Value {
    json!({"type": format!("{PROBLEM}{type}"), "detail": detail})
}

fn decode(text: &Value) -> Value {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.as_str().expect("text"));
    serde_json::from_slice(&bytes.expect("base64")).unwrap_or(Value::Null)
}

fn certify(csr: &CertificateSigningRequestDer<'_>) -> String {
    let key = KeyPair::generate().expect("a key");
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), key);
    let mut request = CertificateSigningRequestParams::from_der(csr).expect("a CSR");
    request.params.use_authority_key_identifier_extension = true;
    request.signed_by(&issuer).expect("signed").pem()
}
