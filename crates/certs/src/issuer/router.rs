//! Brings each answer to whoever puts up its kind.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::acme::{Answer, Method, Solver};
use crate::dns::{Change, Dns, Record};
use crate::methods::Methods;

/// What the proxy answers goes to its solver, records to who sets them for the name.
pub(super) struct Router<'a, S> {
    solver: &'a S,
    methods: &'a Methods,
    /// Where records were set, by the name that they were wanted at.
    targets: Mutex<HashMap<String, String>>,
}

impl<'a, S: Solver> Router<'a, S> {
    pub(super) fn new(solver: &'a S, methods: &'a Methods) -> Self {
        Self {
            solver,
            methods,
            targets: Mutex::default(),
        }
    }

    /// The record of an answer at the end of its name's aliases, and who sets it.
    async fn set(&self, of: &str, name: &str, value: &str) -> Result<Record, String> {
        let dns = self.provider(of)?;
        let target = self.methods.watch.target(name).await?;
        self.targets().insert(name.to_owned(), target.clone());
        let record = Record {
            name: target,
            value: value.to_owned(),
        };
        dns.change(Change::Add, &record, &self.methods.watch)
            .await?;
        Ok(record)
    }

    fn targets(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn provider(&self, of: &str) -> Result<&'a Dns, String> {
        let dns = self.methods.provider(of, Method::Dns01);
        dns.ok_or_else(|| format!("nobody is known who sets records for {of}"))
    }

    /// A record that stays: set if it is not there and somebody can.
    async fn persist(&self, of: &str, name: &str, value: &str) -> Result<Option<Record>, String> {
        let watch = &self.methods.watch;
        // The account's URL is what it is about; the rest may be written in several ways.
        let account = value.split("accounturi=").nth(1);
        let account = account.and_then(|rest| rest.split(';').next());
        let is_there = watch.has_text(name, account.unwrap_or(value).trim()).await;
        let dns = self.methods.provider(of, Method::DnsPersist01);
        match (is_there, dns) {
            (Ok(true), _) => Ok(None),
            (_, Some(dns)) => {
                let record = Record {
                    name: watch.target(name).await?,
                    value: value.to_owned(),
                };
                dns.change(Change::Add, &record, watch).await?;
                Ok(Some(record))
            }
            (Ok(false), None) if !watch.blind => Err(format!(
                "the record that shows that {of} is ours is not there: set TXT at {name} to \
                 {value:?}"
            )),
            // The CA sees more than our resolvers.
            (_, None) => Ok(None),
        }
    }

    fn of_the_proxy(answers: &[Answer]) -> Vec<Answer> {
        let is = |it: &&Answer| matches!(it, Answer::Http { .. } | Answer::TlsAlpn { .. });
        answers.iter().filter(is).cloned().collect()
    }
}

impl<S: Solver> Solver for Router<'_, S> {
    async fn present(&self, answers: &[Answer]) -> Result<(), String> {
        let own = Self::of_the_proxy(answers);
        if !own.is_empty() {
            self.solver.present(&own).await?;
        }
        let mut records = Vec::new();
        for answer in answers {
            match answer {
                Answer::Dns { of, name, value } => records.push(self.set(of, name, value).await?),
                Answer::DnsPersist { of, name, value } => {
                    records.extend(self.persist(of, name, value).await?);
                }
                Answer::Http { .. } | Answer::TlsAlpn { .. } => {}
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        self.methods.watch.until_seen(&records).await
    }

    async fn withdraw(&self, answers: &[Answer]) {
        let own = Self::of_the_proxy(answers);
        if !own.is_empty() {
            self.solver.withdraw(&own).await;
        }
        for answer in answers {
            let Answer::Dns { of, name, value } = answer else {
                continue;
            };
            let target = self.targets().get(name).cloned();
            // What was not set is not there.
            let (Some(target), Ok(dns)) = (target, self.provider(of)) else {
                continue;
            };
            let record = Record {
                name: target,
                value: value.clone(),
            };
            let watch = &self.methods.watch;
            if let Err(error) = dns.change(Change::Remove, &record, watch).await {
                tracing::warn!(name = record.name, %error, "a challenge's record stays");
            }
        }
    }
}
