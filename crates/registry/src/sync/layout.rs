//! Images in files: the OCI's image layout, as a folder or a tar file, and what `docker save`
//! writes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::json;

use super::archive::Archive;
use super::parsed::{Descriptor, Parsed};
use super::tar;
use crate::client::{Digest, Error, Hasher, Kind, Manifest, is_tag};

/// The largest manifest or index, in bytes.
const MAX_JSON: u64 = 4 << 20;

/// Layers of an image of `docker save`; none that runs has more than some hundred.
const MAX_LAYERS: usize = 4096;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) file: PathBuf,
    /// As the file is called for people.
    pub(super) name: PathBuf,
    /// It may be there only as long as this is.
    _archive: Option<Archive>,
    pub(super) start: u64,
    pub(super) length: u64,
}

/// Images in a folder or a tar file.
#[derive(Debug)]
pub(super) struct Layout {
    files: Files,
    /// What it is called, and its digest.
    named: Vec<(Option<String>, Digest)>,
    /// Of what `docker save` writes: manifests that say the same, and where their blobs are.
    made: HashMap<Digest, Manifest>,
    blobs: HashMap<Digest, Span>,
    /// What the index has, in its order.
    descriptors: Vec<Descriptor>,
    /// By the digests of what they refer to: the places of those that refer to something. All of
    /// them are read for the first question.
    referring: OnceLock<HashMap<String, Vec<usize>>>,
}

#[derive(Debug)]
enum Files {
    Folder(PathBuf),
    /// By its name, and as it is read.
    Tar(PathBuf, Archive, tar::Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Layout {
    /// An image layout in a folder.
    pub(super) fn of_folder(folder: &Path) -> Result<Self, Error> {
        let files = Files::Folder(folder.to_owned());
        match std::fs::metadata(folder) {
            Ok(there) if !there.is_dir() => {
                Err(files.wrong("it is no folder: `oci-archive:` and `docker-archive:` name files"))
            }
            Ok(_) => Self::of(files),
            Err(error) => Err(files.wrong(&error.to_string())),
        }
    }

    /// The same in a tar file.
    pub(super) fn of_archive(file: &Path) -> Result<Self, Error> {
        Self::of(Files::tar(file)?)
    }

    /// What `docker save` writes. Reads all of it once, as the digests of its layers are nowhere.
    pub(super) fn of_docker(file: &Path) -> Result<Self, Error> {
        let files = Files::tar(file)?;
        let text = files
            .json("manifest.json")
            .map_err(|error| match error.kind {
                Kind::NotFound => {
                    files.wrong("it has no manifest.json: did `docker save` write it?")
                }
                _ => error,
            })?;
        let images: Vec<Saved> = serde_json::from_slice(&text)
            .map_err(|error| files.wrong(&format!("manifest.json: {error}")))?;
        let mut layout = Self {
            files,
            named: Vec::new(),
            made: HashMap::new(),
            blobs: HashMap::new(),
            descriptors: Vec::new(),
            referring: OnceLock::new(),
        };
        let mut hashed = HashMap::new();
        for image in images {
            let digest = layout.make(&image, &mut hashed)?;
            match image.repo_tags.unwrap_or_default() {
                none if none.is_empty() => layout.named.push((None, digest)),
                some => layout
                    .named
                    .extend(some.into_iter().map(|it| (Some(it), digest.clone()))),
            }
        }
        Ok(layout)
    }

    /// What there is: names and digests. A name is a tag, or of `docker save` an image.
    pub(super) fn named(&self) -> &[(Option<String>, Digest)] {
        &self.named
    }

    /// A manifest by name or digest.
    pub(super) fn manifest(&self, reference: &str) -> Result<Manifest, Error> {
        let by_name = self
            .named
            .iter()
            .find(|(name, _)| name.as_deref() == Some(reference));
        let digest = match (by_name, reference.parse::<Digest>()) {
            (Some((_, digest)), _) => digest.clone(),
            (None, Ok(digest)) => digest,
            (None, Err(_)) => {
                let why = format!("{} has no {reference}", self.files.path().display());
                return Err(Error::new(Kind::NotFound, why));
            }
        };
        if let Some(made) = self.made.get(&digest) {
            return Ok(made.clone());
        }
        let bytes = self.files.json(&path_of(&digest))?;
        if !digest.is_of(&bytes) {
            return Err(self
                .files
                .wrong(&format!("what is there as {digest} is something else")));
        }
        let known = || {
            let mut all = self.descriptors.iter();
            let known = all.find(|it| it.digest == digest.as_str())?;
            Some(known.media_type.clone())
        };
        let media_type = media_type(&bytes).or_else(known);
        Ok(Manifest {
            digest,
            bytes: bytes.into(),
            media_type: media_type.unwrap_or_else(|| IMAGE.to_owned()),
        })
    }

    pub(super) fn blob(&self, digest: &Digest) -> Result<Span, Error> {
        match self.blobs.get(digest) {
            Some(span) => Ok(span.clone()),
            None => self.files.span(&path_of(digest)),
        }
    }

    /// What the layout's index has that refers to a manifest.
    pub(super) fn referrers(&self, subject: &Digest) -> Vec<Descriptor> {
        let referring = self.referring.get_or_init(|| self.read_referring());
        let places = referring.get(subject.as_str()).into_iter().flatten();
        places.map(|&at| self.descriptors[at].clone()).collect()
    }

    fn read_referring(&self) -> HashMap<String, Vec<usize>> {
        let mut referring: HashMap<_, Vec<_>> = HashMap::new();
        for (at, descriptor) in self.descriptors.iter().enumerate() {
            let found = descriptor.digest();
            let found = found.and_then(|it| self.manifest(it.as_str()));
            let parsed = found.and_then(|it| Parsed::of(&it));
            if let Some(of) = parsed.ok().and_then(|it| it.subject) {
                referring.entry(of.digest).or_default().push(at);
            }
        }
        referring
    }

    fn of(files: Files) -> Result<Self, Error> {
        let mut layout = Self {
            files,
            named: Vec::new(),
            made: HashMap::new(),
            blobs: HashMap::new(),
            descriptors: Vec::new(),
            referring: OnceLock::new(),
        };
        let text = layout
            .files
            .json("index.json")
            .map_err(|error| match error.kind {
                Kind::NotFound => layout
                    .files
                    .wrong("it has no index.json: it is no image layout"),
                _ => error,
            })?;
        let parsed: Parsed = serde_json::from_slice(&text)
            .map_err(|error| layout.files.wrong(&format!("index.json: {error}")))?;
        layout.descriptors = parsed.manifests.unwrap_or_default();
        for descriptor in &layout.descriptors {
            let name = descriptor
                .annotations
                .as_ref()
                .and_then(|it| it.get(REF_NAME));
            // Some write a whole reference.
            let tag = name.map(|it| match is_tag(it) {
                true => it.as_str(),
                false => it.rsplit(':').next().unwrap_or_default(),
            });
            let tag = tag.filter(|it| is_tag(it)).map(str::to_owned);
            layout.named.push((tag, descriptor.digest()?));
        }
        Ok(layout)
    }

    /// A manifest for an image of `docker save`, whose layers stay as they are.
    fn make(
        &mut self,
        image: &Saved,
        hashed: &mut HashMap<(u64, u64), (Digest, u64, bool)>,
    ) -> Result<Digest, Error> {
        let mut descriptors = Vec::new();
        if image.layers.len() > MAX_LAYERS {
            let why = format!("an image in it has more than {MAX_LAYERS} layers");
            return Err(self.files.wrong(&why));
        }
        for name in std::iter::once(&image.config).chain(&image.layers) {
            let span = self.files.span(name)?;
            // Many names may be links to one file.
            let place = (span.start, span.length);
            let found = match hashed.get(&place) {
                Some(found) => found.clone(),
                None => {
                    let (digest, gzip) =
                        hash(&span).map_err(|it| self.files.wrong(&it.to_string()))?;
                    let found = (digest.clone(), span.length, gzip);
                    self.blobs.insert(digest, span);
                    hashed.insert(place, found.clone());
                    found
                }
            };
            descriptors.push(found);
        }
        let described = descriptors
            .iter()
            .enumerate()
            .map(|(index, (digest, size, gzip))| {
                let media_type = match (index, gzip) {
                    (0, _) => "application/vnd.oci.image.config.v1+json",
                    (_, true) => "application/vnd.oci.image.layer.v1.tar+gzip",
                    (_, false) => "application/vnd.oci.image.layer.v1.tar",
                };
                json!({"mediaType": media_type, "digest": digest.as_str(), "size": size})
            });
        let described: Vec<_> = described.collect();
        let (config, layers) = described
            .split_first()
            .unwrap_or_else(|| unreachable!("one at least"));
        let text = json!({
            "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers,
        });
        let bytes = text.to_string();
        let digest = Digest::sha256(bytes.as_bytes());
        let manifest = Manifest {
            digest: digest.clone(),
            bytes: bytes.into(),
            media_type: IMAGE.to_owned(),
        };
        self.made.insert(digest.clone(), manifest);
        Ok(digest)
    }
}

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

impl Files {
    fn tar(file: &Path) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::new(Kind::Broken, format!("{}: {error}", file.display()))
        };
        let archive = Archive::open(file).map_err(failed)?;
        let index = tar::Index::of(archive.path()).map_err(failed)?;
        Ok(Self::Tar(file.to_owned(), archive, index))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Tar(path, ..) => path,
        }
    }

    fn wrong(&self, why: &str) -> Error {
        Error::new(Kind::Broken, format!("{}: {why}", self.path().display()))
    }

    fn span(&self, name: &str) -> Result<Span, Error> {
        let none = || {
            let why = format!("{} has no {name}", self.path().display());
            Error::new(Kind::NotFound, why)
        };
        match self {
            Self::Folder(folder) => {
                let file = folder.join(name);
                let metadata = std::fs::metadata(&file).ok().filter(|it| it.is_file());
                let length = metadata.ok_or_else(none)?.len();
                Ok(Span {
                    name: file.clone(),
                    file,
                    _archive: None,
                    start: 0,
                    length,
                })
            }
            Self::Tar(path, archive, index) => {
                let (start, length) = index.find(name).ok_or_else(none)?;
                Ok(Span {
                    file: archive.path().to_owned(),
                    name: path.clone(),
                    _archive: Some(archive.clone()),
                    start,
                    length,
                })
            }
        }
    }

    fn json(&self, name: &str) -> Result<Vec<u8>, Error> {
        let span = self.span(name)?;
        if span.length > MAX_JSON {
            return Err(self.wrong(&format!("{name} is larger than {MAX_JSON} bytes")));
        }
        let mut bytes = Vec::new();
        let read = open(&span).and_then(|mut it| it.read_to_end(&mut bytes));
        read.map_err(|error| self.wrong(&format!("{name}: {error}")))?;
        Ok(bytes)
    }
}

fn open(span: &Span) -> std::io::Result<impl Read + use<>> {
    let mut file = File::open(&span.file)?;
    file.seek(SeekFrom::Start(span.start))?;
    Ok(file.take(span.length))
}

/// The digest of a part of a file, and whether it is compressed by gzip.
fn hash(span: &Span) -> std::io::Result<(Digest, bool)> {
    let mut from = open(span)?;
    let mut hasher = Hasher::named("sha256").unwrap_or_else(|| unreachable!("it is known"));
    let mut buffer = vec![0; 256 * 1024];
    let (mut first, mut gzip) = (true, false);
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), gzip));
        }
        if first {
            gzip = buffer.starts_with(&[0x1f, 0x8b]);
            first = false;
        }
        hasher.update(&buffer[..read]);
    }
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn media_type(bytes: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    json["mediaType"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, text: &str) -> Digest {
        let digest = Digest::sha256(text.as_bytes());
        let file = folder.join(path_of(&digest));
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(file, text).expect("written");
        digest
    }

    #[test]
    fn what_is_no_layout_is_told_as_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("app.tar"), "").expect("written");
        std::fs::create_dir(path("empty")).expect("made");
        for (name, why) in [
            ("none", "No such file"),
            ("app.tar", "oci-archive:"),
            ("empty", "no index.json"),
        ] {
            let said = Layout::of_folder(&path(name)).expect_err(name).message;
            assert!(said.contains(name) && said.contains(why), "{said}");
        }
    }

    /// Once for each of a thousand signatures would be a million.
    #[test]
    fn what_refers_to_what_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let image = put(folder, "{}");
        let signatures: Vec<_> = (0..3)
            .map(|number| {
                let subject = json!({"digest": image.as_str(), "size": 2});
                let text = json!({"subject": subject, "annotations": {"n": format!("{number}")}});
                put(folder, &text.to_string())
            })
            .collect();
        let all = signatures.iter().chain([&image]);
        let all: Vec<_> = all.map(|it| json!({"digest": it.as_str()})).collect();
        let index = json!({ "manifests": all }).to_string();
        std::fs::write(folder.join("index.json"), index).expect("written");
        let layout = Layout::of_folder(folder).expect("a layout");
        let of = |subject: &Digest| -> Vec<_> {
            let all = layout.referrers(subject).into_iter();
            all.map(|it| it.digest).collect()
        };
        let expected: Vec<_> = signatures.iter().map(ToString::to_string).collect();
        assert_eq!(of(&image), expected);
        std::fs::remove_dir_all(folder.join("blobs")).expect("removed");
        assert_eq!(of(&image), expected);
        assert!(of(&signatures[0]).is_empty());
    }
}
