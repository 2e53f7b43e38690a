//! The API server, as the probe speaks to it.

use std::path::Path;
use std::pin::Pin;
use std::time::Instant;

use futures_util::AsyncBufRead;
use futures_util::io::AsyncBufReadExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// The namespace of all that is made here.
pub(crate) const NAMESPACE: &str = "shops";

/// A client.
#[derive(Clone)]
pub(crate) struct Api(Client);

/// The names of Ingresses as they come.
pub(crate) struct Watch(Pin<Box<dyn AsyncBufRead + Send>>);

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: Named<'a>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata<'a> {
    name: &'a str,
}

impl Api {
    pub(crate) async fn open(kubeconfig: &Path) -> Result<Self, Error> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", kubeconfig.display());
        // Another program may have installed it; here nobody has.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let file = Kubeconfig::read_from(kubeconfig).map_err(|error| wrong(&error))?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|error| wrong(&error))?;
        Client::try_from(config)
            .map(Self)
            .map_err(|error| wrong(&error))
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<(), Error> {
        self.ask("POST", path, "application/json", object)
            .await
            .map(drop)
    }

    pub(crate) async fn patch(&self, path: &str, change: &Value) -> Result<(), Error> {
        let kind = "application/merge-patch+json";
        self.ask("PATCH", path, kind, change).await.map(drop)
    }

    /// What a collection's version is now.
    async fn version(&self, path: &str) -> Result<String, Error> {
        let path = format!("{path}?limit=1");
        let text = self
            .ask("GET", &path, "application/json", &Value::Null)
            .await?;
        let list: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let version = list["metadata"]["resourceVersion"].as_str();
        version
            .map(str::to_owned)
            .ok_or_else(|| format!("{path}: no version"))
    }

    /// Ingresses from now on.
    pub(crate) async fn watch_ingresses(&self) -> Result<Watch, Error> {
        let path = crate::objects::collection("Ingress");
        let version = self.version(&path).await?;
        let uri = format!("{path}?watch=true&resourceVersion={version}&timeoutSeconds=3600");
        let request = http::Request::get(&uri).body(Vec::new());
        let request = request.map_err(|error| error.to_string())?;
        let stream = self.0.request_stream(request).await;
        let stream = stream.map_err(|error| format!("{uri}: {error}"))?;
        Ok(Watch(Box::pin(stream)))
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> Result<String, Error> {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", kind)
            .body(body)
            .map_err(|error| error.to_string())?;
        let answer = self.0.request_text(request).await;
        answer.map_err(|error| format!("{method} {path}: {error}"))
    }
}

impl Watch {
    /// The next new Ingress, and when it was told of.
    pub(crate) async fn added(&mut self) -> Result<(String, Instant), Error> {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.0.read_line(&mut line).await;
            let at = Instant::now();
            match read {
                Ok(0) => return Err("the probe's watch has ended".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("the probe's watch: {error}")),
            }
            let event: Event<'_> =
                serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
            if event.kind == "ADDED" {
                return Ok((event.object.metadata.name.to_owned(), at));
            }
        }
    }
}
