//! What is read of manifests: leniently, as their bytes count and not what we think of them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::client::{Digest, Error, Kind, Manifest};
use crate::list::{Index, Platform};

/// What a manifest names; of anything else nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Parsed {
    pub(super) manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    /// Of OCI's former artifact manifests.
    blobs: Option<Vec<Descriptor>>,
    pub(super) subject: Option<Descriptor>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Content by its digest.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    #[serde(default)]
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// Docker's mark of what BuildKit says of another manifest of the same index.
const OF: &str = "vnd.docker.reference.digest";

impl Parsed {
    pub(super) fn of(manifest: &Manifest) -> Result<Self, Error> {
        let broken =
            |why: String| Error::new(Kind::Broken, format!("manifest {}: {why}", manifest.digest));
        let parsed: Self =
            serde_json::from_slice(&manifest.bytes).map_err(|error| broken(error.to_string()))?;
        match parsed.fs_layers {
            Some(_) => Err(broken(
                "it is of Docker's schema 1, which registries do not take any more: rebuild it"
                    .to_owned(),
            )),
            None => Ok(parsed),
        }
    }

    pub(super) fn is_index(&self) -> bool {
        self.manifests.is_some()
    }

    /// Config and layers that registries keep; those that may not be distributed stay where they
    /// are.
    pub(super) fn contents(&self) -> impl Iterator<Item = &Descriptor> {
        let layers = self
            .layers
            .iter()
            .flatten()
            .chain(self.blobs.iter().flatten());
        let all = self.config.iter().chain(layers);
        all.filter(|it| {
            !it.media_type.contains("nondistributable") && !it.media_type.contains(".foreign.")
        })
    }

    /// The manifests of an index that are wanted of these platforms: all if none is named.
    ///
    /// # Errors
    /// None is.
    pub(super) fn wanted(&self, platforms: &[Platform]) -> Result<Vec<&Descriptor>, Error> {
        let all = || self.manifests.iter().flatten();
        if platforms.is_empty() {
            return Ok(all().collect());
        }
        let is_wanted = |it: &&Descriptor| {
            let platform = it.platform.as_ref();
            platform.is_none_or(|it| platforms.iter().any(|wanted| wanted.takes(it)))
        };
        let mut wanted: Vec<_> = all().filter(is_wanted).collect();
        if wanted.is_empty() {
            let there: Vec<_> = all()
                .filter_map(|it| Some(it.platform.as_ref()?.to_string()))
                .filter(|it| it != "unknown/unknown")
                .collect();
            let why = format!("it has none of the platforms; it has {}", there.join(", "));
            return Err(Error::new(Kind::NotFound, why));
        }
        let about = all().filter(|it| {
            let of = it.annotations.as_ref().and_then(|it| it.get(OF));
            of.is_some_and(|of| wanted.iter().any(|it| it.digest == *of))
                && !wanted.iter().any(|one| one.digest == it.digest)
        });
        let about: Vec<_> = about.collect();
        wanted.extend(about);
        Ok(wanted)
    }
}

impl Descriptor {
    pub(super) fn digest(&self) -> Result<Digest, Error> {
        self.digest
            .parse()
            .map_err(|why| Error::new(Kind::Broken, format!("{:?}: {why}", self.digest)))
    }
}

/// What takes an index's place where not all of its platforms are wanted.
pub(super) fn narrowed(
    root: Manifest,
    platforms: &[Platform],
    form: Index,
) -> Result<Narrowed, Error> {
    let parsed = Parsed::of(&root)?;
    if !parsed.is_index() || platforms.is_empty() || form == Index::Sparse {
        return Ok(Narrowed::Manifest(root));
    }
    let wanted = parsed.wanted(platforms)?;
    if form == Index::Single {
        let by = |platform: &Platform| {
            let mut all = wanted.iter();
            all.find(|it| it.platform.as_ref().is_some_and(|it| platform.takes(it)))
        };
        let one = platforms.iter().find_map(by).copied();
        let one = one.or_else(|| wanted.first().copied());
        return match one {
            Some(one) => one.digest().map(Narrowed::Child),
            None => Err(Error::new(Kind::NotFound, "it has no manifest")),
        };
    }
    let keep: Vec<&str> = wanted.iter().map(|it| it.digest.as_str()).collect();
    if keep.len() == parsed.manifests.as_ref().map_or(0, Vec::len) {
        return Ok(Narrowed::Manifest(root));
    }
    let broken = |error: serde_json::Error| Error::new(Kind::Broken, error.to_string());
    let mut json: serde_json::Value = serde_json::from_slice(&root.bytes).map_err(broken)?;
    if let Some(all) = json["manifests"].as_array_mut() {
        all.retain(|it| it["digest"].as_str().is_some_and(|it| keep.contains(&it)));
    }
    let bytes = serde_json::to_vec(&json).map_err(broken)?;
    Ok(Narrowed::Manifest(Manifest {
        digest: Digest::sha256(&bytes),
        bytes: bytes.into(),
        media_type: root.media_type,
    }))
}

/// What takes an index's place.
pub(super) enum Narrowed {
    /// This one.
    Manifest(Manifest),
    /// One that it names.
    Child(Digest),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Manifest {
        let one = |platform: &str, n: u8, of: &str| {
            let (os, architecture) = platform.split_once('/').expect("a platform");
            let digest = format!("sha256:{}", format!("{n:02}").repeat(32));
            format!(
                r#"{{"mediaType":"m","digest":"{digest}","size":1,{of}
                   "platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#
            )
        };
        let about = format!(r#""annotations":{{"{OF}":"sha256:{}"}},"#, "01".repeat(32));
        let all = [
            one("linux/amd64", 1, ""),
            one("linux/arm64", 2, ""),
            one("unknown/unknown", 3, &about),
        ];
        let bytes = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, all.join(","));
        Manifest {
            digest: Digest::sha256(bytes.as_bytes()),
            bytes: bytes.into(),
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        }
    }

    #[test]
    fn an_index_is_narrowed_to_platforms() {
        let platforms = ["linux/amd64".parse().expect("one")];
        let Ok(Narrowed::Manifest(same)) = narrowed(index(), &platforms, Index::Sparse) else {
            panic!("as it is");
        };
        assert_eq!(same.digest, index().digest);
        let Ok(Narrowed::Manifest(fewer)) = narrowed(index(), &platforms, Index::Filtered) else {
            panic!("another");
        };
        assert!(fewer.digest.is_of(&fewer.bytes));
        let parsed = Parsed::of(&fewer).expect("right");
        // With what is said of the one that stays.
        assert_eq!(parsed.manifests.map(|it| it.len()), Some(2));
        let Ok(Narrowed::Child(child)) = narrowed(index(), &platforms, Index::Single) else {
            panic!("one");
        };
        assert_eq!(child.hex(), "01".repeat(32));
        let none = ["linux/s390x".parse().expect("one")];
        let Err(error) = narrowed(index(), &none, Index::Filtered) else {
            panic!("there is none");
        };
        assert!(
            error.message.ends_with("it has linux/amd64, linux/arm64"),
            "{error}"
        );
    }
}
