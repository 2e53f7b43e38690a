//! The admin addresses of running replicas, from outside of the cluster.
//!
//! A replica's admin address is on its pod's loopback. The API server forwards a port of a pod to
//! whoever has `create` on `pods/portforward`: nothing else has to be open, and nobody else can
//! come in that way.

use std::pin::pin;
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::chain;

/// The label by which pods are found.
pub const SELECTOR: &str = "app.kubernetes.io/name=narthex";

/// For one question and its whole answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The largest answer in bytes that is read.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// How replicas are reached.
#[derive(Clone)]
pub enum Door {
    /// One replica's admin address, as `127.0.0.1:9090`.
    Address(String),
    /// Every replica's, by way of the API server.
    Cluster {
        /// Access to it.
        client: Client,
        /// Where the pods are.
        namespace: String,
        /// The port of the admin address in a pod.
        port: u16,
    },
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The pod's name, or the admin address.
    pub name: String,
    /// Where it runs; empty if that is not known.
    pub node: String,
    /// Whether the cluster has it as ready; none if that is not known.
    pub ready: Option<bool>,
    /// Whether it can be asked: it is there, runs, and is not about to end.
    pub running: bool,
}

/// An answer of the admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Door {
    /// Every replica, or the one with this name.
    ///
    /// # Errors
    /// Why they cannot be listed, or that there is none and what to look at; for people.
    pub async fn replicas(&self, only: Option<&str>) -> Result<Vec<Replica>, String> {
        let (client, namespace) = match self {
            Self::Address(address) => {
                return Ok(vec![Replica {
                    name: address.clone(),
                    node: String::new(),
                    ready: None,
                    running: true,
                }]);
            }
            Self::Cluster {
                client, namespace, ..
            } => (client, namespace),
        };
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        if let Some(name) = only {
            // A name that was given need not have the label.
            let pod = pods
                .get(name)
                .await
                .map_err(|error| failed("get pods", namespace, &error))?;
            return Ok(vec![replica(&pod)]);
        }
        let list = ListParams::default().labels(SELECTOR).limit(500);
        let found = pods.list(&list).await;
        let found = found.map_err(|error| failed("list pods", namespace, &error))?;
        if found.items.is_empty() {
            return Err(format!(
                "no pod in namespace {namespace} has the label {SELECTOR}: name Narthex's namespace \
                 with --namespace, or a pod with --pod; `kubectl get pods -A -l {SELECTOR}` looks \
                 everywhere"
            ));
        }
        let mut replicas: Vec<_> = found.items.iter().map(replica).collect();
        replicas.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(replicas)
    }

    /// A GET of a replica's admin address.
    ///
    /// # Errors
    /// Why there is no answer, for people.
    pub async fn get(&self, replica: &Replica, path: &str) -> Result<Answer, String> {
        let name = &replica.name;
        timeout(TIME_LIMIT, self.ask(replica, path))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {TIME_LIMIT:?}")))
            .map_err(|error| format!("{name}: {error}"))
    }

    async fn ask(&self, replica: &Replica, path: &str) -> Result<Answer, String> {
        match self {
            Self::Address(address) => {
                let stream = TcpStream::connect(address.as_str()).await;
                exchange(stream.map_err(|error| error.to_string())?, path).await
            }
            Self::Cluster {
                client,
                namespace,
                port,
            } => {
                let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
                let mut forward = pods
                    .portforward(&replica.name, &[*port])
                    .await
                    .map_err(|error| failed("create pods/portforward", namespace, &error))?;
                let stream = forward
                    .take_stream(*port)
                    .ok_or("the port is not forwarded")?;
                let error = forward.take_error(*port);
                let answer = exchange(stream, path).await;
                match (answer, error) {
                    (Ok(answer), _) => Ok(answer),
                    // Why the other end failed is what is of use, if it says so in time.
                    (Err(ours), Some(theirs)) => {
                        let theirs = timeout(Duration::from_secs(1), theirs).await.ok().flatten();
                        Err(format!(
                            "{}; is the admin address on port {port}? --admin-port says which",
                            theirs.unwrap_or(ours).trim()
                        ))
                    }
                    (Err(ours), None) => Err(ours),
                }
            }
        }
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "Address({address})"),
            Self::Cluster {
                namespace, port, ..
            } => write!(f, "Cluster({namespace}, {port})"),
        }
    }
}

fn replica(pod: &Pod) -> Replica {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let phase = status.and_then(|status| status.phase.as_deref());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    Replica {
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: node.unwrap_or_default(),
        ready: Some(ready),
        running: phase == Some("Running") && pod.metadata.deletion_timestamp.is_none(),
    }
}

/// What failed, with what it takes where it was not allowed.
fn failed(what: &str, namespace: &str, error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 => {
            format!(
                "you may not {what} in namespace {namespace}: {}",
                status.message
            )
        }
        Error::Api(status) => status.message.clone(),
        error => {
            use std::error::Error as _;

            let cause = error.source().map(|cause| format!(": {cause}"));
            format!(
                "the API server cannot be asked: {error}{}",
                cause.unwrap_or_default()
            )
        }
    }
}

/// Asks for a page on a connection of its own.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> Result<Answer, String> {
    let request = Request::get(path)
        .header(HOST, "localhost")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| said(&error))?;
    let mut answer = pin!(async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|error| said(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = body.await.map_err(|error| match error.downcast_ref() {
            Some(error) => said(error),
            None => "the answer is too long: ask for one host".to_owned(),
        })?;
        Ok(Answer {
            status,
            body: body.to_bytes().to_vec(),
        })
    });
    // The answer is what counts, however the connection ends.
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

fn said(error: &hyper::Error) -> String {
    match error.is_parse() {
        true => "this is no HTTP: is it the admin address?".to_owned(),
        false => chain(error),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What becomes of these bytes after the request, and the end of the connection after them.
    async fn answered(bytes: &[u8]) -> Result<Answer, String> {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (answer, ()) = tokio::join!(exchange(ours, "/"), async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                theirs.read_buf(&mut request).await.expect("reads");
            }
            theirs.write_all(bytes).await.expect("writes");
            // Whoever has seen enough may have left.
            let _ = theirs.shutdown().await;
        });
        answer
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n";
        let answer = answered(text).await.expect("an answer");
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"no\n"[..]));
        for end in 0..text.len() {
            answered(&text[..end]).await.expect_err("half an answer");
        }
        let said = answered(b"SSH-2.0-x\r\n").await.expect_err("no HTTP");
        assert!(said.contains("no HTTP"), "{said}");
    }
}
