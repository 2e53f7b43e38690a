//! `narthex registry creds configure`: asks for what the addon's Secrets hold, and writes them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Once, mpsc};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster::Connection;
use cluster::pull_secrets::{Data, write_source};
use registry::creds::addon::{Addon, Key, Kind};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::super::waiting;
use super::{access, namespace};
use crate::failure::Failure;
use crate::flags::registry::creds::{Configure, Provider};

/// Asks, and writes.
pub(super) fn run(flags: &Configure) -> Result<ExitCode, Failure> {
    let mut given = given(&flags.set)?;
    if !flags.dry_run {
        // Nobody types passwords for a cluster that is not known.
        access(&flags.reach)?;
    }
    let stdin = io::stdin();
    let mut terminal = Terminal {
        input: stdin.lock(),
        asks: stdin.is_terminal(),
    };
    let kinds = match flags.provider.as_slice() {
        [] if terminal.asks => terminal.kinds()?,
        [] => {
            let message = "nobody can be asked here: say which, with --provider";
            return Err(Failure::Invalid(message.to_owned()));
        }
        some => some.iter().map(|it| kind(*it)).collect(),
    };
    let mut secrets = Vec::new();
    for kind in kinds {
        let data = terminal.data(kind, &mut given)?;
        let secret = kind.source();
        // What it would mean to who reads it.
        match Addon::default().secret(kind, &data, format!("Secret {secret}")) {
            Ok(Some(_)) => secrets.push((kind, data)),
            Ok(None) => return Err(Failure::new(format!("nothing is given for {secret}"))),
            Err(why) => return Err(Failure::new(why)),
        }
    }
    if let Some((name, _)) = given.first_key_value() {
        return Err(Failure::Invalid(format!(
            "--set {name}: none of the Secrets that are written has it"
        )));
    }
    match flags.dry_run {
        true => print(flags, &secrets),
        false => waiting()?.block_on(write(flags, &secrets)),
    }
}

fn kind(provider: Provider) -> Kind {
    match provider {
        Provider::Ecr => Kind::Ecr,
        Provider::Gcr => Kind::Gcr,
        Provider::Docker => Kind::Dpr,
        Provider::Acr => Kind::Acr,
    }
}

/// What `--set` says.
fn given(set: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pairs = set.iter().map(|one| {
        // The value may be a secret.
        let (name, value) = one
            .split_once('=')
            .ok_or_else(|| Failure::Invalid("--set takes NAME=VALUE".to_owned()))?;
        let value = match value.strip_prefix('@') {
            Some(path) => read(path)?,
            None => value.to_owned(),
        };
        Ok((name.to_owned(), value))
    });
    pairs.collect()
}

fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| Failure::new(format!("{path} is not read: {error}")))
}

/// Whoever is asked.
struct Terminal<R> {
    input: R,
    asks: bool,
}

impl<R: BufRead> Terminal<R> {
    fn kinds(&mut self) -> Result<Vec<Kind>, Failure> {
        let mut kinds = Vec::new();
        for (kind, name) in [
            (Kind::Ecr, "Amazon's registries (ECR)"),
            (Kind::Gcr, "Google's registries (Artifact Registry, GCR)"),
            (Kind::Dpr, "a registry with a name and a password"),
            (Kind::Acr, "Azure's registries (ACR)"),
        ] {
            let answer = self.ask(&format!("Configure {name}? [y/N] "), false)?;
            if matches!(answer.as_str(), "y" | "Y" | "yes") {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }

    fn data(&mut self, kind: Kind, given: &mut BTreeMap<String, String>) -> Result<Data, Failure> {
        let mut data = Data::new();
        for key in kind.keys() {
            let value = match given.remove(key.name) {
                Some(value) => value,
                None if self.asks => self.value(key)?,
                None => continue,
            };
            if !value.is_empty() {
                data.insert(key.name.to_owned(), value.into_bytes());
            }
        }
        Ok(data)
    }

    fn value(&mut self, key: &Key) -> Result<String, Failure> {
        let is_file = key.name.ends_with(".json");
        let what = match (is_file, key.needed) {
            (true, _) => format!("Path of the {}: ", key.what),
            (false, true) => format!("{}: ", key.what),
            (false, false) => format!("{} (or nothing): ", key.what),
        };
        let answer = self.ask(&what, key.hidden && !is_file)?;
        match is_file && !answer.is_empty() {
            true => read(&answer),
            false => Ok(answer),
        }
    }

    fn ask(&mut self, what: &str, hidden: bool) -> Result<String, Failure> {
        let mut out = io::stderr();
        write!(out, "{what}")?;
        out.flush()?;
        let silence = hidden.then(Silence::begin).flatten();
        let mut line = String::new();
        let read = self.input.read_line(&mut line);
        if silence.is_some() {
            writeln!(out)?;
        }
        match read {
            Ok(0) => Err(Failure::new("the answers end here: nothing is written")),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(Failure::new(format!("nothing can be read: {error}"))),
        }
    }
}

/// What is typed is not shown, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        restore_when_broken_off(&before);
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Where it fails, there is no terminal any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Whoever breaks off at a password has the terminal as it was: not every shell brings it back.
fn restore_when_broken_off(before: &Termios) {
    static WATCHED: Once = Once::new();
    let before = before.clone();
    WATCHED.call_once(|| {
        let (ready, is_ready) = mpsc::channel();
        let watch = async move {
            let mut interrupt = signal(SignalKind::interrupt()).ok()?;
            let mut terminate = signal(SignalKind::terminate()).ok()?;
            // Whoever waited for it is gone at worst.
            let _ = ready.send(());
            tokio::select! {
                _ = interrupt.recv() => Some(130),
                _ = terminate.recv() => Some(143),
            }
        };
        let watching = std::thread::Builder::new().spawn(move || {
            let runtime = waiting().ok()?;
            let code = runtime.block_on(watch)?;
            // Where it fails, there is no terminal any more.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
            let _ = writeln!(io::stderr());
            std::process::exit(code)
        });
        // Where nobody can watch, a signal ends the process as it does by itself.
        let _: Option<std::thread::JoinHandle<Option<()>>> = watching.ok();
        let _ = is_ready.recv();
    });
}

fn print(flags: &Configure, secrets: &[(Kind, Data)]) -> Result<ExitCode, Failure> {
    let objects = secrets.iter().map(|(kind, data)| {
        let mut object = manifest(*kind, data);
        if let Some(namespace) = &flags.reach.namespace {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        object
    });
    let objects: Vec<_> = objects.collect();
    let text = serde_saphyr::to_string_multiple(&objects)
        .map_err(|error| Failure::new(format!("a bug: no YAML: {error}")))?;
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn manifest(kind: Kind, data: &Data) -> Value {
    let encoded = data
        .iter()
        .map(|(name, value)| (name.clone(), STANDARD.encode(value).into()));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": kind.source(), "labels": {
            "kubernetes.io/minikube-addons": "registry-creds", "cloud": kind.cloud(),
        }},
        "type": "Opaque",
        "data": Value::Object(encoded.collect()),
    })
}

async fn write(flags: &Configure, secrets: &[(Kind, Data)]) -> Result<ExitCode, Failure> {
    let access = access(&flags.reach)?;
    let connection = Connection::open(&access).await.map_err(Failure::new)?;
    let namespace = namespace(&flags.reach, &connection);
    for (kind, data) in secrets {
        let object = manifest(*kind, data);
        write_source(&connection, &namespace, kind.source(), &object)
            .await
            .map_err(Failure::new)?;
        writeln!(
            io::stdout(),
            "Secret {namespace}/{} is written",
            kind.source()
        )?;
    }
    if flags.reach.namespace.is_none() && namespace != "kube-system" {
        // A kubeconfig's namespace is hardly ever meant.
        let place = "Narthex reads them in its own namespace and in kube-system";
        writeln!(
            io::stderr(),
            "{place}: for another than {namespace}, give --namespace"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_not_asked_for_and_what_is_typed_is_taken() {
        let typed = "u\n\n";
        let mut terminal = Terminal {
            input: typed.as_bytes(),
            asks: true,
        };
        let mut given: BTreeMap<_, _> = [
            ("DOCKER_PRIVATE_REGISTRY_SERVER", "r.example"),
            ("DOCKER_PRIVATE_REGISTRY_PASSWORD", "p"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let data = terminal.data(Kind::Dpr, &mut given).expect("typed");
        assert!(given.is_empty());
        let object = manifest(Kind::Dpr, &data);
        assert_eq!(object["data"]["DOCKER_PRIVATE_REGISTRY_USER"], "dQ==");
        assert_eq!(
            object["data"]["DOCKER_PRIVATE_REGISTRY_SERVER"],
            "ci5leGFtcGxl"
        );
        assert_eq!(object["metadata"]["labels"]["cloud"], "private");
        let mut ended = Terminal {
            input: &b""[..],
            asks: true,
        };
        assert!(ended.data(Kind::Acr, &mut BTreeMap::new()).is_err());
    }
}
