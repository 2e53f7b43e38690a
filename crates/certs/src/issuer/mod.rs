//! The issuers of a configuration as one source: ACME servers, authorities, and none at all.
//!
//! [`Issuers::set`] says whom there is; a [`Wish`] names one of them. What an issuer has to keep,
//! an account's key or our own authority, is in [`Papers`], so that replicas share it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use crate::acme::{self, Journal, Kind, RenewalInfo, RevocationReason, Solver, Trouble};
use crate::ca::{self, Issued, Request, Terms};
use crate::keeper::{Setback, Source, Wish};
use crate::methods::{Methods, Way};
use crate::random::number;
use crate::vault::Papers;

mod account;
mod internal;
mod orders;
mod router;

use account::Slot;
pub use orders::ORDERS;
use orders::Order;
use router::Router;

/// How long a certificate of our own authorities is valid if nobody says.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Where our own authority is kept: an id of the papers, without a namespace, which whoever keeps
/// them adds.
pub const INTERNAL: &str = "narthex-authority";

/// How a certificate is to be got.
pub enum Issuer {
    /// From an ACME server.
    Acme(Box<Acme>),
    /// From an authority's Secret.
    Authority {
        /// `tls.crt`: its certificate first, then those above it.
        chain: String,
        /// `tls.key`.
        key: String,
    },
    /// From our own root and intermediate, kept in the papers under [`INTERNAL`].
    Internal,
    /// Signed with its own key.
    SelfSigned,
}

/// An ACME server, and how its certificates are to be got.
pub struct Acme {
    /// Who asks whom.
    pub settings: acme::Settings,
    /// The connection to it.
    pub wire: acme::Wire,
    /// Where the account's key is kept: an id of the papers.
    pub account: String,
    /// The kind of certificate, unless a wish has one of its own.
    pub profile: Option<String>,
    /// Of several chains, the one whose highest certificate is issued by this name.
    pub preferred_chain: Option<String>,
    /// How names are shown to be ours.
    pub methods: Methods,
}

// Keys are nobody's to see in a log.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acme(acme) => acme.fmt(f),
            Self::Authority { .. } => f.write_str("Authority"),
            Self::Internal => f.write_str("Internal"),
            Self::SelfSigned => f.write_str("SelfSigned"),
        }
    }
}

impl Issuer {
    /// A number that is another one for another issuer. Made of nothing secret: it is kept where
    /// others may read it.
    fn print(&self) -> u64 {
        match self {
            Self::Acme(acme) => {
                let settings = &acme.settings;
                let external = settings.external.as_ref().map(|it| &it.key_id);
                let parts = (&settings.emails, settings.terms_agreed, external);
                let how = format!("{parts:?} {:?} {:?}", acme.profile, acme.methods);
                number(&[settings.directory.as_bytes(), how.as_bytes()])
            }
            Self::Authority { chain, .. } => number(&[chain.as_bytes()]),
            Self::Internal => 1,
            Self::SelfSigned => 2,
        }
    }
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme")
            .field("directory", &self.settings.directory)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

/// Issuers by name.
pub struct Issuers<P, S> {
    papers: P,
    solver: S,
    known: RwLock<HashMap<String, Known>>,
    terms: Terms,
    /// Held while what is kept of orders is written.
    writing: tokio::sync::Mutex<()>,
    /// Our own authority's roots, as last read.
    bundle: Mutex<Option<String>>,
}

impl<P, S> fmt::Debug for Issuers<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers").finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Known {
    issuer: Result<Arc<Issuer>, String>,
    /// The account at an ACME server.
    slot: Arc<Slot>,
}

impl<P: Papers, S: Solver> Issuers<P, S> {
    /// See [`INTERNAL`].
    pub const INTERNAL: &'static str = INTERNAL;

    /// None yet. `solver` puts up what the proxy answers, HTTP-01 and TLS-ALPN-01; records are set
    /// as each issuer's [`Methods`] say.
    pub fn new(papers: P, solver: S) -> Self {
        Self {
            papers,
            solver,
            known: RwLock::default(),
            terms: Terms::default(),
            writing: tokio::sync::Mutex::default(),
            bundle: Mutex::default(),
        }
    }

    /// With an authority of our own that is valid for so long.
    pub fn with_terms(self, terms: Terms) -> Self {
        Self { terms, ..self }
    }

    /// Replaces what is known. An issuer that cannot be used has the reason, which is told to
    /// whoever wants its certificates. Accounts stay open where nothing changed.
    pub fn set(&self, issuers: HashMap<String, Result<Arc<Issuer>, String>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *known);
        let with_slot = |(name, issuer): (String, Result<Arc<Issuer>, String>)| {
            let kept = before.remove(&name).filter(|it| same_account(it, &issuer));
            let slot = kept.map(|it| it.slot).unwrap_or_default();
            (name, Known { issuer, slot })
        };
        *known = issuers.into_iter().map(with_slot).collect();
    }

    /// Revokes the first certificate of a chain that this issuer made.
    ///
    /// # Errors
    /// The issuer is not known, does not revoke, or refuses to.
    pub async fn revoke(
        &self,
        issuer: &str,
        chain: &str,
        reason: RevocationReason,
    ) -> Result<(), Setback> {
        let known = self.find(issuer)?;
        let Issuer::Acme(acme) = &*known.1 else {
            return Err(setback(format!(
                "the issuer {issuer} keeps no list of revoked certificates: its certificates are \
                 over when they end, or when their authority is replaced"
            )));
        };
        let account = known.0.account(&self.papers, acme, None).await?;
        Ok(account.revoke(chain, reason).await?)
    }

    /// The slot and the issuer of this name.
    fn find(&self, name: &str) -> Result<(Arc<Slot>, Arc<Issuer>), Setback> {
        let all = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = all.get(name) else {
            return Err(setback(format!("there is no issuer {name}")));
        };
        let issuer = known.issuer.clone().map_err(setback)?;
        Ok((Arc::clone(&known.slot), issuer))
    }

    /// What is kept of the order of a certificate.
    fn journal<'a>(&'a self, id: &'a str) -> Order<'a, P> {
        Order::new(&self.papers, &self.writing, id)
    }

    async fn order(
        &self,
        slot: &Slot,
        acme: &Acme,
        wish: &Wish,
        before: Option<&str>,
    ) -> Result<Issued, Setback> {
        let router = Router::new(&self.solver, &acme.methods);
        // Where the CA cannot connect to one port it may connect to the other.
        let unseen = slot.unseen(&wish.id);
        let ways = |name: &str| {
            let ways = acme.methods.turned(name, unseen).into_iter();
            ways.map(Way::method).collect()
        };
        let wanted = acme::Wanted {
            names: &wish.names,
            profile: wish.profile.as_deref().or(acme.profile.as_deref()),
            replaces: before,
            methods: acme::Ways::Each(&ways),
            key: wish.key,
            preferred_chain: acme.preferred_chain.as_deref(),
        };
        let patience = acme::Patience::default();
        let journal = self.journal(&wish.id);
        let account = slot.account(&self.papers, acme, None).await?;
        let ended = account.obtain(&wanted, &router, &journal, &patience).await;
        slot.ended(&wish.id, &ended);
        let trouble = match ended {
            Ok(issued) => return Ok(issued),
            Err(trouble) if !is_unknown_account(&trouble) => return Err(trouble.into()),
            Err(trouble) => trouble,
        };
        // The CA has lost it, as test servers do at each start.
        let again = slot.account(&self.papers, acme, Some(account.id())).await?;
        if again.id() == account.id() {
            return Err(trouble.into());
        }
        let ended = again.obtain(&wanted, &router, &journal, &patience).await;
        Ok(ended?)
    }
}

impl<P: Papers, S: Solver + 'static> Source for Issuers<P, S> {
    fn ready(&self, wish: &Wish) -> Result<(), String> {
        let found = self.find(&wish.issuer).map_err(|setback| setback.error)?;
        match &*found.1 {
            // Whether it is an authority's is told without certifying anything.
            Issuer::Authority { chain, key } => ca::Issuer::from_pem(chain, key)
                .map(drop)
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    fn print(&self, wish: &Wish) -> u64 {
        self.find(&wish.issuer).map_or(0, |found| found.1.print())
    }

    async fn obtain(&self, wish: &Wish, before: Option<&str>) -> Result<Issued, Setback> {
        let (slot, issuer) = self.find(&wish.issuer)?;
        let now = SystemTime::now();
        let request = Request {
            names: &wish.names,
            common_name: wish.common_name.as_deref(),
            usage: wish.usage,
            lifetime: wish.lifetime.unwrap_or(LIFETIME),
            key: wish.key,
        };
        match &*issuer {
            Issuer::Acme(acme) => self.order(&slot, acme, wish, before).await,
            Issuer::Authority { chain, key } => {
                let authority = ca::Issuer::from_pem(chain, key)?;
                Ok(authority.issue(&request, now)?)
            }
            Issuer::Internal => {
                let authority = self.authority(now).await.map_err(setback)?;
                Ok(authority.issue(&request, now)?)
            }
            Issuer::SelfSigned => Ok(ca::self_signed(&request, now)?),
        }
    }

    async fn settled(&self, wish: &Wish) {
        if let Ok((_, issuer)) = self.find(&wish.issuer)
            && matches!(*issuer, Issuer::Acme(_))
        {
            self.journal(&wish.id).forget().await;
        }
    }

    async fn renewal_info(&self, wish: &Wish, chain: &str) -> Option<RenewalInfo> {
        let (slot, issuer) = self.find(&wish.issuer).ok()?;
        let Issuer::Acme(acme) = &*issuer else {
            return None;
        };
        let account = slot.account(&self.papers, acme, None).await.ok()?;
        account.renewal_info(chain).await.ok()?
    }
}

/// Whether the account that is open is that of an issuer as it is now.
fn same_account(known: &Known, issuer: &Result<Arc<Issuer>, String>) -> bool {
    let (Ok(one), Ok(other)) = (&known.issuer, issuer) else {
        return false;
    };
    match (&**one, &**other) {
        (Issuer::Acme(one), Issuer::Acme(other)) => {
            one.settings == other.settings
                && one.account == other.account
                && one.wire.is(&other.wire)
        }
        _ => true,
    }
}

fn is_unknown_account(trouble: &Trouble) -> bool {
    let words = trouble.words.as_ref();
    trouble.kind == Kind::Account && words.is_some_and(|it| it.r#type == "accountDoesNotExist")
}

fn setback(error: String) -> Setback {
    Setback {
        error,
        is_rate_limit: false,
        not_before: None,
    }
}

impl From<ca::Failed> for Setback {
    fn from(failed: ca::Failed) -> Self {
        setback(failed.to_string())
    }
}

#[cfg(test)]
mod tests;
