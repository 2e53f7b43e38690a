//! An API server that answers what a test tells it to.

use std::sync::{Arc, Mutex};

use narthex_cluster::{Access, Connection};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// An answer.
pub(crate) enum Answer {
    /// A whole one.
    Json(u16, Value),
    /// Events, until the other end of the channel is dropped.
    Stream(mpsc::UnboundedReceiver<Value>),
    /// The connection is closed without a word.
    Nothing,
}

/// A request's path and query.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: String,
}

impl Asked {
    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .rev()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// Whether it asks for events.
    pub(crate) fn is_watch(&self) -> bool {
        self.parameter("watch") == Some("true")
    }
}

type Script = dyn Fn(&Asked) -> Option<Answer> + Send + Sync;

/// An API server. What its script does not answer, is an empty list that never changes.
pub(crate) struct Server {
    kubeconfig: NamedTempFile,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Streams that nothing ever comes through.
    _quiet: Arc<Mutex<Vec<mpsc::UnboundedSender<Value>>>>,
}

impl Server {
    /// Starts one that does not stream lists.
    pub(crate) async fn start(
        script: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        Self::start_streaming(move |asked| match asked.parameter("sendInitialEvents") {
            Some(_) => Some(Answer::Json(
                422,
                status(422, "sendInitialEvents is forbidden"),
            )),
            None => script(asked),
        })
        .await
    }

    /// Starts one that streams lists if its script does.
    pub(crate) async fn start_streaming(
        script: impl Fn(&Asked) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let quiet: Arc<Mutex<Vec<mpsc::UnboundedSender<Value>>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn({
            let (asked, quiet) = (Arc::clone(&asked), Arc::clone(&quiet));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.expect("accepts");
                    let (asked, quiet) = (Arc::clone(&asked), Arc::clone(&quiet));
                    tokio::spawn(serve(stream, Arc::clone(&script), asked, quiet));
                }
            }
        });
        let kubeconfig = NamedTempFile::new().expect("a file");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]
        });
        std::fs::write(kubeconfig.path(), config.to_string()).expect("writes");
        Self {
            kubeconfig,
            asked,
            _quiet: quiet,
        }
    }

    /// Access to it.
    pub(crate) async fn connection(&self) -> Connection {
        let access = Access::File(self.kubeconfig.path().to_owned());
        Connection::open(&access).await.expect("a right kubeconfig")
    }

    /// What it was asked for, of the kind with this plural.
    pub(crate) fn asked(&self, plural: &str) -> Vec<Asked> {
        let asked = self.asked.lock().expect("no test panics with it");
        let of_kind = |one: &&Asked| one.path.split('/').any(|part| part == plural);
        asked.iter().filter(of_kind).cloned().collect()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<Asked>>>,
    quiet: Arc<Mutex<Vec<mpsc::UnboundedSender<Value>>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("text");
    let target = head.split(' ').nth(1).expect("a request line");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = Asked {
        path: path.to_owned(),
        query: query.to_owned(),
    };
    log.lock()
        .expect("no test panics with it")
        .push(asked.clone());
    let answer = script(&asked).unwrap_or_else(|| {
        if asked.is_watch() {
            let (sender, receiver) = mpsc::unbounded_channel();
            if asked.parameter("sendInitialEvents").is_some() {
                let _ = sender.send(end_of_list("1"));
            }
            quiet.lock().expect("no test panics with it").push(sender);
            Answer::Stream(receiver)
        } else {
            Answer::Json(200, list("1", &[]))
        }
    });
    let start = |status: u16| {
        format!(
            "HTTP/1.1 {status} Some\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        )
    };
    match answer {
        Answer::Nothing => {}
        Answer::Json(status, body) => {
            let text = start(status) + &body.to_string();
            let _ = stream.write_all(text.as_bytes()).await;
        }
        Answer::Stream(mut events) => {
            let _ = stream.write_all(start(200).as_bytes()).await;
            while let Some(event) = events.recv().await {
                if stream
                    .write_all(format!("{event}\n").as_bytes())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}

/// A list of objects at a version.
pub(crate) fn list(version: &str, items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items})
}

/// A page of a list, with more to come.
pub(crate) fn page(version: &str, items: &[Value], next: &str) -> Value {
    let mut page = list(version, items);
    page["metadata"]["continue"] = next.into();
    page
}

/// An API server's refusal.
pub(crate) fn status(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "Test", "code": code
    })
}

/// An event.
pub(crate) fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

/// What ends a list that is streamed.
pub(crate) fn end_of_list(version: &str) -> Value {
    let annotations = json!({"k8s.io/initial-events-end": "true"});
    let metadata = json!({"resourceVersion": version, "annotations": annotations});
    event(
        "BOOKMARK",
        &json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata}),
    )
}

/// A Service.
pub(crate) fn service(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "spec": {"ports": [{"port": 80}]}
    })
}
