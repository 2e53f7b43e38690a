//! What knows the registries: clients made once, with the settings of the list.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::client::{Client, Digest, Error, Keys, Kind, Settings, Transport, is_repository};
use crate::list::{ImageList, Index, Platform, Registry};

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
    /// How the target is spoken to, if the list does not say.
    pub target: Settings,
    /// Credentials of this user, for registries of which the list has none.
    pub keys: Keys,
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
}

/// Fills a registry by a list.
#[derive(Debug)]
pub struct Syncer {
    pub(super) list: ImageList,
    pub(super) target: Target,
    pub(super) to: Client,
    pub(super) options: Options,
    clients: Mutex<HashMap<(String, String), Client>>,
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

    /// A repository below the prefix.
    pub(super) fn repository(&self, name: &str) -> String {
        match self.prefix.is_empty() {
            true => name.to_owned(),
            false => format!("{}/{name}", self.prefix),
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
            settings.credential = settings.credential.or(own.credential);
            settings.authorities.extend(own.authorities);
            settings.identity = settings.identity.or(own.identity);
            if settings.transport == Transport::Https {
                settings.transport = own.transport;
            }
        }
        if settings.credential.is_none() {
            settings.credential = options.keys.of(&target.host, &target.prefix).cloned();
        }
        let turns = list.registries.iter().map(|(host, registry)| {
            let turns = registry.parallel.unwrap_or(PARALLEL);
            (host.clone(), Arc::new(Semaphore::new(turns)))
        });
        Ok(Self {
            turns: turns.collect(),
            to: Client::new(&target.host, settings)?,
            list,
            target,
            options,
            clients: Mutex::default(),
            blobs: Mutex::default(),
        })
    }

    /// What waits for its turn at a registry.
    pub(super) fn turns(&self, host: &str) -> Option<Arc<Semaphore>> {
        self.turns.get(host).cloned()
    }

    /// The registry of a source.
    pub(super) fn client(&self, host: &str, repository: &str) -> Result<Client, Error> {
        let listed = self.list.registries.get(host);
        let key = self.options.keys.of(host, repository);
        let key = key.filter(|_| listed.is_none_or(|it| it.login.is_none()));
        // Registries may have a credential for each of their corners.
        let corner = match key {
            Some(_) => repository.split('/').next().unwrap_or_default(),
            None => "",
        };
        let place = (host.to_owned(), corner.to_owned());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&place) {
            return Ok(client.clone());
        }
        let mut settings = match listed {
            Some(registry) => settings_of(host, registry, self.options.retries)?,
            None => Settings {
                retries: self.options.retries,
                ..Settings::default()
            },
        };
        settings.credential = settings.credential.or_else(|| key.cloned());
        // A source on the very registry that is filled is spoken to as that is.
        if listed.is_none() && host == self.target.host {
            clients.insert(place, self.to.clone());
            return Ok(self.to.clone());
        }
        let client = Client::new(host, settings)?;
        clients.insert(place, client.clone());
        Ok(client)
    }
}

/// What a list says of a registry, read from where it says.
fn settings_of(host: &str, registry: &Registry, retries: u32) -> Result<Settings, Error> {
    let invalid = |why: String| Error::new(Kind::Invalid, format!("registry {host}: {why}"));
    let credential = match &registry.login {
        Some(login) => login.credential(host).map_err(invalid)?,
        None => None,
    };
    let mut settings = Settings {
        transport: registry.transport,
        credential,
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
    fn a_target_is_a_host_and_what_names_begin_with() {
        let target = Target::parse("localhost:5000/a/b/").expect("right");
        assert_eq!(target.repository("c"), "a/b/c");
        assert_eq!(Target::parse("h").expect("right").repository("c"), "c");
        for wrong in ["", "/a", "h/A", "u@h", "http://h"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
