//! The last configuration that a cluster told, on disk, for a start while its API server is away.
//!
//! A file of lines: what it is, then an object a line, then how many there were. When it was last
//! right is the file's time: an object that does not change stays right without being written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use objects::Store;
use objects::kinds::{Kind, Object};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::watch::typed;

/// The file's name in the folder.
const NAME: &str = "last-good-configuration";

/// Changes with what the lines mean.
const FORMAT: u32 = 1;

/// Magic numbers of file systems in memory, from `statfs(2)`.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The copy of a cluster's objects in a folder.
#[derive(Debug, Clone)]
pub struct LastGood {
    path: PathBuf,
    cluster: String,
}

/// What the copy holds.
#[derive(Debug)]
pub struct Found {
    /// The objects.
    pub objects: Vec<Object>,
    /// When they were last known to be right.
    pub at: SystemTime,
    /// Whether Secrets are among them, if there were any.
    pub has_secrets: bool,
}

/// Why there is no copy to be used, for people.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is none.
    Missing,
    /// It is too old: since then, pods' addresses may have been given to others.
    TooOld(Duration),
    /// It is of the future by this: the clock was put back, and how old it is, nobody knows.
    OfTheFuture(Duration),
    /// It is of another cluster, or of other parts of it.
    Other,
    /// It cannot be read.
    Broken(String),
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none"),
            Self::TooOld(age) => write!(
                f,
                "it is {} s old, and addresses of pods are used again; see --last-good-max-age",
                age.as_secs()
            ),
            Self::OfTheFuture(ahead) => write!(
                f,
                "it is of a time {} s ahead: the clock was put back, and how old it is cannot be \
                 known; see --last-good-max-age",
                ahead.as_secs()
            ),
            Self::Other => f.write_str("it is of another cluster, or of other namespaces"),
            Self::Broken(why) => write!(f, "it cannot be read: {why}"),
        }
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    cluster: String,
    has_secrets: bool,
}

/// An object's line.
#[derive(Serialize)]
struct Written<'a> {
    kind: &'static str,
    object: &'a Value,
}

/// A line behind the first one: of an object, or the last one.
#[derive(Deserialize)]
struct Line<'a> {
    kind: Option<String>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    objects: Option<usize>,
}

impl LastGood {
    /// The copy in `folder` of the objects of one cluster, of which `cluster` tells everything
    /// that decides what they are.
    pub fn new(folder: &Path, cluster: String) -> Self {
        Self {
            path: folder.join(NAME),
            cluster,
        }
    }

    /// Writes all objects, as a whole or not at all. Secrets are left out unless the folder is in
    /// memory. Blocks.
    ///
    /// # Errors
    /// If it cannot be written; the former copy is as it was.
    pub fn save(&self, store: &Store) -> io::Result<()> {
        self.replace(
            store,
            is_in_memory(self.path.parent().unwrap_or(&self.path)),
        )
    }

    fn replace(&self, store: &Store, has_secrets: bool) -> io::Result<()> {
        let temporary = self
            .path
            .with_file_name(format!(".{NAME}.{}", std::process::id()));
        let result = self
            .write(&temporary, store, has_secrets)
            .and_then(|()| fs::rename(&temporary, &self.path));
        if result.is_err() {
            // It may not be there; what went wrong before is what matters.
            let _ = fs::remove_file(&temporary);
        }
        result
    }

    /// Notes that the copy is right now. Blocks.
    ///
    /// # Errors
    /// If there is no copy, or it cannot be written.
    pub fn confirm(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        file.set_modified(SystemTime::now())
    }

    /// Reads the copy. Blocks.
    ///
    /// # Errors
    /// Why it is not to be used.
    pub fn load(&self, max_age: Duration) -> Result<Found, Unusable> {
        let broken = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Unusable::Missing,
            _ => Unusable::Broken(error.to_string()),
        };
        let file = File::open(&self.path).map_err(broken)?;
        let at = file.metadata().and_then(|metadata| metadata.modified());
        let at = at.map_err(broken)?;
        match SystemTime::now().duration_since(at) {
            Ok(age) if age > max_age => return Err(Unusable::TooOld(age)),
            // Put right by a little, the clock says nothing against it.
            Err(ahead) if ahead.duration() > max_age => {
                return Err(Unusable::OfTheFuture(ahead.duration()));
            }
            _ => {}
        }
        let mut lines = BufReader::new(file).lines();
        let cut = || Unusable::Broken("its end is missing".to_owned());
        let unreadable = || Unusable::Broken("it is not what was written".to_owned());
        let first = lines.next().ok_or_else(cut)?.map_err(broken)?;
        let head: Head = serde_json::from_str(&first).map_err(|_| unreadable())?;
        if head.format != FORMAT || head.cluster != self.cluster {
            return Err(Unusable::Other);
        }
        let mut objects = Vec::new();
        for line in lines {
            let line = line.map_err(broken)?;
            let line: Line<'_> = serde_json::from_str(&line).map_err(|_| unreadable())?;
            if line.objects == Some(objects.len()) {
                return Ok(Found {
                    objects,
                    at,
                    has_secrets: head.has_secrets,
                });
            }
            let kind = line.kind.as_deref().and_then(Kind::from_name);
            let (kind, object) = kind.zip(line.object).ok_or_else(unreadable)?;
            let object = typed(kind, object.get()).map_err(|_| unreadable())?;
            objects.push(object);
        }
        Err(cut())
    }

    fn write(&self, path: &Path, store: &Store, has_secrets: bool) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        let mut out = BufWriter::new(&file);
        let head = Head {
            format: FORMAT,
            cluster: self.cluster.clone(),
            has_secrets,
        };
        write_line(&mut out, &head)?;
        let mut objects = 0;
        for object in store.objects() {
            if object.kind() == Kind::Secret && !has_secrets {
                continue;
            }
            let kind = object.kind().name();
            let object = without_nulls(serde_json::to_value(&object)?);
            write_line(
                &mut out,
                &Written {
                    kind,
                    object: &object,
                },
            )?;
            objects += 1;
        }
        write_line(&mut out, &serde_json::json!({ "objects": objects }))?;
        out.flush()?;
        drop(out);
        file.sync_all()
    }
}

/// Whether what is written to a folder stays off disks. Where that cannot be known, it does not.
fn is_in_memory(folder: &Path) -> bool {
    rustix::fs::statfs(folder)
        .ok()
        .and_then(|found| u64::try_from(found.f_type).ok())
        .is_some_and(|magic| IN_MEMORY.contains(&magic))
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// What is not there need not be written: most of most objects.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                fields
                    .map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// One object of each kind, with as much in it as is read.
    fn store() -> Store {
        let objects = [
            (
                Kind::ConfigMap,
                r#"{"metadata":{"name":"c","namespace":"n"},"data":{"a":"b"}}"#,
            ),
            (
                Kind::EndpointSlice,
                r#"{"metadata":{"name":"e","namespace":"n","labels":{"kubernetes.io/service-name":"s"}},
                    "addressType":"IPv6","ports":[{"name":"","port":1,"appProtocol":"h2c"}],
                    "endpoints":[{"addresses":["::1"],"conditions":{"ready":false},"zone":"z",
                    "hints":{"forZones":[{"name":"z"}]},"nodeName":"m"}]}"#,
            ),
            (
                Kind::Endpoints,
                r#"{"metadata":{"name":"s","namespace":"n"},"subsets":[{"addresses":[{"ip":"::2"}],
                    "notReadyAddresses":[{"ip":"::3","nodeName":"m"}],"ports":[{"port":2}]}]}"#,
            ),
            (
                Kind::Ingress,
                r#"{"metadata":{"name":"i","namespace":"n","uid":"u","generation":3,
                    "creationTimestamp":"2026-01-01T00:00:00Z","annotations":{"x/y":"z"}},
                    "spec":{"ingressClassName":"k","tls":[{"hosts":["h"],"secretName":"t"}],
                    "defaultBackend":{"service":{"name":"s","port":{"name":"http"}}},
                    "rules":[{"host":"h","http":{"paths":[{"path":"/","pathType":"Exact",
                    "backend":{"service":{"name":"s","port":{"number":80}}}},{"pathType":"Prefix",
                    "backend":{"resource":{"apiGroup":"g","kind":"K","name":"n"}}}]}}]}}"#,
            ),
            (
                Kind::HttpRoute,
                r#"{"metadata":{"name":"r","namespace":"n","generation":3},
                    "spec":{"parentRefs":[{"name":"g","sectionName":"http"}],"hostnames":["h"],
                    "rules":[{"matches":[{"path":{"type":"Exact","value":"/"},"method":"GET"}],
                    "filters":[{"type":"Newer"},{"type":"URLRewrite","urlRewrite":{"path":
                    {"type":"ReplaceFullPath","replaceFullPath":"/a"}}}],"timeouts":{"request":"1s"},
                    "backendRefs":[{"name":"s","port":80,"weight":0}]}]}}"#,
            ),
            (
                Kind::IngressClass,
                r#"{"metadata":{"name":"k"},"spec":{"controller":"narthex.dev/ingress"}}"#,
            ),
            (
                Kind::Namespace,
                r#"{"metadata":{"name":"n","labels":{"team":"web"}}}"#,
            ),
            (
                Kind::Secret,
                r#"{"metadata":{"name":"t","namespace":"n"},"type":"kubernetes.io/tls",
                    "data":{"tls.key":"c2VjcmV0"}}"#,
            ),
            (
                Kind::Service,
                r#"{"metadata":{"name":"s","namespace":"n"},"spec":{"clusterIP":"None",
                    "type":"ExternalName","externalName":"e.test","trafficDistribution":"PreferClose",
                    "ports":[{"name":"http","port":80,"targetPort":"web"},{"port":81,"targetPort":8}]}}"#,
            ),
        ];
        let mut store = Store::default();
        for (kind, json) in objects {
            assert!(store.apply(typed(kind, json).expect("right")));
        }
        let rest = Kind::ALL.into_iter().filter(|kind| store.count(*kind) == 0);
        for kind in rest.collect::<Vec<_>>() {
            assert!(kind.is_custom(), "{kind}");
            let namespace = kind.namespaced().then_some("n");
            let metadata =
                serde_json::json!({"name": "g", "namespace": namespace, "generation": 7});
            let json = serde_json::json!({ "metadata": metadata }).to_string();
            assert!(store.apply(typed(kind, &json).expect("right")));
        }
        assert_eq!(store.len(), Kind::ALL.len());
        store
    }

    fn restored(found: Found) -> Vec<Object> {
        let mut store = Store::default();
        for object in found.objects {
            store.apply(object);
        }
        store.objects().collect()
    }

    fn without_secrets(store: &Store) -> Vec<Object> {
        let objects = store.objects();
        objects
            .filter(|object| object.kind() != Kind::Secret)
            .collect()
    }

    #[test]
    fn what_was_saved_is_found_again_and_no_key_is_on_a_disk() {
        assert!(!is_in_memory(Path::new("/proc")));
        assert!(!is_in_memory(Path::new("/not/there")));
        let folder = tempfile::tempdir().expect("a folder");
        let copy = LastGood::new(folder.path(), "one".to_owned());
        let store = store();
        assert_eq!(copy.load(HOUR).expect_err("none"), Unusable::Missing);
        copy.replace(&store, false).expect("writes");
        copy.replace(&store, false).expect("writes again");
        let found = copy.load(HOUR).expect("usable");
        assert!(!found.has_secrets);
        assert_eq!(restored(found), without_secrets(&store));
        let text = fs::read_to_string(&copy.path).expect("text");
        assert!(
            !text.contains("c2VjcmV0") && !text.contains("Secret"),
            "{text}"
        );
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn secrets_are_kept_in_memory_where_nobody_else_reads_them() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let copy = LastGood::new(folder.path(), "one".to_owned());
        assert!(is_in_memory(folder.path()));
        let store = store();
        copy.save(&store).expect("writes");
        let found = copy.load(HOUR).expect("usable");
        assert!(found.has_secrets);
        assert_eq!(restored(found), store.objects().collect::<Vec<_>>());
        let mode = fs::metadata(&copy.path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_copy_that_is_old_cut_or_another_clusters_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = LastGood::new(folder.path(), "one".to_owned());
        copy.save(&store()).expect("writes");
        let other = LastGood::new(folder.path(), "two".to_owned());
        assert_eq!(other.load(HOUR).expect_err("another's"), Unusable::Other);

        let file = OpenOptions::new()
            .write(true)
            .open(&copy.path)
            .expect("there");
        file.set_modified(SystemTime::now() - 2 * HOUR)
            .expect("sets");
        assert!(matches!(copy.load(HOUR), Err(Unusable::TooOld(age)) if age >= 2 * HOUR));
        copy.confirm().expect("there");
        let found = copy.load(HOUR).expect("usable");
        assert!(found.at.elapsed().is_ok_and(|age| age < HOUR));
        // A clock that was put back: by a little, and by more than the copy may be old.
        file.set_modified(SystemTime::now() + HOUR / 2)
            .expect("sets");
        assert!(copy.load(HOUR).is_ok());
        file.set_modified(SystemTime::now() + 3 * HOUR)
            .expect("sets");
        assert!(matches!(
            copy.load(HOUR),
            Err(Unusable::OfTheFuture(ahead)) if ahead > 2 * HOUR
        ));
        copy.confirm().expect("there");
        assert!(copy.load(HOUR).is_ok());

        let text = fs::read_to_string(&copy.path).expect("text");
        let mut lines: Vec<_> = text.lines().collect();
        lines.pop();
        fs::write(&copy.path, lines.join("\n")).expect("writes");
        assert!(matches!(copy.load(HOUR), Err(Unusable::Broken(_))));
        fs::write(&copy.path, "{}").expect("writes");
        assert!(matches!(copy.load(HOUR), Err(Unusable::Broken(_))));
    }
}
