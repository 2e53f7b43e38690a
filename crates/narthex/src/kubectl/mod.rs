//! `kubectl narthex`: what the replicas in a cluster know.
//!
//! Everything comes from a replica's own API, so that it is what is served and not what ought to
//! be. Answers are read as JSON without a type: a replica may be older or newer than this program.

pub(crate) mod answers;
mod table;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use cluster::reach::{Door, Replica};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::flags::kubectl::{Format, Kubectl, KubectlCli, Question, Target};

/// What to run if the program was started under the name that makes it kubectl's.
pub(crate) fn as_plugin() -> Option<Kubectl> {
    let name = std::env::args_os().next()?;
    let name = Path::new(&name).file_stem().map(OsStr::to_owned)?;
    // kubectl looks for a dash where the user typed a space, and for an underscore for a dash.
    (name == "kubectl-narthex").then(|| KubectlCli::parse().kubectl)
}

/// Asks and prints.
pub(crate) fn run(flags: &Kubectl) -> Result<ExitCode, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let done = runtime.block_on(ask(flags));
    runtime.shutdown_background();
    let said = done?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match flags.target.output {
        Format::Text => out.write_all(said.text.as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &said.json).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::from(u8::from(!said.is_good)))
}

/// An answer in both forms.
struct Said {
    text: String,
    json: Value,
    /// Whether the program exits with 0.
    is_good: bool,
}

async fn ask(flags: &Kubectl) -> Result<Said, Failure> {
    let target = &flags.target;
    let door = door(target).await?;
    let replicas = door
        .replicas(target.pod.as_deref())
        .await
        .map_err(Failure::new)?;
    match &flags.question {
        Question::Status => Ok(status(&door, &replicas).await),
        Question::Routes { host, limit } => {
            let query = match (host, limit) {
                (Some(host), _) => format!("?host={}", encode(host)),
                (None, 0) => String::new(),
                (None, limit) => format!("?limit={limit}"),
            };
            let json = first(&door, &replicas, &format!("/api/routes{query}")).await?;
            let limit = if host.is_some() { 0 } else { *limit };
            Ok(Said {
                text: answers::routes(&json, limit),
                json,
                is_good: true,
            })
        }
        Question::Explain { url } => {
            let path = format!("/api/explain?url={}", encode(url));
            let json = first(&door, &replicas, &path).await?;
            let text = match target.output {
                Format::Json => String::new(),
                Format::Text => {
                    asked_first(&door, &replicas, &format!("{path}&format=text")).await?
                }
            };
            let is_good = json["answered"] == true;
            Ok(Said {
                text,
                json,
                is_good,
            })
        }
        Question::Check => {
            let json = first(&door, &replicas, "/api/problems").await?;
            let is_good = json.as_array().is_some_and(Vec::is_empty);
            Ok(Said {
                text: answers::problems(&json),
                json,
                is_good,
            })
        }
        Question::Certs => {
            let json = first(&door, &replicas, "/api/certificates").await?;
            Ok(Said {
                text: answers::certificates(&json, std::time::SystemTime::now()),
                json,
                is_good: true,
            })
        }
    }
}

async fn door(target: &Target) -> Result<Door, Failure> {
    if let Some(url) = &target.admin_address {
        let address = url.strip_prefix("http://").unwrap_or(url);
        return Ok(Door::Address(address.trim_end_matches('/').to_owned()));
    }
    Ok(Door::Cluster {
        client: client(target.kubeconfig.as_deref(), target.context.clone()).await?,
        namespace: target.namespace.clone(),
        port: target.admin_port,
    })
}

/// Access to a cluster, as kubectl has it.
pub(crate) async fn client(
    kubeconfig: Option<&Path>,
    context: Option<String>,
) -> Result<Client, Failure> {
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    let config = match kubeconfig {
        Some(file) => {
            let wrong = |error: kube::config::KubeconfigError| {
                Failure::new(format!("--kubeconfig {}: {error}", file.display()))
            };
            let read = Kubeconfig::read_from(file).map_err(wrong)?;
            Config::from_custom_kubeconfig(read, &options)
                .await
                .map_err(wrong)?
        }
        None => Config::from_kubeconfig(&options)
            .await
            .map_err(|error| Failure::new(format!("the kubeconfig: {error}")))?,
    };
    Client::try_from(config)
        .map_err(|error| Failure::new(format!("access to the cluster: {error}")))
}

/// Every replica's state.
async fn status(door: &Door, replicas: &[Replica]) -> Said {
    let mut all = Vec::new();
    let mut is_good = true;
    for replica in replicas {
        let status = match replica.running {
            true => json_of(door, replica, "/api/status").await,
            false => Err(format!("{}: it does not run", replica.name)),
        };
        let (status, trouble) = match status {
            Ok(status) => (status, None),
            Err(trouble) => (Value::Null, Some(trouble)),
        };
        is_good &= status["ready"] == true;
        all.push(json!({
            "pod": replica.name, "node": replica.node, "podReady": replica.ready,
            "status": status, "trouble": trouble,
        }));
    }
    let json = json!({"replicas": all});
    Said {
        text: answers::status(&json),
        json,
        is_good,
    }
}

/// What the first replica that answers says: ready ones are asked first.
async fn first(door: &Door, replicas: &[Replica], path: &str) -> Result<Value, Failure> {
    let text = asked_first(door, replicas, path).await?;
    serde_json::from_str(&text).map_err(|_| not_json())
}

async fn asked_first(door: &Door, replicas: &[Replica], path: &str) -> Result<String, Failure> {
    let mut running: Vec<_> = replicas.iter().filter(|replica| replica.running).collect();
    running.sort_by_key(|replica| replica.ready == Some(false));
    let mut trouble = Vec::new();
    for replica in running {
        match answer(door, replica, path).await {
            Ok(text) => return Ok(text),
            // A question that is wrong is wrong for all.
            Err(Wrong::Question(why)) => return Err(Failure::new(why)),
            Err(Wrong::Replica(why)) => trouble.push(why),
        }
    }
    Err(Failure::new(match trouble.is_empty() {
        true => "no replica runs: see kubectl narthex status".to_owned(),
        false => format!("no replica answers: {}", trouble.join("; ")),
    }))
}

/// Why there is no answer.
enum Wrong {
    Question(String),
    Replica(String),
}

async fn answer(door: &Door, replica: &Replica, path: &str) -> Result<String, Wrong> {
    let found = door.get(replica, path).await.map_err(Wrong::Replica)?;
    let text = String::from_utf8_lossy(&found.body).into_owned();
    let name = &replica.name;
    match found.status {
        200 => Ok(text),
        400 => Err(Wrong::Question(text.trim().to_owned())),
        404 => Err(Wrong::Replica(format!(
            "{name} does not know {path}: is it older than this?"
        ))),
        status => Err(Wrong::Replica(format!(
            "{name} answers {status}: {}",
            text.trim()
        ))),
    }
}

async fn json_of(door: &Door, replica: &Replica, path: &str) -> Result<Value, String> {
    let text = answer(door, replica, path)
        .await
        .map_err(|wrong| match wrong {
            Wrong::Question(why) | Wrong::Replica(why) => why,
        })?;
    serde_json::from_str(&text).map_err(|_| not_json().reason().to_owned())
}

fn not_json() -> Failure {
    Failure::new("the answer is no JSON: is this Narthex's admin address?")
}

/// Percent-encoded for a query.
fn encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String does not fail.
            byte => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}
