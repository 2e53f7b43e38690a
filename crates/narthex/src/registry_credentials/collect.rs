//! Everything that says whom to ask for credentials: manifests, the addon's Secrets, the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cluster::pull_secrets::Known;
use registry::creds::addon::Kind;
use registry::creds::{Grant, manifest};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{Book, Options};

/// How often files are read again.
const LOOK: Duration = Duration::from_secs(10);

/// What is granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Collected {
    pub(super) grants: Arc<[Grant]>,
    /// Secrets of which it is not known who is to get them: all of them stay as they are.
    pub(super) held: BTreeSet<String>,
}

/// Reads all sources. What was good and is wrong now stays as it was.
#[derive(Debug)]
pub(super) struct Collector {
    options: Options,
    /// The addon's, in the order in which they win.
    namespaces: Vec<String>,
    files: BTreeMap<PathBuf, Vec<Grant>>,
    others: BTreeMap<(String, Kind), Grant>,
    problems: Vec<String>,
}

impl Collector {
    pub(super) fn new(options: Options, namespaces: Vec<String>) -> Self {
        Self {
            options,
            namespaces,
            files: BTreeMap::new(),
            others: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Reads them again and again, once the cluster's are known.
    pub(super) async fn run(
        mut self,
        mut secrets: watch::Receiver<Option<Arc<Known>>>,
        told: watch::Sender<Option<Collected>>,
        book: Arc<Book>,
    ) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                changed = secrets.changed() => if changed.is_err() {
                    return;
                },
            }
            let Some(known) = secrets.borrow_and_update().clone() else {
                continue;
            };
            let (collected, problems) = self.collect(&known, |name| std::env::var(name).ok());
            if problems != self.problems {
                for problem in &problems {
                    if !self.problems.contains(problem) {
                        tracing::warn!("registry credentials: {problem}");
                    }
                }
                self.problems.clone_from(&problems);
                book.set_problems(problems);
            }
            told.send_if_modified(|last| {
                let is_new = last.as_ref() != Some(&collected);
                *last = Some(collected);
                is_new
            });
        }
    }

    fn collect(
        &mut self,
        known: &Known,
        environment: impl Fn(&str) -> Option<String>,
    ) -> (Collected, Vec<String>) {
        let mut problems = Vec::new();
        let mut all: Vec<Grant> = Vec::new();
        let mut held = BTreeSet::new();
        let mut is_blind = false;
        for path in &self.options.files {
            match manifest::load(path) {
                Ok(grants) => {
                    self.files.insert(path.clone(), grants);
                }
                Err(why) => {
                    problems.push(why);
                    is_blind |= !self.files.contains_key(path);
                }
            }
            all.extend(self.files.get(path).into_iter().flatten().cloned());
        }
        for kind in Kind::ALL {
            let target = self.options.addon.target(kind).to_owned();
            for namespace in &self.namespaces {
                let key = (namespace.clone(), kind.source().to_owned());
                let origin = format!("Secret {namespace}/{}", kind.source());
                if known.unread.contains(&key) {
                    problems.push(format!(
                        "{origin} may not be read: as nobody knows what it says, nothing of {target} is removed"
                    ));
                    held.insert(target.clone());
                    continue;
                }
                let read = match known.secrets.get(&key) {
                    Some(data) => self.options.addon.secret(kind, data, origin.clone()),
                    None => Ok(None),
                };
                let found = keep(&mut self.others, (origin, kind), read, &mut problems);
                all.extend(found.unwrap_or_else(|| {
                    held.insert(target.clone());
                    None
                }));
            }
            let given = &self.options.given;
            let get = |name: &str| given.get(name).cloned().or_else(|| environment(name));
            let read = self.options.addon.environment(kind, get);
            let origin = ("the environment".to_owned(), kind);
            let found = keep(&mut self.others, origin, read, &mut problems);
            all.extend(found.unwrap_or_else(|| {
                held.insert(target.clone());
                None
            }));
        }
        let mut grants: Vec<Grant> = Vec::new();
        for grant in all {
            match grants.iter().find(|one| one.secret == grant.secret) {
                None => grants.push(grant),
                Some(first) => {
                    let (secret, origin) = (&grant.secret, &grant.origin);
                    let first = &first.origin;
                    problems.push(format!(
                        "{origin} is left out: {first} is for the Secret {secret} already"
                    ));
                }
            }
        }
        if is_blind {
            // Which Secrets it has is not known: none of ours is removed.
            held.extend(Kind::ALL.map(|kind| self.options.addon.target(kind).to_owned()));
            held.extend(self.options.former.iter().cloned());
        }
        held.retain(|secret| !grants.iter().any(|grant| grant.secret == *secret));
        let grants = grants.into();
        (Collected { grants, held }, problems)
    }
}

/// What was read; or what was read last, if it is wrong now. None if that is nothing.
fn keep(
    last: &mut BTreeMap<(String, Kind), Grant>,
    key: (String, Kind),
    read: Result<Option<Grant>, String>,
    problems: &mut Vec<String>,
) -> Option<Option<Grant>> {
    match read {
        Ok(Some(grant)) => {
            last.insert(key, grant.clone());
            Some(Some(grant))
        }
        Ok(None) => {
            last.remove(&key);
            Some(None)
        }
        Err(why) => {
            problems.push(why);
            last.get(&key).cloned().map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flags::registry::creds::Credentials;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        credentials: Credentials,
    }

    fn collector(flags: &[&str]) -> Collector {
        let flags = Flags::parse_from(["narthex"].iter().chain(flags));
        let options = Options::new(flags.credentials).expect("right");
        let namespaces = ["own", "kube-system"].map(str::to_owned);
        Collector::new(options, namespaces.to_vec())
    }

    fn secrets(all: &[(&str, &[(&str, &str)])]) -> Known {
        let all = all.iter().map(|(namespace, pairs)| {
            let key = ((*namespace).to_owned(), "registry-creds-dpr".to_owned());
            let data = pairs.iter().map(|(name, value)| {
                let name = format!("DOCKER_PRIVATE_REGISTRY_{name}");
                (name, value.as_bytes().to_vec())
            });
            (key, data.collect())
        });
        Known {
            secrets: all.collect(),
            unread: BTreeSet::new(),
        }
    }

    const WHOLE: &[(&str, &str)] = &[("SERVER", "r"), ("USER", "u"), ("PASSWORD", "p")];

    fn origins(collected: &Collected) -> Vec<&str> {
        let grants = collected.grants.iter();
        grants.map(|grant| grant.origin.as_str()).collect()
    }

    #[test]
    fn our_own_namespace_comes_before_kube_system_and_both_before_the_environment() {
        let mut collector = collector(&["--dpr-server=e", "--dpr-user=u", "--dpr-password=p"]);
        let nothing = |_: &str| None;
        let (all, problems) = collector.collect(&secrets(&[]), nothing);
        assert_eq!(
            (origins(&all), problems.len()),
            (vec!["the environment"], 0)
        );
        let both = secrets(&[("own", WHOLE), ("kube-system", WHOLE)]);
        let (all, problems) = collector.collect(&both, nothing);
        assert_eq!(origins(&all), ["Secret own/registry-creds-dpr"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn what_is_wrong_now_stays_as_it_was_and_what_was_never_right_is_held() {
        let mut collector = collector(&[]);
        let nothing = |_: &str| None;
        let half = secrets(&[("own", &[("SERVER", "r")])]);
        let (all, problems) = collector.collect(&half, nothing);
        assert_eq!((all.grants.len(), problems.len()), (0, 1));
        assert!(all.held.contains("dpr-secret") && all.held.len() == 1);
        let (all, _) = collector.collect(&secrets(&[("own", WHOLE)]), nothing);
        assert_eq!((all.grants.len(), all.held.len()), (1, 0));
        let (still, problems) = collector.collect(&half, nothing);
        assert_eq!((&still, problems.len()), (&all, 1));
        let (none, _) = collector.collect(&secrets(&[]), nothing);
        assert_eq!((none.grants.len(), none.held.len()), (0, 0));
    }

    #[test]
    fn a_secret_that_may_not_be_read_removes_nothing_and_keeps_nothing_from_others() {
        let mut collector = collector(&[]);
        let nothing = |_: &str| None;
        let mut known = secrets(&[]);
        let key = ("kube-system".to_owned(), "registry-creds-dpr".to_owned());
        known.unread.insert(key);
        let (all, problems) = collector.collect(&known, nothing);
        assert!(all.held.contains("dpr-secret") && all.held.len() == 1);
        assert!(
            problems[0].contains("kube-system/registry-creds-dpr may not be read"),
            "{problems:?}"
        );
        known.secrets = secrets(&[("own", WHOLE)]).secrets;
        let (all, _) = collector.collect(&known, nothing);
        assert_eq!(origins(&all), ["Secret own/registry-creds-dpr"]);
        assert!(all.held.is_empty());
    }

    #[test]
    fn a_file_that_cannot_be_read_removes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.yaml");
        let flag = format!("--registry-credentials-file={}", path.display());
        let mut collector = collector(&[&flag, "--registry-credentials-former-secrets=old"]);
        let nothing = |_: &str| None;
        let (all, problems) = collector.collect(&secrets(&[]), nothing);
        assert_eq!((all.held.len(), problems.len()), (5, 1));
        let text = "{apiVersion: narthex.dev/v1alpha1, kind: RegistryCredentials, metadata: {name: team}, \
                    spec: {docker: {server: r, username: u, passwordFile: a.yaml}}}";
        std::fs::write(&path, text).expect("written");
        let (all, problems) = collector.collect(&secrets(&[]), nothing);
        assert_eq!(
            (all.grants.len(), all.held.len(), problems.len()),
            (1, 0, 0)
        );
        std::fs::write(&path, "{").expect("written");
        let (still, problems) = collector.collect(&secrets(&[]), nothing);
        assert_eq!((still, problems.len()), (all, 1));
    }
}
