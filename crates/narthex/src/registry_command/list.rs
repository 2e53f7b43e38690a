//! `narthex registry list`: the images that manifests, or a cluster's workloads, need.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cluster::watch::Survey;
use registry::list::{Need, Needs, WORKLOADS};
use serde::Serialize;
use serde_json::json;

use crate::failure::Failure;
use crate::flags::registry::{List, ListOutput};
use crate::kubectl;

/// The largest file, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Folders below each other.
const MAX_DEPTH: usize = 32;

#[derive(Serialize)]
struct Report<'a> {
    images: &'a [Need],
}

/// Reads, and says what it found. What cannot be read is named, and makes the exit code 1.
pub(crate) fn run(flags: &List) -> Result<ExitCode, Failure> {
    let mut needs = Needs::default();
    let unread = match flags.paths.is_empty() {
        true => of_cluster(flags, &mut needs)?,
        false => of_files(&flags.paths, &mut needs),
    };
    let images = needs.all();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match flags.output {
        ListOutput::Lines => {
            for need in &images {
                writeln!(out, "{} # {}", need.image, by(need))?;
            }
        }
        ListOutput::Json => {
            let report = Report { images: &images };
            serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        ListOutput::Yaml => {
            writeln!(
                out,
                "apiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec:\n  images:"
            )?;
            for need in &images {
                // JSON's texts are YAML's, too.
                writeln!(out, "    - {} # {}", json!(need.image), by(need))?;
            }
        }
    }
    out.flush()?;
    for doubt in needs.doubts.iter().chain(&unread) {
        // Where nobody can be told, the exit code has to do.
        let _ = writeln!(std::io::stderr(), "warning: {doubt}");
    }
    Ok(ExitCode::from(u8::from(!unread.is_empty())))
}

fn by(need: &Need) -> String {
    let all: Vec<_> = need.by.iter().map(String::as_str).collect();
    // Names are an API server's, or a file's: whatever is none ends no line.
    all.join(", ").replace(|it: char| it.is_control(), " ")
}

/// Reads the workloads of a cluster; says what may not be read.
fn of_cluster(flags: &List, needs: &mut Needs) -> Result<Vec<String>, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = super::waiting()?;
    let found = runtime.block_on(async {
        let living = &flags.living;
        let client = kubectl::client(living.kubeconfig.as_deref(), living.context.clone()).await?;
        let mut survey = Survey::default();
        for (api, plural, kind) in WORKLOADS {
            let namespaces = &living.watch_namespace;
            for object in survey.values(&client, api, plural, namespaces).await {
                needs.take_kind(&object, kind, false);
            }
        }
        Ok(survey.unread)
    });
    runtime.shutdown_background();
    found
}

/// Reads manifests; says what cannot be read.
fn of_files(paths: &[PathBuf], needs: &mut Needs) -> Vec<String> {
    let mut unread = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            let input = std::io::stdin()
                .lock()
                .take(MAX_FILE)
                .read_to_string(&mut text);
            match input {
                Ok(_) => take(&text, "standard input", needs, &mut unread),
                Err(error) => unread.push(format!("standard input: {error}")),
            }
            continue;
        }
        let mut files = Vec::new();
        collect(path, 0, true, &mut files, &mut unread);
        for file in files {
            let name = file.display().to_string();
            match read(&file) {
                Ok(text) => take(&text, &name, needs, &mut unread),
                Err(error) => unread.push(format!("{name}: {error}")),
            }
        }
    }
    unread
}

/// A file that was named, or the manifests of a folder at any depth, in order.
fn collect(
    path: &Path,
    depth: usize,
    named: bool,
    files: &mut Vec<PathBuf>,
    unread: &mut Vec<String>,
) {
    if !path.is_dir() {
        let extension = path.extension().and_then(|it| it.to_str());
        if named || matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(path.to_owned());
        }
        return;
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) if depth < MAX_DEPTH => entries,
        Ok(_) => return unread.push(format!("{}: too deep", path.display())),
        Err(error) => return unread.push(format!("{}: {error}", path.display())),
    };
    let mut below: Vec<_> = entries.filter_map(|it| Some(it.ok()?.path())).collect();
    below.sort();
    for path in below {
        let hidden = path
            .file_name()
            .is_some_and(|it| it.as_encoded_bytes().starts_with(b"."));
        if !hidden {
            collect(&path, depth + 1, false, files, unread);
        }
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(file)?.len();
    if size > MAX_FILE {
        return Err(std::io::Error::other(format!(
            "larger than {MAX_FILE} bytes"
        )));
    }
    std::fs::read_to_string(file)
}

fn take(text: &str, name: &str, needs: &mut Needs, unread: &mut Vec<String>) {
    for document in objects::tree::documents(text) {
        match document {
            Ok(node) => needs.take(&node.to_json(), true),
            Err(error) => unread.push(format!("{name}:{}: {}", error.line, error.message)),
        }
    }
}
