//! `narthex registry inspect`: what an image is.

use std::fmt::Write as _;

use registry::client::{Chunks as _, Client, Digest, Manifest, cosign_tags};
use serde::Deserialize;
use serde_json::{Value, json};

use super::image::Image;
use super::plain;
use crate::failure::Failure;

/// The largest configuration in bytes that is read for its platform.
const LARGEST_CONFIG: u64 = 4 << 20;

/// Configurations of images, and those of nothing.
const NO_KINDS: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.empty.v1+json",
];

/// Of so many images of an index the layers are looked at.
const MOST: usize = 64;

/// What there is of a manifest to tell; whatever else it has is let be.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Body {
    artifact_type: Option<String>,
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    subject: Option<Descriptor>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    artifact_type: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

impl Body {
    /// Of what kind an artifact is: as it says, or as its configuration does (OCI image-spec,
    /// "Guidelines for Artifact Usage"). None of an image.
    fn kind(&self) -> Option<String> {
        let config = self.config.as_ref().map(|it| it.media_type.as_str());
        let config = config.filter(|it| !it.is_empty() && !NO_KINDS.contains(it));
        let said = self.artifact_type.as_deref().filter(|it| !it.is_empty());
        said.or(config).map(str::to_owned)
    }
}

/// One image of the reference: all of it, or one of an index.
struct Member {
    platform: Option<String>,
    digest: String,
    media_type: String,
    /// None of one that is not there, as in a sparse index.
    layers: Option<Vec<Descriptor>>,
}

/// What an image is.
pub(super) struct Found {
    image: String,
    digest: String,
    media_type: String,
    artifact_type: Option<String>,
    subject: Option<String>,
    members: Vec<Member>,
    /// Members that were not looked at.
    more: usize,
    /// Why it is not known what refers to it, if it is not.
    referrers: Result<Vec<Descriptor>, String>,
    /// Tags of cosign's that are there, with their digests.
    cosign: Vec<(String, Digest)>,
}

/// Asks for the manifest, for those below it, and for what refers to it.
pub(super) async fn inspect(client: &Client, image: &Image) -> Result<Found, Failure> {
    let name = &image.repository;
    let manifest = client
        .manifest(name, &image.reference)
        .await
        .map_err(Failure::new)?;
    let body = read(&manifest)?;
    let artifact_type = body.kind();
    let mut members = Vec::new();
    for one in body.manifests.iter().take(MOST) {
        members.push(member(client, name, one).await?);
    }
    if body.manifests.is_empty() {
        members.push(Member {
            platform: platform(client, name, body.config.as_ref()).await,
            digest: manifest.digest.to_string(),
            media_type: manifest.media_type.clone(),
            layers: Some(body.layers),
        });
    }
    let referrers = match client.referrers(name, &manifest.digest).await {
        Ok(pages) => Ok(pages
            .iter()
            .filter_map(|page| serde_json::from_slice::<Body>(page).ok())
            .flat_map(|page| page.manifests)
            .collect()),
        Err(error) => Err(error.to_string()),
    };
    let mut cosign = Vec::new();
    for tag in cosign_tags(&manifest.digest) {
        // Who may not ask for it learns nothing of it.
        if let Ok(Some(there)) = client.describe(name, &tag).await {
            cosign.push((tag, there.digest));
        }
    }
    Ok(Found {
        image: image.to_string(),
        digest: manifest.digest.to_string(),
        media_type: manifest.media_type,
        artifact_type,
        subject: body.subject.map(|it| it.digest),
        members,
        more: body.manifests.len().saturating_sub(MOST),
        referrers,
        cosign,
    })
}

fn read(manifest: &Manifest) -> Result<Body, Failure> {
    serde_json::from_slice(&manifest.bytes)
        .map_err(|error| Failure::new(format!("{}: is no manifest: {error}", manifest.digest)))
}

async fn member(client: &Client, name: &str, one: &Descriptor) -> Result<Member, Failure> {
    // What is not there says nothing; what cannot be asked for says why.
    let layers = match client.manifest(name, &one.digest).await {
        Ok(manifest) => Some(read(&manifest)?.layers),
        Err(error) if error.kind == registry::client::Kind::NotFound => None,
        Err(error) => return Err(Failure::new(error)),
    };
    Ok(Member {
        platform: one.platform.as_ref().and_then(Platform::text),
        digest: one.digest.clone(),
        media_type: one.media_type.clone(),
        layers,
    })
}

/// The platform that an image's configuration has; none of an artifact.
async fn platform(client: &Client, name: &str, config: Option<&Descriptor>) -> Option<String> {
    let config = config.filter(|it| it.size <= LARGEST_CONFIG)?;
    if !config.media_type.contains("image") {
        return None;
    }
    let digest: Digest = config.digest.parse().ok()?;
    let mut blob = client.blob(name, &digest, config.size);
    let mut bytes = Vec::new();
    while let Some(chunk) = blob.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice::<Platform>(&bytes).ok()?.text()
}

impl Platform {
    fn text(&self) -> Option<String> {
        if self.os.is_empty() && self.architecture.is_empty() {
            return None;
        }
        let mut text = format!("{}/{}", self.os, self.architecture);
        if !self.variant.is_empty() {
            let _ = write!(text, "/{}", self.variant);
        }
        Some(plain(&text))
    }
}

impl Found {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        let descriptor = |it: &Descriptor| json!({"digest": it.digest, "mediaType": it.media_type, "size": it.size});
        let images = self.members.iter().map(|it| {
            let layers = it.layers.as_deref();
            json!({
                "platform": it.platform,
                "digest": it.digest,
                "mediaType": it.media_type,
                "present": layers.is_some(),
                "size": layers.map(total),
                "layers": layers.map(|all| all.iter().map(descriptor).collect::<Vec<_>>()),
            })
        });
        let referrers = self.referrers.as_ref().map(|all| {
            let one = |it: &Descriptor| {
                let mut value = descriptor(it);
                value["artifactType"] = json!(it.artifact_type);
                value
            };
            all.iter().map(one).collect::<Vec<_>>()
        });
        json!({
            "image": self.image,
            "digest": self.digest,
            "mediaType": self.media_type,
            "artifactType": self.artifact_type,
            "subject": self.subject,
            "images": images.collect::<Vec<_>>(),
            "imagesLeftOut": self.more,
            "referrers": referrers.as_ref().ok(),
            "referrersError": referrers.as_ref().err(),
            "cosign": self.cosign.iter().map(|(tag, digest)| json!({"tag": tag, "digest": digest.as_str()})).collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.image)?;
        writeln!(out, "  digest      {}", self.digest)?;
        writeln!(out, "  media type  {}", plain(&self.media_type))?;
        if let Some(kind) = &self.artifact_type {
            writeln!(out, "  artifact    {}", plain(kind))?;
        }
        if let Some(subject) = &self.subject {
            writeln!(out, "  refers to   {}", plain(subject))?;
        }
        for member in &self.members {
            let platform = member.platform.as_deref().unwrap_or("no platform");
            writeln!(out, "\n  {platform}  {}", plain(&member.digest))?;
            match &member.layers {
                None => writeln!(out, "    not in this registry")?,
                Some(layers) => {
                    let count = layers.len();
                    let s = if count == 1 { "" } else { "s" };
                    writeln!(out, "    {count} layer{s}, {}", size(total(layers)))?;
                    for layer in layers {
                        let digest = plain(&layer.digest);
                        writeln!(
                            out,
                            "    {:>10}  {digest}  {}",
                            size(layer.size),
                            plain(&layer.media_type)
                        )?;
                    }
                }
            }
        }
        if self.more > 0 {
            writeln!(out, "\n  and {} more", self.more)?;
        }
        match &self.referrers {
            Ok(all) if all.is_empty() => {}
            Ok(all) => {
                writeln!(out, "\n  referrers")?;
                for one in all {
                    let kind = one.artifact_type.as_deref().unwrap_or(&one.media_type);
                    writeln!(
                        out,
                        "    {:>10}  {}  {}",
                        size(one.size),
                        plain(&one.digest),
                        plain(kind)
                    )?;
                }
            }
            Err(error) => writeln!(out, "\n  referrers are not known: {error}")?,
        }
        if !self.cosign.is_empty() {
            writeln!(out, "\n  cosign")?;
        }
        for (tag, digest) in &self.cosign {
            let kind = tag.rsplit('.').next().unwrap_or_default();
            writeln!(out, "    {kind:>10}  {digest}")?;
        }
        Ok(())
    }
}

fn total(layers: &[Descriptor]) -> u64 {
    layers.iter().fold(0, |sum, it| sum.saturating_add(it.size))
}

/// `12.3 MiB`
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_what_it_says_or_what_its_configuration_is() {
        let kind = |body: Value| serde_json::from_value::<Body>(body).expect("right").kind();
        let of = |media_type: &str| json!({"config": {"mediaType": media_type}});
        for none in NO_KINDS {
            assert_eq!(kind(of(none)), None);
        }
        let chart = "application/vnd.cncf.helm.config.v1+json";
        assert_eq!(kind(of(chart)).as_deref(), Some(chart));
        let mut said = of(NO_KINDS[2]);
        said["artifactType"] = json!("text/sbom");
        assert_eq!(kind(said).as_deref(), Some("text/sbom"));
        assert_eq!(kind(json!({})), None);
    }

    #[test]
    fn sizes_are_written_for_people() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
    }
}
