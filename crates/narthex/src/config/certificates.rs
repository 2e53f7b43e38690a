//! Which certificates are obtained, and from whom.

use std::path::Path;
use std::sync::Arc;

use certs::on_demand::{Asker, Rules};
use compile::{AcmeIssuer, CertificateOptions, DnsProvider, SolverPlan, Tsig, Way};

use super::Invalid;
use crate::flags::{self, Challenge};

/// The namespace of what is kept where there is no cluster.
pub(crate) const NAMESPACE: &str = "narthex";

/// The name of the account's Secret, for the issuer of the command line.
const ACCOUNT: &str = "narthex-acme-account";

/// The Secret with what ACME servers are to be shown.
pub(crate) const CHALLENGES: &str = "narthex-challenges";

/// The Secret with session tickets' keys.
pub(crate) const TICKETS: &str = "narthex-session-tickets";

/// What the flags say.
#[derive(Debug)]
pub(crate) struct Certificates {
    acme: Option<Box<AcmeIssuer>>,
    /// Which are obtained when clients ask for them, if any.
    pub(crate) on_demand: Option<OnDemand>,
    flags: flags::Certificates,
}

/// Which certificates are obtained when clients ask for them.
#[derive(Debug, Clone)]
pub(crate) struct OnDemand {
    pub(crate) rules: Rules,
    pub(crate) asker: Option<Arc<Asker>>,
}

impl Certificates {
    /// Reads the flags, and the files that they name.
    pub(crate) fn new(flags: &flags::Certificates) -> Result<Self, Invalid> {
        let acme = acme(flags)?.map(Box::new);
        let on_demand = on_demand(flags)?;
        if on_demand.is_some() && acme.is_none() {
            let message = "certificates on demand are the issuer acme's: give --acme-email and \
                --acme-agree-tos, or --acme-directory";
            return Err(Invalid(message.to_owned()));
        }
        Ok(Self {
            acme,
            on_demand,
            flags: flags.clone(),
        })
    }

    /// Whether certificates are obtained at all.
    pub(crate) fn are_obtained(&self, in_cluster: bool) -> bool {
        self.flags.obtain_certificates.unwrap_or(!in_cluster)
    }

    /// For the compiler; `namespace` is that of this pod, if there is one.
    pub(crate) fn options(&self, namespace: Option<&str>) -> CertificateOptions {
        let own = namespace.unwrap_or(NAMESPACE);
        let mut acme = self.acme.clone();
        if let Some(acme) = &mut acme {
            acme.account.0 = own.to_owned();
        }
        let resources = self.flags.cluster_resource_namespace.as_deref();
        let obtained = self.are_obtained(namespace.is_some());
        CertificateOptions {
            acme,
            acme_namespaces: self.flags.acme_namespaces.clone(),
            tickets: obtained.then(|| (own.to_owned(), TICKETS.to_owned())),
            challenges: obtained.then(|| (own.to_owned(), CHALLENGES.to_owned())),
            cluster_resources: resources.or(namespace).unwrap_or("cert-manager").to_owned(),
            serves_objects: self
                .flags
                .without_cert_manager
                .unwrap_or_else(|| namespace.is_none()),
        }
    }
}

fn on_demand(flags: &flags::Certificates) -> Result<Option<OnDemand>, Invalid> {
    let patterns = &flags.on_demand_names;
    if patterns.is_empty() && flags.on_demand_ask.is_none() {
        return Ok(None);
    }
    let is_label = |label: &str| {
        let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"-_*".contains(&it);
        !label.is_empty() && label.bytes().all(is_letter) && label.matches('*').count() <= 1
    };
    for pattern in patterns {
        if !pattern.contains('.') || !pattern.split('.').all(is_label) {
            return Err(Invalid(format!(
                "--on-demand-names {pattern:?} is no pattern of names: write one as \
                 *.example.org, where * is one label or a part of one"
            )));
        }
    }
    let asker = match &flags.on_demand_ask {
        Some(url) => {
            let asker = Asker::new(url);
            let asker = asker.map_err(|error| Invalid(format!("--on-demand-ask: {error}")))?;
            Some(Arc::new(asker))
        }
        None => None,
    };
    Ok(Some(OnDemand {
        rules: Rules {
            patterns: patterns.clone(),
            asks: asker.is_some(),
            hourly: flags.on_demand_per_hour,
            ..Rules::default()
        },
        asker,
    }))
}

fn acme(flags: &flags::Certificates) -> Result<Option<AcmeIssuer>, Invalid> {
    // The directory has a default, which alone is no wish.
    let is_default = flags
        .acme_directory
        .contains("api.letsencrypt.org/directory");
    if flags.acme_email.is_none() && is_default && !flags.acme_agree_tos {
        return Ok(None);
    }
    let external = match (&flags.acme_eab_key_id, &flags.acme_eab_key_file) {
        (Some(id), Some(file)) => {
            let key = read("--acme-eab-key-file", file)?;
            Some((id.clone(), key.trim().to_owned()))
        }
        _ => None,
    };
    let roots = match &flags.acme_ca_file {
        Some(file) => Some(read("--acme-ca-file", file)?.into_bytes()),
        None => None,
    };
    Ok(Some(AcmeIssuer {
        directory: flags.acme_directory.clone(),
        email: flags.acme_email.clone(),
        roots,
        terms_agreed: flags.acme_agree_tos,
        external,
        account: (NAMESPACE.to_owned(), ACCOUNT.to_owned()),
        profile: flags.acme_profile.clone(),
        preferred_chain: flags.acme_preferred_chain.clone(),
        solvers: solvers(flags)?,
    }))
}

fn solvers(flags: &flags::Certificates) -> Result<Vec<SolverPlan>, Invalid> {
    let provider = provider(flags)?;
    let ways = match (flags.acme_challenge.as_slice(), &provider) {
        ([], Some(_)) => &[Challenge::Dns][..],
        ([], None) => &[Challenge::Http, Challenge::Tls],
        (ways, _) => ways,
    };
    let mut solvers = Vec::new();
    for way in ways {
        let way = match (way, &provider) {
            (Challenge::Http, _) => Way::Http,
            (Challenge::Tls, _) => Way::TlsAlpn,
            (Challenge::DnsPersist, _) => Way::DnsPersist,
            (Challenge::Dns, Some(provider)) => Way::Dns(provider.clone()),
            (Challenge::Dns, None) => {
                let message = "--acme-challenge dns needs somebody who sets records: give one of \
                    --acme-dns-server, --acme-dns-exec and --acme-dns-webhook";
                return Err(Invalid(message.to_owned()));
            }
        };
        solvers.push(SolverPlan {
            dns_names: Vec::new(),
            dns_zones: Vec::new(),
            way,
        });
    }
    Ok(solvers)
}

fn provider(flags: &flags::Certificates) -> Result<Option<DnsProvider>, Invalid> {
    if let Some(server) = &flags.acme_dns_server {
        let tsig = match &flags.acme_dns_key_file {
            Some(file) => Some(tsig(file)?),
            None => None,
        };
        return Ok(Some(DnsProvider::Rfc2136 {
            server: server.clone(),
            tsig,
        }));
    }
    if let Some(program) = &flags.acme_dns_exec {
        let program = program.to_str().map(str::to_owned);
        let program = program.ok_or_else(|| Invalid("--acme-dns-exec is no UTF-8".to_owned()))?;
        return Ok(Some(DnsProvider::Exec { program }));
    }
    Ok(flags
        .acme_dns_webhook
        .clone()
        .map(|url| DnsProvider::Webhook { url }))
}

/// `key "name" { algorithm hmac-sha256; secret "…"; };`
fn tsig(file: &Path) -> Result<Tsig, Invalid> {
    let text = read("--acme-dns-key-file", file)?;
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "{};\"".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1).map(|word| (*word).to_owned())
    };
    match (after("key"), after("algorithm"), after("secret")) {
        (Some(name), Some(algorithm), Some(secret)) => Ok(Tsig {
            name,
            algorithm,
            secret,
        }),
        _ => Err(Invalid(format!(
            "--acme-dns-key-file {}: this is no key: what tsig-keygen writes is",
            file.display()
        ))),
    }
}

fn read(flag: &str, file: &Path) -> Result<String, Invalid> {
    let text = std::fs::read_to_string(file);
    text.map_err(|error| Invalid(format!("{flag} {}: {error}", file.display())))
}
