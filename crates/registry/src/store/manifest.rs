//! What a registry reads of a manifest: leniently, since it keeps the bytes as they came.

use std::collections::BTreeMap;

use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

use super::digest::parse_digest;

/// Docker's first kind of manifest, which names its layers otherwise.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";

/// What a manifest refers to.
#[derive(Debug, Clone, Default)]
pub struct Manifest {
    /// What it says that it is.
    pub media_type: Option<String>,
    /// What it is for, by its own word or by its configuration's type.
    pub artifact_type: Option<String>,
    /// Of whom it tells.
    pub subject: Option<Digest>,
    /// What its author noted.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Blobs that it cannot be without.
    pub needs: Vec<Digest>,
    /// Blobs that may be elsewhere or in the manifest itself.
    pub may_have: Vec<Digest>,
    /// Manifests that it lists, of which some may be missing.
    pub children: Vec<Digest>,
}

/// How one thing is described by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its content's.
    pub digest: String,
    /// In bytes.
    pub size: u64,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What its author noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// Of a manifest, what is needed of its blobs to know how large they are.
#[derive(Deserialize)]
struct Sizes {
    config: Option<Size>,
    layers: Option<Vec<Size>>,
    blobs: Option<Vec<Size>>,
}

#[derive(Deserialize)]
struct Size {
    digest: String,
    size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Part>,
    layers: Option<Vec<Part>>,
    /// Of the artifact manifests that the specification had for a while.
    blobs: Option<Vec<Part>>,
    manifests: Option<Vec<Part>>,
    subject: Option<Part>,
    annotations: Option<BTreeMap<String, String>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    #[serde(default)]
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    urls: Option<Vec<String>>,
    #[serde(default)]
    data: Option<String>,
}

impl Manifest {
    /// Reads what a client calls a manifest of `content_type`. The error is for people.
    pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Self, String> {
        let read: Read = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if read.fs_layers.is_some() || content_type.is_some_and(|it| it.starts_with(SCHEMA_1)) {
            return Err(
                "manifests of Docker's schema 1 are not kept: push the image with a client of \
                 this decade"
                    .to_owned(),
            );
        }
        if let (Some(says), Some(sent)) = (&read.media_type, content_type)
            && says != sent
        {
            return Err(format!("its mediaType is {says}, and it came as {sent}"));
        }
        let artifact_type = read.artifact_type.filter(|it| !it.is_empty());
        let of_config = read.config.as_ref().and_then(|it| it.media_type.clone());
        let mut manifest = Self {
            media_type: read.media_type,
            artifact_type: artifact_type.or(of_config),
            subject: read.subject.map(|it| it.digest()).transpose()?,
            annotations: read.annotations,
            ..Self::default()
        };
        for part in read.manifests.into_iter().flatten() {
            manifest.children.push(part.digest()?);
        }
        let blobs = read.config.into_iter();
        let blobs = blobs.chain(read.layers.into_iter().flatten());
        for part in blobs.chain(read.blobs.into_iter().flatten()) {
            let list = match part.may_be_elsewhere() {
                true => &mut manifest.may_have,
                false => &mut manifest.needs,
            };
            list.push(part.digest()?);
        }
        Ok(manifest)
    }

    /// How large a blob is by a manifest that names it, in bytes.
    pub fn size_in(bytes: &[u8], blob: &Digest) -> Option<u64> {
        let read: Sizes = serde_json::from_slice(bytes).ok()?;
        let blobs = [read.layers, read.blobs].into_iter().flatten().flatten();
        let text: &str = blob.as_ref();
        let mut named = blobs.chain(read.config).filter(|it| it.digest == text);
        named.find_map(|it| it.size)
    }

    /// The same, with all its blobs perhaps elsewhere.
    pub fn needing_nothing(mut self) -> Self {
        self.may_have.append(&mut self.needs);
        self
    }
}

impl Part {
    fn digest(&self) -> Result<Digest, String> {
        parse_digest(&self.digest)
            .ok_or_else(|| format!("`{}` is no digest of sha256 or sha512", self.digest))
    }

    /// Layers that must not be distributed, and content that the descriptor itself has.
    fn may_be_elsewhere(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        media_type.contains("nondistributable")
            || media_type.contains(".foreign.")
            || self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.data.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn read(text: &str) -> Result<Manifest, String> {
        Manifest::read(text.as_bytes(), None)
    }

    #[test]
    fn what_is_needed_is_told_from_what_may_be_elsewhere() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let manifest = read(&format!(
            r#"{{"config":{{"mediaType":"c","digest":"{A}","size":1}},
                "layers":[{{"mediaType":"{foreign}","digest":"{B}","size":1}}],"more":1}}"#
        ))
        .expect("a manifest");
        assert_eq!(manifest.needs, [A.parse().expect("a digest")]);
        assert_eq!(manifest.may_have, [B.parse().expect("a digest")]);
        assert_eq!(manifest.artifact_type.as_deref(), Some("c"));
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        for wrong in [
            "",
            "[]",
            "{",
            r#"{"config":{"digest":"x"}}"#,
            r#"{"fsLayers":[]}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(Manifest::read(br#"{"mediaType":"a"}"#, Some("b")).is_err());
        assert!(read(r#"{"layers":null,"annotations":null}"#).is_ok());
    }
}
