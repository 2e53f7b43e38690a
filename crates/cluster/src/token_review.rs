//! Whose a token of the cluster is: the API server is asked (TokenReview).

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};

use crate::Connection;
use crate::client::chain;

/// Asks the API server about tokens; takes the right to create `tokenreviews` of
/// `authentication.k8s.io`.
#[derive(Clone)]
pub struct TokenReviews {
    client: Client,
    audiences: Vec<String>,
}

impl std::fmt::Debug for TokenReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenReviews")
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUser {
    /// `system:serviceaccount:NAMESPACE:NAME` of a ServiceAccount.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
}

impl TokenReviews {
    /// Takes tokens that are for one of these audiences; for the API server itself if there are
    /// none.
    pub fn new(connection: &Connection, audiences: Vec<String>) -> Self {
        Self {
            client: connection.another(),
            audiences,
        }
    }

    /// Whose a token is; none if it is not good, or for others.
    ///
    /// # Errors
    /// If the API server does not say; for people, without the token.
    pub async fn review(&self, token: &str) -> Result<Option<TokenUser>, String> {
        let question = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: (!self.audiences.is_empty()).then(|| self.audiences.clone()),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &question).await;
        let answer = answer.map_err(|error| format!("TokenReview: {}", chain(&error)))?;
        Ok(read(&self.audiences, answer))
    }
}

fn read(audiences: &[String], answer: TokenReview) -> Option<TokenUser> {
    let status = answer.status?;
    if status.authenticated != Some(true) {
        return None;
    }
    // An authenticator that knows of no audiences names none: then it has not looked.
    let said = status.audiences.unwrap_or_default();
    if !audiences.is_empty() && !said.iter().any(|it| audiences.contains(it)) {
        return None;
    }
    let user = status.user?;
    let name = user.username.filter(|it| !it.is_empty())?;
    Some(TokenUser {
        name,
        groups: user.groups.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(status: Value) -> TokenReview {
        let review = json!({"metadata": {}, "spec": {"token": "x"}, "status": status});
        serde_json::from_value(review).expect("a TokenReview")
    }

    #[test]
    fn a_token_that_is_not_good_or_for_others_is_nobodys() {
        let user = json!({"username": "system:serviceaccount:a:b", "groups": ["g"]});
        let good = json!({"authenticated": true, "user": user, "audiences": ["registry"]});
        let found = read(&[], answer(good.clone())).expect("good");
        assert_eq!(found.name, "system:serviceaccount:a:b");
        assert_eq!(found.groups, ["g"]);
        assert!(read(&["registry".to_owned()], answer(good.clone())).is_some());
        assert!(read(&["other".to_owned()], answer(good)).is_none());
        let silent = json!({"authenticated": true, "user": user});
        assert!(read(&["registry".to_owned()], answer(silent)).is_none());
        assert!(read(&[], answer(json!({"user": user}))).is_none());
        assert!(
            read(
                &[],
                answer(json!({"authenticated": true, "user": {"username": ""}}))
            )
            .is_none()
        );
    }
}
