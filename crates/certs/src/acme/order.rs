//! One order, from the names to the chain.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use instant_acme::{
    AuthorizationStatus, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::challenge::{Persist, answer, choose, written};
use super::{
    Account, Answer, Begun, Journal, Kind, Method, Solver, Trouble, Ways, Words, first, identifier,
};
use crate::ca::{Failed, Issued, KeyKind, alternative_name};
use crate::random::number;

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
    /// Orders a certificate, or goes on with what was begun, and waits for it. What `solver` was
    /// asked to put up is withdrawn when this ends, well or not. What `journal` keeps stays when
    /// there is a certificate: whoever keeps that forgets the order then. It stays too where the
    /// order may yet come to something.
    ///
    /// # Errors
    /// What is in the way, with the CA's words, of each name if it said so.
    pub async fn obtain(
        &self,
        wanted: &Wanted<'_>,
        solver: &impl Solver,
        journal: &impl Journal,
        patience: &Patience,
    ) -> Result<Issued, Trouble> {
        let identifiers = identifiers(wanted.names)?;
        self.check_profile(wanted.profile)?;
        let of = self.print(wanted);
        if let Some((mut order, key)) = self.take_up(of, journal).await? {
            let ended = self.end(&mut order, &key, wanted, solver, patience).await;
            match ended {
                Err(trouble) if !may_go_on(&mut order, &trouble) => {
                    // It may be for the end of whoever began it that the CA saw nothing.
                    tracing::info!(order = order.url(), %trouble, "an order is begun anew");
                }
                ended => return ended,
            }
        }
        let key = wanted.key.generate();
        let key = key.map_err(|error| Trouble::new(ORDERING, Kind::Local, error.to_string()))?;
        let mut order = self.order(wanted, &identifiers).await?;
        let begun = Begun {
            url: order.url().to_owned(),
            key: key.serialize_pem(),
            of,
            since: SystemTime::now(),
        };
        journal.keep(&begun).await;
        let ended = self.end(&mut order, &key, wanted, solver, patience).await;
        if let Err(trouble) = &ended
            && !may_go_on(&mut order, trouble)
        {
            journal.forget().await;
        }
        ended
    }

    /// A number of what is wanted that is another one for another order.
    fn print(&self, wanted: &Wanted<'_>) -> u64 {
        let mut names: Vec<String> = wanted.names.iter().map(|it| it.to_lowercase()).collect();
        names.sort_unstable();
        let key = format!("{:?}", wanted.key);
        let mut words = vec![self.inner.id().as_bytes(), key.as_bytes()];
        for more in [wanted.profile, wanted.replaces] {
            words.push(if more.is_some() { b"with" } else { b"without" });
            words.push(more.unwrap_or_default().as_bytes());
        }
        words.extend(names.iter().map(String::as_bytes));
        number(&words)
    }

    /// The order that was begun, whatever has become of it, if it may still come to something.
    async fn take_up(
        &self,
        of: u64,
        journal: &impl Journal,
    ) -> Result<Option<(Order, KeyPair)>, Trouble> {
        let Some(begun) = journal.begun().await else {
            return Ok(None);
        };
        // Requests are signed: another server than the account's is told nothing.
        if begun.of != of || origin(&begun.url).is_none() || origin(&begun.url) != origin(self.id())
        {
            return Ok(None);
        }
        let Ok(key) = KeyPair::from_pem(&begun.key) else {
            return Ok(None);
        };
        let taken = patiently!(self.inner.order(begun.url.clone()).await, |error| {
            Trouble::of(ORDERING, error)
        });
        match taken {
            Ok(mut order) => {
                let status = order.state().status;
                tracing::info!(order = begun.url, ?status, "going on with an order");
                Ok((status != OrderStatus::Invalid).then_some((order, key)))
            }
            // It may be there when the CA is.
            Err(trouble) if matches!(trouble.kind, Kind::Network | Kind::RateLimited) => {
                Err(trouble)
            }
            Err(trouble) => {
                tracing::info!(order = begun.url, %trouble, "an order is gone");
                Ok(None)
            }
        }
    }

    /// From wherever the order is to the certificate.
    async fn end(
        &self,
        order: &mut Order,
        key: &KeyPair,
        wanted: &Wanted<'_>,
        solver: &impl Solver,
        patience: &Patience,
    ) -> Result<Issued, Trouble> {
        if order.state().status == OrderStatus::Pending {
            let prepared = self.prepare(order, wanted.methods).await?;
            let methods = prepared.iter().map(|(method, _)| *method).collect();
            let answers: Vec<_> = prepared.into_iter().map(|(_, answer)| answer).collect();
            let shown = show(order, &answers, methods, solver, patience).await;
            solver.withdraw(&answers).await;
            shown?;
        }
        let issued = finalize(order, key, wanted, patience).await?;
        Ok(self.preferred(order, wanted, issued).await)
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

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<(String, String)> {
    let url: http::Uri = url.parse().ok()?;
    let authority = url.authority()?.as_str().to_ascii_lowercase();
    Some((url.scheme_str()?.to_owned(), authority))
}

/// Whether an order that came to nothing now may still do so: what stood in its way was not what
/// the CA thinks of it.
fn may_go_on(order: &mut Order, trouble: &Trouble) -> bool {
    order.state().status != OrderStatus::Invalid
        && matches!(
            trouble.kind,
            Kind::Network | Kind::RateLimited | Kind::Local | Kind::Server
        )
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
    let mut refused = None;
    let mut all = order.authorizations();
    let mut index = 0;
    while let Some(authorization) = all.next().await {
        let mut authorization = authorization.map_err(of)?;
        index += 1;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        // In the order in which they were prepared, from the same answers of the CA.
        let method = methods.next().map(Method::as_type);
        let challenge = method.and_then(|method| authorization.challenge(method));
        if let Some(mut challenge) = challenge
            // The CA is looking already, for whoever began this order.
            && challenge.status != ChallengeStatus::Processing
        {
            match patiently!(challenge.set_ready().await, of) {
                Ok(()) => {}
                Err(trouble) if trouble.kind == Kind::Refused => {
                    refused.get_or_insert((index, trouble));
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }
    if let Some((index, trouble)) = refused
        && is_pending(order, index).await
    {
        return Err(trouble);
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

/// Whether an authorization, of which the first is 1, still waits for its challenge: else the CA
/// has looked meanwhile, for whoever began this order.
async fn is_pending(order: &mut Order, index: usize) -> bool {
    let mut all = order.authorizations();
    let mut at = 0;
    while let Some(Ok(mut authorization)) = all.next().await {
        at += 1;
        if at == index {
            let now = authorization.refresh().await;
            return now.map_or(true, |now| now.status == AuthorizationStatus::Pending);
        }
    }
    true
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
    key: &KeyPair,
    wanted: &Wanted<'_>,
    patience: &Patience,
) -> Result<Issued, Trouble> {
    let of = |error| Trouble::of(FINALIZING, error);
    if order.state().status == OrderStatus::Ready {
        let request = request(key, wanted.names)
            .map_err(|error| Trouble::new(FINALIZING, Kind::Local, error.to_string()))?;
        match patiently!(order.finalize_csr(&request).await, of) {
            Ok(()) => {}
            Err(trouble) if is_not_ready(&trouble) => {
                // Somebody else has asked meanwhile, with the same key.
                patiently!(order.refresh().await.map(drop), of)?;
                if order.state().status == OrderStatus::Ready {
                    return Err(trouble);
                }
            }
            Err(trouble) => return Err(trouble),
        }
    }
    let chain = patiently!(order.poll_certificate(&patience.policy()).await, of)?;
    fits(&chain, key)?;
    Ok(Issued {
        chain,
        key: key.serialize_pem(),
        ca: None,
    })
}

fn is_not_ready(trouble: &Trouble) -> bool {
    let words = trouble.words.as_ref();
    words.is_some_and(|words| words.r#type == "orderNotReady")
}

/// The request for a certificate (RFC 2986), in DER.
fn request(key: &KeyPair, names: &[String]) -> Result<Vec<u8>, Failed> {
    let mut params = CertificateParams::default();
    // CAs put the name there that they want, if any.
    params.distinguished_name = DistinguishedName::new();
    let names = names.iter().map(|name| alternative_name(name));
    params.subject_alt_names = names.collect::<Result<_, _>>()?;
    Ok(params.serialize_request(key)?.der().to_vec())
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
