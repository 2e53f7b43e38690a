//! Where certificates and all that belongs to them are kept where there is no cluster: as manifests
//! of Secrets, of mode 0600, in the state folder, which is read with the manifests that are served.
//!
//! Several processes may share a folder: each certificate has a lock of its own (`flock`, given
//! back with the process), and what one writes the others serve.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certs::acme::{Answer, Solver};
use certs::ca::Issued;
use certs::vault::{Entries, Lock, NotKept, Papers, Record, Vault};
use objects::kinds::Secret;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use super::{Obtaining, split};
use crate::config::{CHALLENGES, NAMESPACE};
use crate::pipeline::Present;
use crate::state::write_private;

/// The folder in the state folder.
const FOLDER: &str = "certificates";

/// The annotation that says what there is to be known of a certificate of ours.
const RECORD: &str = "narthex.dev/certificate";

/// How long it may take until a challenge is served.
const SERVED: Duration = Duration::from_secs(15);

/// After so long without a challenge, what is left of orders that were cut off is dropped.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// The trust bundle of our own authority.
const BUNDLE: &str = "ca-bundle.pem";

/// All of it.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    /// What is served, to know the user's own Secrets.
    present: Present,
    obtaining: watch::Receiver<Obtaining>,
    /// Held while a file is read and written again.
    writing: Mutex<()>,
}

/// A lock, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "what holds the lock")] File);

/// The folder of manifests in the state folder, made if need be.
pub(crate) fn folder(state: &Path) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;

    let folder = state.join(FOLDER);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

impl Files {
    /// In a folder that is there.
    pub(super) fn new(
        folder: PathBuf,
        present: Present,
        obtaining: watch::Receiver<Obtaining>,
    ) -> Self {
        Self {
            folder,
            present,
            obtaining,
            writing: Mutex::default(),
        }
    }

    /// Publishes whom to trust to trust our own authority.
    pub(super) fn publish(&self, bundle: &str) -> Result<(), String> {
        let path = self.folder.join(BUNDLE);
        if fs::read_to_string(&path).is_ok_and(|known| known == bundle) {
            return Ok(());
        }
        write_private(&path, bundle).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn path(&self, id: &str, extension: &str) -> PathBuf {
        let (namespace, name) = split(id);
        self.folder.join(format!("{namespace}.{name}.{extension}"))
    }

    /// Writes a file whole or not at all, if it is still as it was.
    fn replace(&self, path: &Path, text: &str, before: Option<&String>) -> Result<(), NotKept> {
        // Nothing that the lock guards is kept in memory.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: io::Error| {
            NotKept::Failed(format!("{} is not written: {error}", path.display()))
        };
        if read(path).map_err(NotKept::Failed)?.as_ref() != before {
            return Err(NotKept::Changed);
        }
        let temporary = path.with_extension(format!("{}.new", std::process::id()));
        let written = write_private(&temporary, text)
            .and_then(|()| fs::rename(&temporary, path))
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(failed)
    }

    /// A Secret of the user's own is in a manifest of the user's own.
    fn is_ours(&self, id: &str) -> Result<(), String> {
        let (namespace, name) = split(id);
        let store = self.present.get();
        let secret = store.secret(namespace, name);
        let theirs = secret.filter(|it| it.metadata.annotations.get(RECORD).is_none());
        match theirs {
            None => Ok(()),
            Some(_) => Err(format!(
                "Secret {id} is in a manifest, and not made here: delete it there to have it \
                 obtained, or name no issuer"
            )),
        }
    }

    /// Changes what ACME servers are to be shown.
    fn edit(&self, change: impl FnOnce(&mut Entries)) -> Result<(), String> {
        let id = format!("{NAMESPACE}/{CHALLENGES}");
        let path = self.path(&id, "json");
        let lock = self.folder.join("challenges.lock");
        let lock = open(&lock).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(|error| format!("challenges are not locked: {error}"))?;
        let known = read(&path)?;
        let age = fs::metadata(&path).and_then(|it| it.modified());
        let is_stale = age.is_ok_and(|at| at.elapsed().unwrap_or_default() > STALE);
        let mut entries = match &known {
            Some(text) if !is_stale => parse(text, &path)?.data,
            _ => Entries::new(),
        };
        change(&mut entries);
        let text = manifest(&id, "Opaque", &BTreeMap::new(), &entries);
        self.replace(&path, &text, known.as_ref())
            .map_err(|error| match error {
                NotKept::Changed => "challenges were changed by somebody else".to_owned(),
                NotKept::Failed(error) => error,
            })
    }

    async fn served(&self, tokens: &[String], names: &[String]) -> Result<(), String> {
        let mut obtaining = self.obtaining.clone();
        let served = obtaining.wait_for(|now| {
            let (http, alpn) = (&now.challenges.http, &now.challenges.alpn);
            tokens.iter().all(|it| http.contains_key(it.as_str()))
                && names.iter().all(|it| alpn.contains_key(it.as_str()))
        });
        match tokio::time::timeout(SERVED, served).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err("this process ends".to_owned()),
            Err(_) => Err(format!(
                "the challenge was not served within {} s: are manifests still read?",
                SERVED.as_secs()
            )),
        }
    }
}

/// What is kept of answers.
fn entries(answers: &[Answer]) -> Result<Entries, String> {
    let entries = answers
        .iter()
        .filter_map(|answer| answer.entry().transpose());
    entries
        .map(|entry| entry.map(|(key, value)| (key, value.into())))
        .collect()
}

impl Solver for Files {
    async fn present(&self, answers: &[Answer]) -> Result<(), String> {
        let entries = entries(answers)?;
        if entries.is_empty() {
            return Ok(());
        }
        self.edit(|known| known.extend(entries))?;
        let mut tokens = Vec::new();
        let mut names = Vec::new();
        for answer in answers {
            match answer {
                Answer::Http { token, .. } => tokens.push(token.clone()),
                Answer::TlsAlpn { server_name, .. } => names.push(server_name.to_ascii_lowercase()),
                Answer::Dns { .. } | Answer::DnsPersist { .. } => {}
            }
        }
        self.served(&tokens, &names).await
    }

    async fn withdraw(&self, answers: &[Answer]) {
        // What could not be put up is not there.
        let entries = entries(answers).unwrap_or_default();
        if entries.is_empty() {
            return;
        }
        let withdrawn = self.edit(|known| {
            for key in entries.keys() {
                known.remove(key);
            }
        });
        if let Err(error) = withdrawn {
            tracing::warn!("a challenge is not taken away: {error}");
        }
    }
}

impl Vault for Files {
    /// The file's text.
    type Version = String;

    async fn read(&self, id: &str) -> Result<Option<(Record, String)>, String> {
        self.is_ours(id)?;
        let path = self.path(id, "json");
        if let Some(text) = read(&path)? {
            let secret = parse(&text, &path)?;
            return Ok(Some((record(&secret), text)));
        }
        let path = self.path(id, "record");
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        // What cannot be read is of no use, and is replaced.
        let record = serde_json::from_str(&text).unwrap_or_default();
        Ok(Some((record, text)))
    }

    async fn write(
        &self,
        id: &str,
        record: &Record,
        after: Option<&String>,
    ) -> Result<(), NotKept> {
        self.is_ours(id).map_err(NotKept::Failed)?;
        let (secret, plain) = (self.path(id, "json"), self.path(id, "record"));
        let Some(issued) = &record.issued else {
            let text = serde_json::to_string(record).map_err(|error| failed(&error))?;
            return self.replace(&plain, &text, after);
        };
        let about = Record {
            issued: None,
            ..record.clone()
        };
        let about = serde_json::to_string(&about).map_err(|error| failed(&error))?;
        let mut entries = Entries::from([
            ("tls.crt".to_owned(), issued.chain.clone().into()),
            ("tls.key".to_owned(), issued.key.clone().into()),
        ]);
        if let Some(ca) = &issued.ca {
            entries.insert("ca.crt".to_owned(), ca.clone().into());
        }
        let annotations = [(RECORD, about.as_str())].into();
        let text = manifest(id, "kubernetes.io/tls", &annotations, &entries);
        let was_plain = !secret.exists();
        self.replace(&secret, &text, after.filter(|_| !was_plain))?;
        if was_plain {
            // It says nothing that is not said by now.
            let _ = fs::remove_file(&plain);
        }
        Ok(())
    }
}

impl Lock for Files {
    type Held = Held;

    async fn try_lock(&self, id: &str) -> Result<Option<Held>, String> {
        let path = self.path(id, "lock");
        let told = |error: io::Error| format!("{}: {error}", path.display());
        let file = open(&path).map_err(told)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Held(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(told(error)),
        }
    }
}

impl Papers for Files {
    type Version = String;

    async fn read(&self, id: &str) -> Result<Option<(Entries, String)>, String> {
        let path = self.path(id, "json");
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        Ok(Some((parse(&text, &path)?.data, text)))
    }

    async fn write(
        &self,
        id: &str,
        entries: &Entries,
        after: Option<&String>,
    ) -> Result<(), NotKept> {
        let annotations = [(RECORD, "{}")].into();
        let text = manifest(id, "Opaque", &annotations, entries);
        // Others may share the folder, and what they write meanwhile is not to be lost.
        let lock = open(&self.folder.join("papers.lock"));
        let lock = lock.and_then(|file| file.lock().map(|()| file));
        let _lock =
            lock.map_err(|error| NotKept::Failed(format!("{id} is not locked: {error}")))?;
        self.replace(&self.path(id, "json"), &text, after)
    }
}

fn failed(error: &serde_json::Error) -> NotKept {
    NotKept::Failed(error.to_string())
}

fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path)
}

fn read(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} is not read: {error}", path.display())),
    }
}

/// Not a word of what is in it.
fn parse(text: &str, path: &Path) -> Result<Secret, String> {
    serde_json::from_str(text)
        .map_err(|_| format!("{} is no manifest of a Secret any more", path.display()))
}

fn record(secret: &Secret) -> Record {
    let text = |key: &str| {
        let value = secret.data.get(key).cloned().unwrap_or_default();
        String::from_utf8(value).unwrap_or_default()
    };
    let about = secret.metadata.annotations.get(RECORD);
    let about: Record = about
        .and_then(|it| serde_json::from_str(it).ok())
        .unwrap_or_default();
    let ca = text("ca.crt");
    Record {
        issued: Some(Issued {
            chain: text("tls.crt"),
            key: text("tls.key"),
            ca: (!ca.is_empty()).then_some(ca),
        }),
        ..about
    }
}

fn manifest(
    id: &str,
    type_: &str,
    annotations: &BTreeMap<&str, &str>,
    entries: &Entries,
) -> String {
    let (namespace, name) = split(id);
    let secret = Secret {
        type_: Some(type_.to_owned()),
        data: entries.clone(),
        ..Secret::default()
    };
    let mut value = Manifest {
        api_version: "v1",
        kind: "Secret",
        metadata: json!({"namespace": namespace, "name": name, "annotations": annotations}),
        type_,
        data: serde_json::Value::Null,
    };
    if let Ok(mut object) = serde_json::to_value(secret) {
        value.data = object["data"].take();
    }
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: serde_json::Value,
    #[serde(rename = "type")]
    type_: &'a str,
    data: serde_json::Value,
}

/// Shared by all parts of a keeper.
pub(crate) type Shared = Arc<Files>;
