//! What knows the registries: clients made once, with the settings of the list.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::to::To;
use crate::client::{Client, Credentials, Digest, Error, Kind, Settings, Transport, is_repository};
use crate::list::{ImageList, Index, Login, Platform, Registry};
use crate::store::Store;

/// How many images are copied from one registry at once, unless the list says otherwise.
const PARALLEL: usize = 8;

/// The registry that is filled, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As `localhost:5000`.
    pub host: String,
    /// What all repositories begin with; may be empty.
    pub prefix: String,
}

/// What was asked for besides the list.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How a registry that is filled is spoken to, if the list does not say.
    pub target: Settings,
    /// What knows us to registries of which the list does not say who we are.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Only these platforms, of each image; as the list says if there is none.
    pub platforms: Vec<Platform>,
    /// What becomes of indexes then.
    pub index: Option<Index>,
    /// Whether what refers to images comes with all of them.
    pub referrers: bool,
    /// Whether the source's registry is the beginning of a repository's name.
    pub scoped: bool,
    /// How often a request is made again that failed for reasons that pass.
    pub retries: u32,
    /// What a list may cost.
    pub most: Most,
    /// Whether the list is of somebody who need not know our files: what is wrong with those is for
    /// the log alone.
    pub hides_files: bool,
}

/// What a list may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// The images that it means.
    pub images: usize,
    /// The manifests of one image, in bytes.
    pub manifests: usize,
}

impl Default for Most {
    /// For lists of whoever runs this.
    fn default() -> Self {
        Self {
            images: 1_000_000,
            manifests: 256 << 20,
        }
    }
}

/// Fills a registry by a list.
#[derive(Debug)]
pub struct Syncer {
    pub(super) list: ImageList,
    /// What all repositories of the target begin with; may be empty.
    prefix: String,
    pub(super) to: To,
    pub(super) options: Options,
    clients: Mutex<HashMap<String, Client>>,
    turns: HashMap<String, Arc<Semaphore>>,
    /// Where the target has blobs, as far as this run knows: one at a time looks.
    pub(super) blobs: Mutex<HashMap<Digest, BlobSlot>>,
}

/// The repository of the target that has a blob.
pub(super) type BlobSlot = Arc<tokio::sync::Mutex<Option<String>>>;

impl Target {
    /// From `HOST[:PORT][/PREFIX]`.
    ///
    /// # Errors
    /// It is none, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end_matches('/');
        let (host, prefix) = text.split_once('/').unwrap_or((text, ""));
        let right = !host.is_empty()
            && !host.contains(['@', '?', '#', '\\', ' '])
            && (prefix.is_empty() || is_repository(prefix));
        match right {
            true => Ok(Self {
                host: host.to_owned(),
                prefix: prefix.to_owned(),
            }),
            false => Err(format!(
                "{text:?} is no place for images: write HOST[:PORT][/PREFIX]"
            )),
        }
    }
}

impl Syncer {
    /// Something that fills `target`.
    ///
    /// # Errors
    /// The target, or what a list says of it, is not usable.
    pub fn new(list: ImageList, target: Target, options: Options) -> Result<Self, Error> {
        let mut settings = options.target.clone();
        settings.retries = options.retries;
        if let Some(registry) = list.registries.get(&target.host) {
            let own = settings_of(&target.host, registry, options.retries)?;
            settings.credentials = settings.credentials.or(own.credentials);
            settings.authorities.extend(own.authorities);
            settings.identity = settings.identity.or(own.identity);
            if settings.transport == Transport::Https {
                settings.transport = own.transport;
            }
        }
        if settings.credentials.is_none() {
            settings.credentials.clone_from(&options.credentials);
        }
        let to = To::Registry(Client::new(&target.host, settings)?);
        Ok(Self::of(list, to, target.prefix, options))
    }

    /// Something that fills a store, in the process that serves it.
    pub fn into_store(list: ImageList, store: Store, options: Options) -> Self {
        Self::of(list, To::Store(store), String::new(), options)
    }

    fn of(list: ImageList, to: To, prefix: String, options: Options) -> Self {
        let turns = list.registries.iter().map(|(host, registry)| {
            let turns = registry.parallel.unwrap_or(PARALLEL);
            (host.clone(), Arc::new(Semaphore::new(turns)))
        });
        Self {
            turns: turns.collect(),
            to,
            list,
            prefix,
            options,
            clients: Mutex::default(),
            blobs: Mutex::default(),
        }
    }

    /// What waits for its turn at a registry.
    pub(super) fn turns(&self, host: &str) -> Option<Arc<Semaphore>> {
        self.turns.get(host).cloned()
    }

    /// A repository of the target.
    pub(super) fn repository(&self, name: &str) -> String {
        match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    fn hidden(&self, host: &str, error: Error) -> Error {
        if !self.options.hides_files {
            return error;
        }
        tracing::warn!("{error}");
        let why = format!("what the registry has for {host} cannot be read: its log says why");
        Error::new(error.kind, why)
    }

    /// The registry of a source.
    pub(super) fn client(&self, host: &str) -> Result<Client, Error> {
        let listed = self.list.registries.get(host);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(host) {
            return Ok(client.clone());
        }
        let mut settings = match listed {
            Some(registry) => {
                let settings = settings_of(host, registry, self.options.retries);
                settings.map_err(|error| self.hidden(host, error))?
            }
            None => Settings {
                retries: self.options.retries,
                ..Settings::default()
            },
        };
        if settings.credentials.is_none() {
            settings.credentials.clone_from(&self.options.credentials);
        }
        let client = match &self.to {
            // A source on the very registry that is filled is spoken to as that is.
            To::Registry(to) if listed.is_none() && host == to.host() => to.clone(),
            _ => Client::new(host, settings)?,
        };
        clients.insert(host.to_owned(), client.clone());
        Ok(client)
    }
}

/// What a list says of a registry, read from where it says.
fn settings_of(host: &str, registry: &Registry, retries: u32) -> Result<Settings, Error> {
    let invalid = |why: String| Error::new(Kind::Invalid, format!("registry {host}: {why}"));
    let login = registry.login.as_ref();
    let credentials = login.map(Login::credentials).transpose();
    let credentials = credentials.map_err(invalid)?;
    let mut settings = Settings {
        transport: registry.transport,
        credentials,
        requests_per_second: registry.requests_per_second,
        retries,
        ..Settings::default()
    };
    for path in &registry.authorities {
        certificates(path, &mut settings)
            .map_err(|error| invalid(format!("{}: {error}", path.display())))?;
    }
    Ok(settings)
}

/// A file of authorities, or a folder as docker has them: authorities in `*.crt`, our
/// certificate in `*.cert`, its key in `*.key`.
fn certificates(path: &Path, settings: &mut Settings) -> std::io::Result<()> {
    if !path.is_dir() {
        settings.authorities.push(std::fs::read(path)?);
        return Ok(());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        files.push(entry?.path());
    }
    files.sort();
    let mut identity = Vec::new();
    for file in files {
        match file.extension().and_then(|it| it.to_str()) {
            Some("crt") => settings.authorities.push(std::fs::read(&file)?),
            Some("cert" | "key") => identity.extend(std::fs::read(&file)?),
            _ => {}
        }
    }
    if !identity.is_empty() {
        settings.identity = Some(identity);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_our_files_is_told_to_whom_they_are() {
        let registry = Registry {
            authorities: vec!["/nonexistent/ca.pem".into()],
            ..Registry::default()
        };
        for hides_files in [false, true] {
            let list = ImageList {
                registries: [("a.example".to_owned(), registry.clone())].into(),
                ..ImageList::default()
            };
            let options = Options {
                hides_files,
                ..Options::default()
            };
            let target = Target::parse("localhost:5000").expect("right");
            let syncer = Syncer::new(list, target, options).expect("right");
            let error = syncer.client("a.example").expect_err("no such file");
            assert_eq!(error.message.contains("ca.pem"), !hides_files, "{error}");
        }
    }

    #[test]
    fn a_target_is_a_host_and_what_names_begin_with() {
        let target = Target::parse("localhost:5000/a/b/").expect("right");
        assert_eq!(
            (target.host.as_str(), target.prefix.as_str()),
            ("localhost:5000", "a/b")
        );
        assert_eq!(Target::parse("h").expect("right").prefix, "");
        for wrong in ["", "/a", "h/A", "u@h", "http://h"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
