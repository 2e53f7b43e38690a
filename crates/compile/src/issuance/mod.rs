//! Which certificates are to be obtained, and from whom: what annotations of Ingresses, Gateways
//! and ListenerSets, and Certificate objects ask for, with the issuers that they name.
//!
//! Nothing is obtained here. [`asks`] reads one object; [`issuers`] finds who certifies;
//! [`challenges`] has what an ACME server is to be shown.

mod asks;
mod challenges;
mod issuers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use objects::kinds::{Kind, ObjectKey};
use objects::{Problem, Sorted, Store};

use crate::gateway::Share;
use crate::ingress::key;
use crate::ingress::list::Replaced;
use crate::name::Name;
use crate::on_demand::OnDemand;
use crate::options::Options;
use crate::report::{ObjectReport, Problems};
use crate::seen::Changes;
use crate::status::{ByObject, ObjectStatus};
use asks::Ask;

pub(crate) use asks::{OWN, expected_from};
pub(crate) use challenges::Answers;
pub use issuers::{AcmeIssuer, DnsProvider, IssuerPlan, SolverPlan, Tsig, Way};

/// A certificate that is to be obtained and kept in a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWish {
    /// The Secret's namespace.
    pub namespace: Box<str>,
    /// The Secret's name.
    pub secret: Box<str>,
    /// DNS names, wildcards and addresses, sorted, each once.
    pub names: Box<[Box<str>]>,
    /// Who certifies.
    pub issuer: IssuerKey,
    /// On what terms.
    pub terms: Terms,
    /// Who asks, in order.
    pub asked_by: Box<[ObjectKey]>,
    /// Whether a Certificate object has the same Secret: cert-manager's, where it runs.
    pub is_of_cert_manager: bool,
}

/// Who certifies. Shows as people write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKey {
    /// An Issuer of the same namespace.
    Issuer {
        /// Its namespace.
        namespace: Box<str>,
        /// Its name.
        name: Box<str>,
    },
    /// A ClusterIssuer.
    ClusterIssuer {
        /// Its name.
        name: Box<str>,
    },
    /// The ACME server of the command line.
    Acme,
    /// An authority of our own.
    Internal,
    /// Each certificate by its own key.
    SelfSigned,
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer { namespace, name } => write!(f, "Issuer {namespace}/{name}"),
            Self::ClusterIssuer { name } => write!(f, "ClusterIssuer {name}"),
            Self::Acme => f.write_str("acme"),
            Self::Internal => f.write_str("internal"),
            Self::SelfSigned => f.write_str("self-signed"),
        }
    }
}

/// On what terms a certificate is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// What its key is.
    pub key: KeyAlgorithm,
    /// How long before its end it is renewed; none is after two thirds of its life.
    pub renew_before: Option<Duration>,
    /// How long it is to be valid, where the issuer lets one choose.
    pub lifetime: Option<Duration>,
    /// What it is for.
    pub usage: Usage,
    /// Its subject's common name.
    pub common_name: Option<Box<str>>,
    /// The ACME server's profile; none is the issuer's.
    pub profile: Option<Box<str>>,
}

/// What a certificate's key is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// RSA of 2048 bits.
    Rsa2048,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Usage {
    /// Servers.
    #[default]
    Server,
    /// Clients.
    Client,
    /// Both.
    Both,
}

/// What is to be obtained, from one compilation to the next.
#[derive(Debug, Default)]
pub(crate) struct Issuance {
    /// What each object asks for, if it does or tries to.
    asks: BTreeMap<ObjectKey, Asked>,
    /// What clients ask for.
    demands: Arc<[OnDemand]>,
    /// Whether that is another list than was last put together.
    are_demands_new: bool,
    wishes: Arc<[CertificateWish]>,
    issuers: Arc<BTreeMap<IssuerKey, IssuerPlan>>,
    /// What the issuers refer to, and where challenges are.
    references: BTreeSet<ObjectKey>,
    reports: BTreeMap<ObjectKey, Arc<[Problem]>>,
}

/// What one object asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    asks: Vec<Ask>,
    problems: Arc<[Problem]>,
}

impl Issuance {
    /// What is to be obtained, by Secret; the same `Arc` as last time if it is the same.
    pub(crate) fn wishes(&self) -> Arc<[CertificateWish]> {
        Arc::clone(&self.wishes)
    }

    /// From whom; likewise.
    pub(crate) fn issuers(&self) -> Arc<BTreeMap<IssuerKey, IssuerPlan>> {
        Arc::clone(&self.issuers)
    }

    /// The Secrets that this refers to.
    pub(crate) fn references(&self) -> &BTreeSet<ObjectKey> {
        &self.references
    }

    /// What is wrong with what an object asks for.
    pub(crate) fn report(&self, object: &ObjectKey) -> Option<Arc<[Problem]>> {
        self.reports.get(object).cloned()
    }

    /// Takes over what clients ask for.
    pub(crate) fn demand(&mut self, all: &Arc<[OnDemand]>) {
        if !Arc::ptr_eq(&self.demands, all) {
            self.demands = Arc::clone(all);
            self.are_demands_new = true;
        }
    }

    /// Takes over what changed. The objects of which something else is to be said.
    pub(crate) fn update(
        &mut self,
        store: &Store,
        changes: &Changes,
        replaced: &[Replaced],
        gateways: (&Sorted<ObjectStatus, ByObject>, &Share),
        options: &Options,
    ) -> BTreeSet<ObjectKey> {
        let mut changed = self.take_ingresses(replaced);
        changed |= std::mem::take(&mut self.are_demands_new);
        let is_of_gateways =
            |key: &ObjectKey| !matches!(key.kind, Kind::HttpRoute | Kind::GrpcRoute);
        if changes.classes || changes.gateway.iter().any(is_of_gateways) {
            changed |= self.take_gateways(store, gateways);
        }
        if changes.issuers && options.certificates.serves_objects {
            changed |= self.take_certificates(store);
        }
        let refers = |name: &Name| {
            let key = ObjectKey::new(Kind::Secret, &name.namespace, &name.name);
            self.references.contains(&key)
        };
        let mut stale = BTreeSet::new();
        if changed || changes.issuers || changes.secrets.iter().any(refers) {
            stale = self.settle(store, options);
        }
        stale
    }

    fn take_ingresses(&mut self, replaced: &[Replaced]) -> bool {
        let mut changed = false;
        for one in replaced {
            let (old, new) = (one.old.as_deref(), one.new.as_deref());
            if let Some(new) = new {
                let source = &new.parsed.source;
                changed |= self.put(key(source), asks::of_ingress(&new.parsed));
            } else if let Some(old) = old {
                changed |= self.put(key(&old.parsed.source), Asked::default());
            }
        }
        changed
    }

    fn take_gateways(
        &mut self,
        store: &Store,
        (statuses, share): (&Sorted<ObjectStatus, ByObject>, &Share),
    ) -> bool {
        let listening = [Kind::Gateway, Kind::ListenerSet];
        let ours = statuses.iter().map(|status| &status.object);
        let ours = ours.filter(|key| listening.contains(&key.kind) && share.has(key));
        let ours: BTreeSet<&ObjectKey> = ours.collect();
        let gone = self.asks.keys();
        let gone = gone.filter(|key| listening.contains(&key.kind) && !ours.contains(key));
        let gone: Vec<ObjectKey> = gone.cloned().collect();
        let mut changed = !gone.is_empty();
        for key in gone {
            self.asks.remove(&key);
        }
        for key in ours {
            changed |= self.put(key.clone(), asks::of_gateway(store, key));
        }
        changed
    }

    fn take_certificates(&mut self, store: &Store) -> bool {
        let before: Vec<ObjectKey> = self.of_kind(Kind::Certificate).cloned().collect();
        let mut changed = false;
        for key in before {
            if store.get(&key).is_none() {
                changed |= self.put(key, Asked::default());
            }
        }
        for certificate in store.certificates() {
            let name = crate::name::NameRef::of(&certificate.metadata);
            let key = ObjectKey::new(Kind::Certificate, name.namespace, name.name);
            changed |= self.put(key.clone(), asks::of_certificate(certificate, key));
        }
        changed
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
        self.asks.keys().filter(move |key| key.kind == kind)
    }

    /// Whether that is another thing than before.
    fn put(&mut self, key: ObjectKey, asked: Asked) -> bool {
        if asked == Asked::default() {
            return self.asks.remove(&key).is_some();
        }
        match self.asks.insert(key.clone(), asked) {
            Some(former) => self.asks.get(&key) != Some(&former),
            None => true,
        }
    }

    /// Puts what all objects ask for together.
    fn settle(&mut self, store: &Store, options: &Options) -> BTreeSet<ObjectKey> {
        let mut by_secret: BTreeMap<Name, Vec<(&ObjectKey, &Ask)>> = BTreeMap::new();
        for (object, asked) in &self.asks {
            for ask in &asked.asks {
                let name = Name::new(&object.namespace, &ask.secret);
                by_secret.entry(name).or_default().push((object, ask));
            }
        }
        let mut problems: BTreeMap<ObjectKey, Vec<Arc<[Problem]>>> = BTreeMap::new();
        for (object, asked) in &self.asks {
            if !asked.problems.is_empty() {
                let of = problems.entry(object.clone()).or_default();
                of.push(Arc::clone(&asked.problems));
            }
        }
        let mut issuers = BTreeMap::new();
        let mut references: BTreeSet<_> = challenges::reference(options).into_iter().collect();
        let mut wishes = Vec::with_capacity(by_secret.len());
        let owners: BTreeSet<Name> = store.certificates().map(|it| secret_of(it)).collect();
        for (name, all) in by_secret {
            let Some((first, ask)) = all.first() else {
                continue;
            };
            for (object, other) in &all[1..] {
                if other.issuer != ask.issuer || other.terms != ask.terms {
                    let mut said = Problems::of((*object).clone());
                    let message = format!(
                        "Secret {name} is obtained as {first} asks, from {}",
                        ask.issuer
                    );
                    said.warning(&*other.field, message, "another Secret, or the same issuer");
                    let of = problems.entry((*object).clone()).or_default();
                    of.push(said.into_shared());
                }
            }
            let refused = issuers::allow(&ask.issuer, &name.namespace, store, options)
                .err()
                .or_else(|| {
                    let plan = issuers.entry(ask.issuer.clone());
                    let plan = plan.or_insert_with(|| {
                        issuers::find(&ask.issuer, store, options, &mut references)
                    });
                    plan.as_ref().err().cloned()
                });
            if let Some(refused) = refused {
                let mut said = Problems::of((*first).clone());
                let message = format!("Secret {name} is not obtained: {}", refused.message);
                said.error(&*ask.field, message, refused.hint);
                let of = problems.entry((*first).clone()).or_default();
                of.push(said.into_shared());
                continue;
            }
            let names: BTreeSet<&Box<str>> = all
                .iter()
                .filter(|(_, other)| other.issuer == ask.issuer && other.terms == ask.terms)
                .flat_map(|(_, other)| &other.names)
                .collect();
            wishes.push(CertificateWish {
                names: names.into_iter().cloned().collect(),
                issuer: ask.issuer.clone(),
                terms: ask.terms.clone(),
                asked_by: all.iter().map(|(object, _)| (*object).clone()).collect(),
                is_of_cert_manager: !options.certificates.serves_objects && owners.contains(&name),
                namespace: name.namespace,
                secret: name.name,
            });
        }
        if !self.demands.is_empty() {
            let plan = issuers.entry(IssuerKey::Acme);
            let plan = plan.or_insert_with(|| {
                issuers::find(&IssuerKey::Acme, store, options, &mut references)
            });
            if plan.is_ok() {
                wishes.extend(self.demands.iter().map(OnDemand::wish));
                // Stable: what an object asks for is before what clients do.
                wishes.sort_by(|a, b| place(a).cmp(&place(b)));
                wishes.dedup_by(|b, a| place(a) == place(b));
            }
            references.extend(self.demands.iter().map(OnDemand::reference));
        }
        let issuers: BTreeMap<_, _> = issuers
            .into_iter()
            .filter_map(|(key, plan)| Some((key, plan.ok()?)))
            .collect();
        renew(&mut self.wishes, wishes);
        if *self.issuers != issuers {
            self.issuers = Arc::new(issuers);
        }
        self.references = references;
        self.say(problems)
    }

    fn say(&mut self, problems: BTreeMap<ObjectKey, Vec<Arc<[Problem]>>>) -> BTreeSet<ObjectKey> {
        let reports: BTreeMap<ObjectKey, Arc<[Problem]>> = problems
            .into_iter()
            .map(|(key, parts)| {
                (
                    key,
                    parts.iter().flat_map(|part| part.iter().cloned()).collect(),
                )
            })
            .collect();
        let all: BTreeSet<&ObjectKey> = self.reports.keys().chain(reports.keys()).collect();
        let differ = all
            .into_iter()
            .filter(|key| self.reports.get(*key) != reports.get(*key));
        let stale = differ.cloned().collect();
        self.reports = reports;
        stale
    }

    /// What is said of an object that only asks.
    pub(crate) fn describe(&self, object: &ObjectKey) -> Option<ObjectReport> {
        let said = self.report(object)?;
        Some(ObjectReport::new(object.clone(), false, [said]))
    }
}

fn secret_of(certificate: &objects::kinds::Certificate) -> Name {
    let name = crate::name::NameRef::of(&certificate.metadata);
    Name::new(name.namespace, &certificate.spec.secret_name)
}

fn place(wish: &CertificateWish) -> (&str, &str) {
    (&wish.namespace, &wish.secret)
}

fn renew(list: &mut Arc<[CertificateWish]>, now: Vec<CertificateWish>) {
    if **list != *now {
        *list = now.into();
    }
}
