//! Gateway API in a cluster: its kinds, as the release has them.

use std::path::PathBuf;

use serde_json::Value;

use crate::cluster::{Cluster, rig};

/// Which kinds, versions and fields there are. A cluster has one of them; the experimental one has
/// all that the standard one has.
#[derive(Clone, Copy, Debug)]
pub enum Channel {
    Standard,
    Experimental,
}

impl Channel {
    fn folder(self) -> PathBuf {
        let name = match self {
            Self::Standard => "standard",
            Self::Experimental => "experimental",
        };
        rig().join("gateway-api/config/crd").join(name)
    }

    /// The release's files: the kinds, and the policy that guards them against older versions.
    fn files(self) -> Vec<PathBuf> {
        let folder = self.folder();
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| {
            panic!("{}: {error}: `cargo xtask cluster build`", folder.display())
        });
        let is_object = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("gateway.")
        };
        let mut files: Vec<_> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(is_object)
            .collect();
        files.sort();
        files
    }
}

/// A condition of a list, as `True Programmed`; empty if it is not there.
pub fn condition(conditions: &Value, name: &str) -> String {
    let all = conditions.as_array().into_iter().flatten();
    let found = all.into_iter().find(|it| it["type"] == name);
    found.map_or_else(String::new, |it| {
        let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("status"), text("reason"))
    })
}

impl Cluster {
    /// Installs all kinds of a channel and waits until they are served.
    #[track_caller]
    pub fn install_gateway_api(&self, channel: Channel) {
        let files: Vec<_> = channel
            .files()
            .iter()
            .map(|path| format!("--filename={}", path.display()))
            .collect();
        assert!(files.len() >= 9, "the release has more: {files:#?}");
        // Client-side apply would write each of them a second time, into an annotation that is too small.
        let mut apply = vec!["apply", "--server-side"];
        apply.extend(files.iter().map(String::as_str));
        self.kubectl(&apply);
        let established = "--for=condition=Established";
        self.kubectl(&["wait", established, "crd", "--all", "--timeout=180s"]);
    }

    /// A class of Narthex's.
    #[track_caller]
    pub fn gateway_class(&self, name: &str) {
        self.apply(&format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: {name}}}
spec: {{controllerName: narthex.dev/gateway}}
"
        ));
    }
}
