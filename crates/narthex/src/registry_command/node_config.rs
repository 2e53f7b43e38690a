//! `narthex registry node-config`: what nodes have to know of a registry.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use cluster::LocalRegistry;

use crate::failure::Failure;
use crate::flags::registry::{HELP, Mirror, NodeConfig};

/// Where nodes have containerd's files.
const CERTS_DIR: &str = "/etc/containerd/certs.d";

/// Writes files, or to standard output; what else a node needs goes to standard error.
pub(crate) fn run(flags: &NodeConfig) -> Result<ExitCode, Failure> {
    if flags.config_map {
        let registry = LocalRegistry {
            host: flags.host.clone(),
            from_nodes: flags.host_from_nodes.clone(),
            from_pods: flags.host_from_pods.clone(),
            help: HELP.to_owned(),
        };
        let text = registry.manifest();
        io::stdout().lock().write_all(text.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let files = files(flags)?;
    let mut out = io::stdout().lock();
    match &flags.certs_dir {
        Some(folder) => {
            for (name, text) in &files {
                let file = folder.join(name);
                write(&file, text)?;
                writeln!(out, "{}", file.display())?;
            }
        }
        None => {
            for (name, text) in &files {
                writeln!(out, "# {CERTS_DIR}/{name}\n{text}")?;
            }
        }
    }
    let folder = flags.certs_dir.as_deref();
    let needs = needs(&flags.host, folder.unwrap_or_else(|| Path::new(CERTS_DIR)));
    // Whoever does not read it is not kept from the files.
    let _ = io::stderr().lock().write_all(needs.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let written = match file.parent() {
        Some(folder) => fs::create_dir_all(folder).and_then(|()| fs::write(file, text)),
        None => fs::write(file, text),
    };
    written.map_err(|error| Failure::new(format!("{} is not written: {error}", file.display())))
}

/// Each file's name below containerd's folder, and its text.
fn files(flags: &NodeConfig) -> Result<Vec<(String, String)>, Failure> {
    let authority = match &flags.ca_file {
        None => None,
        Some(file) => {
            let file = std::path::absolute(file)
                .ok()
                .unwrap_or_else(|| file.clone());
            let text = file.to_str().filter(|it| !it.contains(char::is_control));
            let text = text.ok_or_else(|| {
                Failure::new(format!(
                    "--ca-file {}: give it a plain name",
                    file.display()
                ))
            })?;
            Some(text.to_owned())
        }
    };
    let url = match flags.insecure {
        true => format!("http://{}", flags.host),
        false => format!("https://{}", flags.host),
    };
    let own = hosts_toml(&url, &url, true, None, authority.as_deref());
    let mut files = vec![(format!("{}/hosts.toml", flags.host), own)];
    for mirror in &flags.mirror {
        let text = mirrored(mirror, &url, authority.as_deref());
        files.push((format!("{}/hosts.toml", mirror.registry), text));
    }
    Ok(files)
}

fn mirrored(mirror: &Mirror, url: &str, authority: Option<&str>) -> String {
    let server = match mirror.registry.as_str() {
        "docker.io" => "https://registry-1.docker.io".to_owned(),
        other => format!("https://{other}"),
    };
    hosts_toml(&server, url, false, mirror.path.as_deref(), authority)
}

/// `server` is asked where `url` has nothing.
fn hosts_toml(
    server: &str,
    url: &str,
    with_push: bool,
    path: Option<&str>,
    authority: Option<&str>,
) -> String {
    let mut text = format!("server = {}\n\n", quoted(server));
    let host = match path {
        Some(path) => format!("{url}/v2/{path}"),
        None => url.to_owned(),
    };
    let _ = writeln!(text, "[host.{}]", quoted(&host));
    let capabilities = match with_push {
        true => r#"["pull", "resolve", "push"]"#,
        false => r#"["pull", "resolve"]"#,
    };
    let _ = writeln!(text, "  capabilities = {capabilities}");
    if path.is_some() {
        // Otherwise /v2/ is put before the path.
        text.push_str("  override_path = true\n");
    }
    if let Some(authority) = authority {
        let _ = writeln!(text, "  ca = {}", quoted(authority));
    }
    text
}

/// TOML's basic string: hosts and paths without control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn needs(host: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "\nOn each node:\n\
         - {host} has to be reached from the node's own network (a host or node port, a load\n  \
           balancer, or an Ingress; not a name of the cluster's DNS)\n\
         - containerd has to look into {folder}: in /etc/containerd/config.toml\n    \
           containerd 2: [plugins.\"io.containerd.cri.v1.images\".registry]\n    \
           containerd 1: [plugins.\"io.containerd.grpc.v1.cri\".registry]\n      \
             config_path = \"{folder}\"\n  \
           and a restart where that was not so before; later files are read without one\n\
         - k3s and RKE2 write these files themselves, from registries.yaml; CRI-O and podman take\n  \
           /etc/containers/registries.conf.d instead\n\
         Try it: ctr images pull --hosts-dir {folder} {host}/REPOSITORY:TAG\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_below_a_path_is_asked_there() {
        let mirror = Mirror {
            registry: "docker.io".to_owned(),
            path: Some("hub".to_owned()),
        };
        let text = mirrored(&mirror, "http://10.0.0.1:5000", None);
        assert_eq!(
            text,
            "server = \"https://registry-1.docker.io\"\n\n\
             [host.\"http://10.0.0.1:5000/v2/hub\"]\n  \
             capabilities = [\"pull\", \"resolve\"]\n  override_path = true\n"
        );
    }

    #[test]
    fn an_authoritys_file_is_named() {
        let url = "https://registry.example";
        let text = hosts_toml(url, url, true, None, Some("/etc/ca \"1\".pem"));
        assert!(
            text.contains("[host.\"https://registry.example\"]"),
            "{text}"
        );
        assert!(text.contains("ca = \"/etc/ca \\\"1\\\".pem\""), "{text}");
    }
}
