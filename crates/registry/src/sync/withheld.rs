//! Credentials of whoever runs the registry, for a list of somebody who may not have them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::client::{Credential, Credentials, Error, Kind, Transport};
use crate::list::{ImageList, Registry};

/// Credentials that such a list may use and its author may not see: they are not shown to registries
/// of which the list says that anybody may answer or listen, and what cannot be had of them is told
/// to the log alone.
pub struct Withheld {
    credentials: Arc<dyn Credentials>,
    list: BTreeMap<String, Transport>,
}

impl Withheld {
    /// For a list. What `own`, the settings of whoever runs the registry, says of a registry counts, and
    /// the list's word of it does not: it is left as that has it.
    pub fn for_list(
        list: &mut ImageList,
        own: &BTreeMap<String, Registry>,
        credentials: Arc<dyn Credentials>,
    ) -> Self {
        let said = list.registries.iter();
        let said = said.filter(|(host, it)| {
            it.transport != Transport::Https && !own.contains_key(host.as_str())
        });
        let said = said
            .map(|(host, it)| (host.clone(), it.transport))
            .collect();
        for (host, registry) in own {
            list.registries.insert(host.clone(), registry.clone());
        }
        Self {
            credentials,
            list: said,
        }
    }
}

impl fmt::Debug for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Withheld")
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}

impl Credentials for Withheld {
    fn find<'a>(
        &'a self,
        host: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(async move {
            let denied = |why: String| Error::new(Kind::Denied, why);
            let found = self.credentials.find(host, repository).await;
            let found = found.map_err(|error| {
                // It names files of ours.
                tracing::warn!("{error}");
                denied(format!(
                    "the registry cannot read its credentials for {host}: its log says why"
                ))
            })?;
            match found {
                Some(_) if self.list.contains_key(host) => Err(denied(format!(
                    "{host} wants a credential, and the registry shows its own to nobody whose \
                     certificate is not verified: leave `tls.mode` out, or have the registry's \
                     administrator name {host} under `registries` in a list of --sync \
                     (registry.images)"
                ))),
                found => Ok(found),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::list::Source;

    fn list() -> ImageList {
        let object = json!({
            "apiVersion": "narthex.dev/v1alpha1", "kind": "ImageList",
            "spec": {
                "registries": [
                    {"host": "a.example", "tls": {"mode": "disabled"}},
                    {"host": "b.example", "tls": {"mode": "insecure"}},
                    {"host": "c.example", "parallel": 2},
                    {"host": "d.example", "tls": {"mode": "insecure"}},
                ],
                "images": [{"source": "a.example/x"}],
            },
        });
        ImageList::of_object(&object, "ImageList a/b").expect("right")
    }

    #[tokio::test]
    async fn a_credential_is_shown_only_where_the_lists_author_cannot_see_it() {
        let mut list = list();
        assert!(matches!(list.images[0].source, Source::Repository { .. }));
        // Of whoever runs the registry: what he says is what counts.
        let own = [
            ("b.example", Transport::Https),
            ("d.example", Transport::Plain),
        ];
        let own = own.map(|(host, transport)| {
            let registry = Registry {
                transport,
                ..Registry::default()
            };
            (host.to_owned(), registry)
        });
        let own = BTreeMap::from(own);
        let credential = Credential::password("me", "sesame");
        let withheld = Withheld::for_list(&mut list, &own, Arc::new(credential.clone()));
        let transport = |host: &str| list.registries[host].transport;
        assert_eq!(transport("b.example"), Transport::Https);
        assert_eq!(transport("d.example"), Transport::Plain);
        for host in ["b.example", "c.example", "d.example", "e.example"] {
            let found = withheld.find(host, "x").await;
            assert_eq!(found, Ok(Some(credential.clone())), "{host}");
        }
        let refused = withheld.find("a.example", "x").await.expect_err("shown");
        assert!(refused.message.contains("a.example wants a credential"));
        assert!(!refused.message.contains("sesame"));
    }

    #[derive(Debug)]
    struct Broken(Option<Error>);

    impl Credentials for Broken {
        fn find<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
            Box::pin(async { self.0.clone().map_or(Ok(None), Err) })
        }
    }

    #[tokio::test]
    async fn what_names_our_files_is_told_to_nobody_and_no_credential_is_no_trouble() {
        let broken = Broken(Some(Error::new(Kind::Denied, "/etc/secret: line 3")));
        let none = BTreeMap::new();
        let withheld = Withheld::for_list(&mut list(), &none, Arc::new(broken));
        let error = withheld.find("c.example", "x").await.expect_err("broken");
        assert!(!error.message.contains("/etc/secret"), "{error}");
        let withheld = Withheld::for_list(&mut list(), &none, Arc::new(Broken(None)));
        assert_eq!(withheld.find("a.example", "x").await, Ok(None));
    }
}
