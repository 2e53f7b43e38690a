use std::time::{Duration, UNIX_EPOCH};

use super::super::fake::{Fake, Reply, fields, ok};
use super::*;

fn acr(url: &str, password: &str) -> Acr {
    Acr {
        registry: "team.azurecr.io".to_owned(),
        client_id: "app".to_owned(),
        password: Hidden::new(password),
        exchange: Some(Exchange {
            tenant: "team.onmicrosoft.com".to_owned(),
            authority: Some(url.to_owned()),
            endpoint: Some(url.to_owned()),
        }),
    }
}

#[tokio::test]
async fn a_service_principal_exchanges_its_password_for_a_token_of_the_registry() {
    let fake = Fake::start(|request| {
        let form = fields(&request.body);
        let is = |name: &str, value: &str| form.get(name).is_some_and(|it| it == value);
        match request.path.as_str() {
            "/team.onmicrosoft.com/oauth2/v2.0/token"
                if is("grant_type", "client_credentials")
                    && is("client_id", "app")
                    && is("client_secret", "hunter2")
                    && is("scope", "https://containerregistry.azure.net/.default") =>
            {
                ok(r#"{"access_token":"aad","expires_in":3599}"#)
            }
            "/oauth2/exchange"
                if is("grant_type", "access_token")
                    && is("service", "team.azurecr.io")
                    && is("tenant", "team.onmicrosoft.com")
                    && is("access_token", "aad") =>
            {
                let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":1700010800,"sub":"app"}"#);
                ok(format!(r#"{{"refresh_token":"e30.{claims}.sig"}}"#))
            }
            _ => Reply::Text(
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#
                    .into(),
            ),
        }
    })
    .await;
    let http = Http::new().expect("a client");
    let now = SystemTime::now();
    let got = acr(&fake.url, "hunter2")
        .ask(&http, now)
        .await
        .expect("a token");
    assert_eq!(got[0].username, "00000000-0000-0000-0000-000000000000");
    assert_eq!(got[0].registry, "team.azurecr.io");
    let end = UNIX_EPOCH + Duration::from_secs(1_700_010_800);
    assert_eq!(got[0].expires, Some(end));
    let refused = acr(&fake.url, "wrong").ask(&http, now).await;
    let said = refused.expect_err("a wrong password").to_string();
    assert_eq!(
        said,
        "127.0.0.1 answers 401: UNAUTHORIZED: authentication required"
    );
}

#[test]
fn a_token_that_does_not_say_when_it_ends_is_none() {
    for token in ["", "a", "a.b.c", "a.e30.c", "a.eyJleHAiOiJ4In0.c"] {
        assert!(expiry(&Hidden::new(token)).is_err(), "{token}");
    }
    let endless = URL_SAFE_NO_PAD.encode(r#"{"exp":1e300}"#);
    assert!(expiry(&Hidden::new(format!("a.{endless}.c"))).is_err());
}
