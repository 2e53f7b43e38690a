//! One order, from the names to the chain.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use instant_acme::{
    AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenge::{Persist, answer, choose, written};
use super::{Account, Answer, Kind, Method, Solver, Trouble, Ways, Words, first, identifier};
use crate::ca::{Failed, Issued, KeyKind, alternative_name};

const ORDERING: &str = "ordering";
const AUTHORIZING: &str = "showing that the names are ours";
const FINALIZING: &str = "getting the certificate";

/// How often an order's step is taken again whose nonce was refused, after instant-acme has tried
/// three times (RFC 8555, section 6.5): one that is begun is worth it.
const NONCES: usize = 8;

/// Takes a step, again where only its nonce was refused.
macro_rules! patiently {
    ($step:expr, $of:expr) => {{
        let mut left = NONCES;
        loop {
            match $step.map_err($of) {
                Err(trouble) if trouble.is_bad_nonce() && left > 0 => left -= 1,
                ended => break ended,
            }
        }
    }};
}

/// What is ordered.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// DNS names, wildcards and IP addresses; at least one.
    pub names: &'a [String],
    /// The kind of certificate, of those that the CA offers (draft-ietf-acme-profiles).
    pub profile: Option<&'a str>,
    /// The chain of the certificate that this one follows (RFC 9773, section 5).
    pub replaces: Option<&'a str>,
    /// How the names may be shown to be ours.
    pub methods: Ways<'a>,
    /// A new key for each certificate.
    pub key: KeyKind,
    /// Of several chains, the one whose highest certificate is issued by this common name; the
    /// CA's first one if there is none such.
    pub preferred_chain: Option<&'a str>,
}

/// How long a CA may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between the first two questions; doubled each time. What the CA asks for comes first.
    pub first: Duration,
    /// For validation, and again for the certificate.
    pub longest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(300),
        }
    }
}

impl Patience {
    fn policy(&self) -> RetryPolicy {
        let policy = RetryPolicy::new().initial_delay(self.first);
        policy.backoff(1.5).timeout(self.longest)
    }
}

impl Account {
    /// Orders a certificate and waits for it. What `solver` was asked to put up is withdrawn when
    /// this ends, well or not.
    ///
    /// # Errors
    /// What is in the way, with the CA's words, of each name if it said so.
    pub async fn obtain(
        &self,
        wanted: &Wanted<'_>,
        solver: &impl Solver,
        patience: &Patience,
    ) -> Result<Issued, Trouble> {
        let identifiers = identifiers(wanted.names)?;
        self.check_profile(wanted.profile)?;
        let mut order = self.order(wanted, &identifiers).await?;
        let mut answers = Vec::new();
        // `Processing` and `Valid` cannot be yet: nothing was finalized.
        if order.state().status != OrderStatus::Ready {
            let prepared = self.prepare(&mut order, wanted.methods).await?;
            let methods = prepared.iter().map(|(method, _)| *method).collect();
            answers = prepared.into_iter().map(|(_, answer)| answer).collect();
            let shown = show(&mut order, &answers, methods, solver, patience).await;
            solver.withdraw(&answers).await;
            shown?;
        }
        drop(answers);
        let issued = finalize(&mut order, wanted, patience).await?;
        Ok(self.preferred(&mut order, wanted, issued).await)
    }

    /// With the chain that is preferred. That it cannot be had is no reason to have none.
    async fn preferred(&self, order: &mut Order, wanted: &Wanted<'_>, issued: Issued) -> Issued {
        let (Some(issuer), Some(signing)) = (wanted.preferred_chain, &self.signing) else {
            return issued;
        };
        let Some(url) = order.state().certificate.clone() else {
            return issued;
        };
        match signing.preferred(&url, issuer).await {
            Ok(chain) if first(FINALIZING, &chain) == first(FINALIZING, &issued.chain) => {
                Issued { chain, ..issued }
            }
            // Another certificate altogether does not fit the key.
            Ok(_) => issued,
            Err(error) => {
                tracing::warn!(%error, "the preferred chain cannot be had: the CA's own is served");
                issued
            }
        }
    }

    fn check_profile(&self, profile: Option<&str>) -> Result<(), Trouble> {
        let Some(profile) = profile else {
            return Ok(());
        };
        let offered: Vec<&str> = self.inner.profiles().map(|offered| offered.name).collect();
        if offered.contains(&profile) {
            return Ok(());
        }
        let message = match offered.as_slice() {
            [] => format!("the CA has no profiles, so not {profile:?} either"),
            _ => format!(
                "the CA has no profile {profile:?}, but {}",
                offered.join(", ")
            ),
        };
        Err(Trouble::new(ORDERING, Kind::Unsupported, message))
    }

    /// The order, said to replace the certificate before if the CA hears of such things. One that
    /// it does not accept as replaced (any more) is no reason to have none.
    async fn order(
        &self,
        wanted: &Wanted<'_>,
        identifiers: &[Identifier],
    ) -> Result<Order, Trouble> {
        let new = || {
            let new = NewOrder::new(identifiers);
            match wanted.profile {
                Some(profile) => new.profile(profile),
                None => new,
            }
        };
        let before = wanted
            .replaces
            .and_then(|chain| first(ORDERING, chain).ok());
        if let Some(id) = before.as_ref().and_then(identifier) {
            let replacing = self.inner.new_order(&new().replaces(id)).await;
            match replacing.map_err(|error| Trouble::of(ORDERING, error)) {
                Ok(order) => return Ok(order),
                // A limit, a refused name or an unreachable CA would be no other without it.
                Err(trouble) if !is_about_replacing(&trouble) => return Err(trouble),
                Err(_) => {}
            }
        }
        let order = self.inner.new_order(&new()).await;
        order.map_err(|error| Trouble::of(ORDERING, error))
    }

    /// What is to be put up for each name that the CA wants to see, and by which method.
    async fn prepare(
        &self,
        order: &mut Order,
        ways: Ways<'_>,
    ) -> Result<Vec<(Method, Answer)>, Trouble> {
        let mut prepared = Vec::new();
        let mut all = order.authorizations();
        while let Some(authorization) = all.next().await {
            let mut authorization = authorization.map_err(|e| Trouble::of(AUTHORIZING, e))?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let identifier = authorization.identifier();
            let name = identifier.to_string();
            let (identifier, is_wildcard) = (identifier.identifier.clone(), identifier.wildcard);
            let methods = ways.of(&written(
                &identifier.authorized(false).to_string(),
                is_wildcard,
            ));
            let offered = authorization.challenges.iter().map(|it| &it.r#type);
            let method = choose(&methods, offered.clone(), &identifier, is_wildcard);
            let offered: Vec<String> = offered.map(|it| format!("{it:?}")).collect();
            let Some(method) = method else {
                let ours: Vec<_> = methods.iter().map(|method| method.name()).collect();
                let message = format!(
                    "no way to show that {name} is ours: the CA offers {}, here is {}",
                    offered.join(", "),
                    ours.join(", ")
                );
                return Err(Trouble::new(AUTHORIZING, Kind::Unsupported, message));
            };
            // It is among those offered.
            let Some(challenge) = authorization.challenge(method.as_type()) else {
                continue;
            };
            let persist = Persist {
                ca: self.ca.as_deref().unwrap_or_default(),
                account: self.inner.id(),
            };
            if method == Method::DnsPersist01 && persist.ca.is_empty() {
                let message = "the CA does not say its own name, which the record needs";
                return Err(Trouble::new(AUTHORIZING, Kind::Unsupported, message));
            }
            let name = (&identifier, is_wildcard);
            let key = challenge.key_authorization();
            let now = SystemTime::now();
            let answer = answer(method, name, &challenge.token, &key, &persist, now);
            let answer = answer
                .map_err(|error| Trouble::new(AUTHORIZING, Kind::Local, error.to_string()))?;
            prepared.push((method, answer));
        }
        Ok(prepared)
    }
}

/// Whether it may be for the word `replaces` that an order was refused.
fn is_about_replacing(trouble: &Trouble) -> bool {
    matches!(
        trouble.kind,
        Kind::AlreadyReplaced | Kind::Unsupported | Kind::Refused | Kind::Unauthorized
    ) || (trouble.kind == Kind::Server && trouble.words.is_none())
}

/// Puts the answers up and waits until the CA has looked at all of them.
async fn show(
    order: &mut Order,
    answers: &[Answer],
    methods: Vec<Method>,
    solver: &impl Solver,
    patience: &Patience,
) -> Result<(), Trouble> {
    let presented = solver.present(answers).await;
    presented.map_err(|error| Trouble::new(AUTHORIZING, Kind::Local, error))?;
    let of = |error| Trouble::of(AUTHORIZING, error);
    let mut methods = methods.into_iter();
    let mut all = order.authorizations();
    while let Some(authorization) = all.next().await {
        let mut authorization = authorization.map_err(of)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        // In the order in which they were prepared, from the same answers of the CA.
        let method = methods.next().map(Method::as_type);
        let challenge = method.and_then(|method| authorization.challenge(method));
        if let Some(mut challenge) = challenge {
            patiently!(challenge.set_ready().await, of)?;
        }
    }
    let trouble = match patiently!(order.poll_ready(&patience.policy()).await, of) {
        Ok(OrderStatus::Ready) => return Ok(()),
        Ok(_) => Trouble::new(AUTHORIZING, Kind::Unauthorized, "the order is invalid"),
        Err(trouble) => trouble,
    };
    if matches!(trouble.kind, Kind::Network | Kind::RateLimited) {
        return Err(trouble);
    }
    Err(explained(order, trouble).await)
}

/// With what the CA says of each challenge: the order itself seldom says what was wrong.
async fn explained(order: &mut Order, trouble: Trouble) -> Trouble {
    let mut about = Vec::new();
    let mut all = order.authorizations();
    while let Some(Ok(mut authorization)) = all.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let name = authorization.identifier().to_string();
        for challenge in &authorization.challenges {
            if let (ChallengeStatus::Invalid, Some(problem)) =
                (challenge.status, challenge.error.clone())
            {
                let Words { r#type, detail, .. } = Words::from(problem);
                let by = method_name(&challenge.r#type);
                about.push(super::About {
                    name: Some(name.clone()),
                    r#type,
                    detail: format!("{detail} (by {by})"),
                });
            }
        }
    }
    let Some(one) = about.first() else {
        return trouble;
    };
    let words = match trouble.words {
        Some(mut words) => {
            words.about.append(&mut about);
            *words
        }
        None => Words {
            r#type: one.r#type.clone(),
            detail: "validation failed".to_owned(),
            about,
        },
    };
    Trouble::told(trouble.doing, words, None, trouble.not_before)
}

fn method_name(of: &ChallengeType) -> &str {
    match of {
        ChallengeType::Http01 => Method::Http01.name(),
        ChallengeType::TlsAlpn01 => Method::TlsAlpn01.name(),
        ChallengeType::Dns01 => Method::Dns01.name(),
        ChallengeType::Unknown(name) => name,
        _ => "another way",
    }
}

/// Sends the request for the certificate, and waits for it.
async fn finalize(
    order: &mut Order,
    wanted: &Wanted<'_>,
    patience: &Patience,
) -> Result<Issued, Trouble> {
    let local = |error: Failed| Trouble::new(FINALIZING, Kind::Local, error.to_string());
    let key = wanted.key.generate().map_err(local)?;
    let mut params = CertificateParams::default();
    // CAs put the name there that they want, if any.
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = wanted
        .names
        .iter()
        .map(|name| alternative_name(name))
        .collect::<Result<_, _>>()
        .map_err(local)?;
    let request = params.serialize_request(&key);
    let request = request.map_err(|error| local(error.into()))?;
    let of = |error| Trouble::of(FINALIZING, error);
    patiently!(order.finalize_csr(request.der()).await, of)?;
    let chain = patiently!(order.poll_certificate(&patience.policy()).await, of)?;
    fits(&chain, &key)?;
    Ok(Issued {
        chain,
        key: key.serialize_pem(),
        ca: None,
    })
}

/// What a CA sends is served to clients: it is looked at before.
fn fits(chain: &str, key: &KeyPair) -> Result<(), Trouble> {
    let wrong = |message: &str| Trouble::new(FINALIZING, Kind::Server, message);
    let der = first(FINALIZING, chain)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der)
        .map_err(|_| wrong("the CA sent a certificate that cannot be read"))?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(wrong("the CA sent a certificate of another key"));
    }
    Ok(())
}

fn identifiers(names: &[String]) -> Result<Vec<Identifier>, Trouble> {
    let local = |message| Trouble::new(ORDERING, Kind::Local, message);
    if names.is_empty() {
        return Err(local("there is no name to certify".to_owned()));
    }
    let identifier = |name: &String| {
        alternative_name(name).map_err(|error| local(error.to_string()))?;
        Ok(match name.parse::<IpAddr>() {
            Ok(address) => Identifier::Ip(address),
            Err(_) => Identifier::Dns(name.to_ascii_lowercase()),
        })
    };
    names.iter().map(identifier).collect()
}
