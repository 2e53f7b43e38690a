//! Our own authority: one for all replicas, in the papers.

use std::sync::PoisonError;
use std::time::SystemTime;

use super::{INTERNAL, Issuer, Issuers};
use crate::acme::Solver;
use crate::ca::Authority;
use crate::vault::{Entries, NotKept, Papers};

/// The entry that holds all of it, and the one with what others may read.
const ENTRY: &str = "authority.json";
const BUNDLE: &str = "ca.crt";

/// How often somebody else may write while we do.
const ATTEMPTS: usize = 5;

impl<P: Papers, S: Solver> Issuers<P, S> {
    /// The roots of our own authority as last read, as PEM, the newest one first; none if there is
    /// no such issuer or it was not read yet. [`Self::tend`] reads it.
    pub fn internal_bundle(&self) -> Option<String> {
        let bundle = self.bundle.lock().unwrap_or_else(PoisonError::into_inner);
        bundle.clone()
    }

    /// Reads our own authority if some issuer is it, makes it if it is not there, renews what is
    /// due, and tells when there is something to do next.
    ///
    /// # Errors
    /// It cannot be read, made or kept, for people.
    pub async fn tend(&self, now: SystemTime) -> Result<Option<SystemTime>, String> {
        if !self.has_internal() {
            return Ok(None);
        }
        let authority = self.authority(now).await?;
        let next = authority.next(&self.terms);
        next.map(Some).map_err(|error| error.to_string())
    }

    fn has_internal(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = known.values();
        all.any(|it| matches!(it.issuer.as_deref(), Ok(Issuer::Internal)))
    }

    /// As the papers have it, renewed if that is due. Of replicas that renew it at once all but
    /// one read what that one wrote.
    pub(super) async fn authority(&self, now: SystemTime) -> Result<Authority, String> {
        for _ in 0..ATTEMPTS {
            let (mut entries, version) = match self.papers.read(INTERNAL).await? {
                Some((entries, version)) => (entries, Some(version)),
                None => (Entries::new(), None),
            };
            let kept: Option<Authority> = match entries.get(ENTRY) {
                // Never replaced: somebody may still need what it holds.
                Some(kept) => Some(
                    serde_json::from_slice(kept)
                        .map_err(|_| format!("the authority in {INTERNAL} cannot be read"))?,
                ),
                None => None,
            };
            let renewed = match &kept {
                Some(kept) => kept.renewed(&self.terms, now),
                None => Authority::new(&self.terms, now).map(Some),
            };
            let renewed = renewed.map_err(|error| error.to_string())?;
            let (authority, is_new) = match (renewed, kept) {
                (Some(renewed), _) => (renewed, true),
                (None, Some(kept)) => (kept, false),
                (None, None) => return Err("there is no authority".to_owned()),
            };
            if is_new {
                let json = serde_json::to_vec(&authority).map_err(|error| error.to_string())?;
                entries.insert(ENTRY.to_owned(), json);
                entries.insert(BUNDLE.to_owned(), authority.bundle().into_bytes());
                match self
                    .papers
                    .write(INTERNAL, &entries, version.as_ref())
                    .await
                {
                    Ok(()) => {}
                    Err(NotKept::Changed) => continue,
                    Err(NotKept::Failed(error)) => {
                        return Err(format!("our own authority cannot be kept: {error}"));
                    }
                }
            }
            let mut bundle = self.bundle.lock().unwrap_or_else(PoisonError::into_inner);
            *bundle = Some(authority.bundle());
            return Ok(authority);
        }
        Err("our own authority cannot be kept: somebody else writes it all the time".to_owned())
    }
}
