//! An issuer's account: opened once, kept in the papers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Acme, setback};
use crate::acme::{Account, Kind, Trouble};
use crate::keeper::Setback;
use crate::vault::{Entries, NotKept, Papers};

/// The entry of an account's document that holds its key.
const ENTRY: &str = "account.json";

/// The entry with the addresses that the CA was told, separated by commas.
const EMAILS: &str = "emails";

/// The entry with the id of the key that the account is bound to, if it is.
const EXTERNAL: &str = "external-key-id";

/// How often somebody else may write while we do.
const ATTEMPTS: usize = 5;

/// The account of one issuer. Whoever comes while it is being opened waits for it.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    /// How often in a row the CA did not see that the names of a wish are ours.
    unseen: std::sync::Mutex<HashMap<String, usize>>,
}

#[derive(Default)]
struct State {
    open: Option<Arc<Account>>,
    /// Opened, but not kept so far: CAs limit how many accounts are opened, so none is opened anew
    /// because it could not be written.
    unwritten: Option<(Arc<Account>, Vec<u8>)>,
}

impl Slot {
    /// How often in a row the CA did not see that the names of a wish are ours.
    pub(super) fn unseen(&self, wish: &str) -> usize {
        let all = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(wish).copied().unwrap_or(0)
    }

    /// What came of an order.
    pub(super) fn ended<T>(&self, wish: &str, ended: &Result<T, Trouble>) {
        let mut all = self.unseen.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok(_) => drop(all.remove(wish)),
            Err(trouble) if trouble.kind == Kind::Unauthorized => {
                *all.entry(wish.to_owned()).or_default() += 1;
            }
            Err(_) => {}
        }
    }

    /// The account, opened if it is not. One that the CA does not know (any more), as `unknown`,
    /// is replaced.
    pub(super) async fn account(
        &self,
        papers: &impl Papers,
        acme: &Acme,
        unknown: Option<&str>,
    ) -> Result<Arc<Account>, Setback> {
        let mut state = self.state.lock().await;
        if let Some(open) = &state.open
            && unknown != Some(open.id())
        {
            return Ok(Arc::clone(open));
        }
        state.open = None;
        let emails = acme.settings.emails.join(",").into_bytes();
        let external = acme.settings.external.as_ref();
        let external = external.map(|it| it.key_id.as_bytes());
        for _ in 0..ATTEMPTS {
            let read = papers.read(&acme.account).await.map_err(setback)?;
            let (mut entries, version) = match read {
                Some((entries, version)) => (entries, Some(version)),
                None => (Entries::new(), None),
            };
            let bound_to = entries.get(EXTERNAL).map(Vec::as_slice);
            let is_anothers = external.is_some() && bound_to.is_some() && external != bound_to;
            let kept = entries.get(ENTRY).map(Vec::as_slice).filter(|kept| {
                let is_lost = unknown.is_some() && id(kept).as_deref() == unknown;
                !is_lost && !is_anothers
            });
            let (account, made) = match (kept, state.unwritten.take()) {
                (None, Some((account, made))) => (account, Some(made)),
                (kept, _) => {
                    let opened = Account::open(&acme.wire, &acme.settings, kept).await?;
                    (Arc::new(opened.0), opened.1)
                }
            };
            match &made {
                Some(made) => drop(entries.insert(ENTRY.to_owned(), made.clone())),
                None if entries.get(EMAILS) == Some(&emails) => {
                    state.open = Some(Arc::clone(&account));
                    return Ok(account);
                }
                None => account.set_emails(&acme.settings.emails).await?,
            }
            entries.insert(EMAILS.to_owned(), emails.clone());
            if let (Some(external), true) = (external, made.is_some()) {
                entries.insert(EXTERNAL.to_owned(), external.to_vec());
            }
            let error = match papers
                .write(&acme.account, &entries, version.as_ref())
                .await
            {
                Ok(()) => {
                    state.open = Some(Arc::clone(&account));
                    return Ok(account);
                }
                Err(NotKept::Changed) => None,
                Err(NotKept::Failed(error)) => Some(error),
            };
            state.unwritten = made.map(|made| (account, made));
            if let Some(error) = error {
                return Err(setback(format!(
                    "the account's key cannot be kept: {error}"
                )));
            }
        }
        Err(setback(
            "the account's key cannot be kept: somebody else writes there all the time".to_owned(),
        ))
    }
}

/// The URL of the account that was kept.
fn id(kept: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Of {
        id: String,
    }

    Some(serde_json::from_slice::<Of>(kept).ok()?.id)
}
