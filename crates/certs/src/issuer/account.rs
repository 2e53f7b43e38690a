//! An issuer's account: opened once, kept in the papers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use serde::Deserialize;
use tokio::sync::Mutex;

use super::{Acme, setback};
use crate::acme::{Account, Kind, Trouble};
use crate::keeper::Setback;
use crate::vault::{Entries, NotKept, Papers};

/// The entry of an account's document.
const ENTRY: &str = "account.json";

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
        for _ in 0..ATTEMPTS {
            let read = papers.read(&acme.account).await.map_err(setback)?;
            let (mut entries, version) = match read {
                Some((entries, version)) => (entries, Some(version)),
                None => (Entries::new(), None),
            };
            let kept = entries.get(ENTRY).map(Vec::as_slice);
            let kept = kept.filter(|kept| unknown.is_none() || id(kept).as_deref() != unknown);
            let (account, made) = match (kept, state.unwritten.take()) {
                (None, Some(unwritten)) => unwritten,
                (kept, _) => {
                    let opened = Account::open(&acme.wire, &acme.settings, kept).await?;
                    let account = Arc::new(opened.0);
                    let Some(made) = opened.1 else {
                        state.open = Some(Arc::clone(&account));
                        return Ok(account);
                    };
                    (account, made)
                }
            };
            entries.insert(ENTRY.to_owned(), made.clone());
            match papers
                .write(&acme.account, &entries, version.as_ref())
                .await
            {
                Ok(()) => {
                    state.open = Some(Arc::clone(&account));
                    return Ok(account);
                }
                Err(NotKept::Changed) => state.unwritten = Some((account, made)),
                Err(NotKept::Failed(error)) => {
                    state.unwritten = Some((account, made));
                    return Err(setback(format!(
                        "the account's key cannot be kept: {error}"
                    )));
                }
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
