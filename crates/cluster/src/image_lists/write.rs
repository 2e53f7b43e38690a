//! One write of one ImageList's status.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::timeout;

use super::object::{API_VERSION, KIND, Object};
use super::table::Wanted;
use crate::MANAGER;
use crate::client::chain;

/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(5);

/// What became of it.
pub(super) enum Written {
    /// It is there.
    Done,
    /// The object has gone, or is another one of that name.
    Gone,
    /// The API server would not have it, and says why: asking again does not help.
    Refused(String),
    /// The API server could not be asked, or has too much to do.
    Failed(String),
}

/// Writes a status by server-side apply: what others wrote beside it stays theirs.
pub(super) async fn write(client: &Client, namespace: &str, wanted: &Wanted) -> Written {
    let lists: Api<Object> = Api::namespaced(client.clone(), namespace);
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        // Of another object of that name it would be wrong.
        "metadata": {"name": wanted.name, "namespace": namespace, "uid": &*wanted.uid},
        "status": wanted.status,
    });
    let parameters = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(&patch);
    let sent = lists.patch_status(&wanted.name, &parameters, &patch);
    match timeout(REQUEST, sent).await {
        Ok(Ok(_)) => Written::Done,
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 | 409 => Written::Gone,
            // Rights may come.
            401 | 403 | 429 | 500.. => Written::Failed(status.message),
            _ => Written::Refused(status.message),
        },
        Ok(Err(error)) => Written::Failed(chain(&error)),
        Err(_) => Written::Failed("the API server does not answer in time".to_owned()),
    }
}
