use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use serde_json::Value;

use super::super::fake::{Fake, Reply, Request, fields, ok};
use super::*;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_440_938_160)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a request is signed with `secret`, for a service and a region, as AWS finds out: from what came over
/// the wire, by the steps of its documentation.
fn is_signed(request: &Request, id: &str, secret: &str, service: &str, region: &str) -> bool {
    let mac = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let Some(authorization) = request.headers.get("authorization") else {
        return false;
    };
    let Some(rest) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return false;
    };
    let part = |name: &str| {
        let mut parts = rest.split(", ");
        parts
            .find_map(|part| part.strip_prefix(name))
            .expect("a part")
    };
    let scope: Vec<_> = part("Credential=").split('/').collect();
    assert_eq!(scope, [id, "20150830", region, service, "aws4_request"]);
    let names: Vec<_> = part("SignedHeaders=").split(';').collect();
    assert!(names.is_sorted(), "{names:?}");
    let must = request
        .headers
        .keys()
        .filter(|it| it.starts_with("x-amz-") || ["host", "content-type"].contains(&it.as_str()));
    for name in must {
        assert!(names.contains(&name.as_str()), "{name} is not signed");
    }
    let mut canonical = format!("{}\n{}\n\n", request.method, request.path);
    for name in &names {
        canonical += &format!("{name}:{}\n", request.headers[*name]);
    }
    let body = hex(digest::digest(&digest::SHA256, request.body.as_bytes()).as_ref());
    canonical += &format!("\n{}\n{body}", names.join(";"));
    let canonical = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let date = &request.headers["x-amz-date"];
    let text =
        format!("AWS4-HMAC-SHA256\n{date}\n20150830/{region}/{service}/aws4_request\n{canonical}");
    let day = mac(format!("AWS4{secret}").as_bytes(), "20150830");
    let key = mac(&mac(&mac(&day, region), service), "aws4_request");
    hex(&mac(&key, &text)) == part("Signature=")
}

fn refused(code: &str) -> Reply {
    Reply::Text(
        400,
        format!(r#"{{"__type":"{code}","message":"no\nhunter2"}}"#),
    )
}

fn tokens(request: &Request, region: &str) -> Reply {
    let body: Value = serde_json::from_str(&request.body).expect("JSON");
    let ids = body["registryIds"].as_array().cloned();
    let ids = ids.unwrap_or_else(|| vec!["999999999999".into()]);
    let token = STANDARD.encode("AWS:pass:word");
    let data: Vec<_> = ids
        .iter()
        .map(|id| {
            let host = format!("https://{}.dkr.ecr.{region}.amazonaws.com", id.as_str().expect("an id"));
            json!({"authorizationToken": token, "expiresAt": 1_440_981_360.25, "proxyEndpoint": host})
        })
        .collect();
    ok(json!({"authorizationData": data}).to_string())
}

fn ecr(url: &str) -> Ecr {
    Ecr {
        accounts: vec!["111111111111".to_owned(), "222222222222".to_owned()],
        regions: vec!["eu-central-1".to_owned(), "us-east-1".to_owned()],
        identity: Identity::Key {
            id: "AKID".to_owned(),
            secret: Hidden::new("hunter2"),
            session: Some(Hidden::new("session")),
        },
        role: None,
        endpoint: Some(url.to_owned()),
        sts_endpoint: Some(url.to_owned()),
    }
}

fn region_of(request: &Request) -> String {
    let scope = request.headers["authorization"].split('/').nth(2);
    scope.expect("a scope").to_owned()
}

#[tokio::test]
async fn each_region_is_asked_once_with_a_signature_that_verifies() {
    let fake = Fake::start(|request| {
        let region = region_of(request);
        if request.headers["x-amz-target"] != TARGET
            || request.headers["content-type"] != JSON
            || request.headers["x-amz-security-token"] != "session"
        {
            return refused("UnknownOperationException");
        }
        match is_signed(request, "AKID", "hunter2", "ecr", &region) {
            true => tokens(request, &region),
            false => refused("InvalidSignatureException"),
        }
    })
    .await;
    let http = Http::new().expect("a client");
    let got = ecr(&fake.url).ask(&http, at()).await.expect("tokens");
    assert_eq!(got.lacks, None);
    let got = got.credentials;
    let hosts: Vec<_> = got.iter().map(|one| one.registry.as_str()).collect();
    assert_eq!(
        hosts,
        [
            "111111111111.dkr.ecr.eu-central-1.amazonaws.com",
            "222222222222.dkr.ecr.eu-central-1.amazonaws.com",
            "111111111111.dkr.ecr.us-east-1.amazonaws.com",
            "222222222222.dkr.ecr.us-east-1.amazonaws.com",
        ]
    );
    assert_eq!(
        (got[0].username.as_str(), got[0].secret.show()),
        ("AWS", "pass:word")
    );
    let end = UNIX_EPOCH + Duration::from_millis(1_440_981_360_250);
    assert_eq!(got[0].expires, Some(end));
    assert_eq!(fake.asked().len(), 2);
    let mut wrong = ecr(&fake.url);
    wrong.identity = Identity::Key {
        id: "AKID".to_owned(),
        secret: Hidden::new("hunter3"),
        session: Some(Hidden::new("session")),
    };
    let said = wrong
        .ask(&http, at())
        .await
        .expect_err("a wrong key")
        .to_string();
    assert_eq!(
        said,
        "ECR in eu-central-1: 127.0.0.1 answers 400: InvalidSignatureException: no"
    );
}

#[tokio::test]
async fn a_region_that_does_not_answer_keeps_nothing_from_the_others() {
    let fake = Fake::start(|request| match region_of(request).as_str() {
        "eu-central-1" => Reply::Text(503, String::new()),
        region => tokens(request, region),
    })
    .await;
    let http = Http::new().expect("a client");
    let got = ecr(&fake.url).ask(&http, at()).await.expect("one of two");
    let hosts: Vec<_> = got.credentials.iter().map(|one| &one.registry).collect();
    assert_eq!(
        hosts,
        [
            "111111111111.dkr.ecr.us-east-1.amazonaws.com",
            "222222222222.dkr.ecr.us-east-1.amazonaws.com",
        ]
    );
    let lacks = got.lacks.expect("the other one").to_string();
    assert_eq!(lacks, "ECR in eu-central-1: 127.0.0.1 answers 503");
}

const ASSUMED: &str = r#"<?xml version="1.0"?>
<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser><Arn>arn</Arn><AssumedRoleId>x</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIA1</AccessKeyId>
      <SecretAccessKey>role&amp;secret</SecretAccessKey>
      <SessionToken>role-session</SessionToken>
      <Expiration>2015-08-30T13:36:00Z</Expiration>
    </Credentials>
  </AssumeRoleResult>
</AssumeRoleResponse>"#;

#[tokio::test]
async fn a_role_is_assumed_before_ecr_is_asked_and_its_keys_sign() {
    let fake = Fake::start(|request| {
        let region = region_of(request);
        if request.headers.contains_key("x-amz-target") {
            let is_good = request.headers["x-amz-security-token"] == "role-session"
                && is_signed(request, "ASIA1", "role&secret", "ecr", &region);
            return match is_good {
                true => tokens(request, &region),
                false => refused("InvalidSignatureException"),
            };
        }
        let form = fields(&request.body);
        let is_good = form["Action"] == "AssumeRole"
            && form["Version"] == "2011-06-15"
            && form["RoleArn"] == "arn:aws:iam::333333333333:role/pull"
            && is_signed(request, "AKID", "hunter2", "sts", &region);
        match is_good {
            true => ok(ASSUMED),
            false => Reply::Text(
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not for hunter2</Message></Error></ErrorResponse>"
                    .into(),
            ),
        }
    })
    .await;
    let http = Http::new().expect("a client");
    let with = |role: &str| Ecr {
        role: Some(role.to_owned()),
        regions: vec!["eu-central-1".to_owned()],
        ..ecr(&fake.url)
    };
    let got = with("arn:aws:iam::333333333333:role/pull")
        .ask(&http, at())
        .await;
    assert_eq!(got.expect("tokens").credentials.len(), 2);
    let said = with("arn:other")
        .ask(&http, at())
        .await
        .expect_err("refused");
    assert_eq!(
        said.to_string(),
        "the role arn:other is not assumed: 127.0.0.1 answers 403: AccessDenied: not for (hidden)"
    );
}

#[tokio::test]
async fn a_service_account_with_a_role_needs_no_key() {
    let fake = Fake::start(|request| {
        if request.headers.contains_key("x-amz-target") {
            return tokens(request, "eu-central-1");
        }
        let form = fields(&request.body);
        let is_good = form["Action"] == "AssumeRoleWithWebIdentity"
            && form["WebIdentityToken"] == "jwt"
            && form["RoleArn"] == "arn"
            && !request.headers.contains_key("authorization");
        match is_good {
            true => ok(ASSUMED),
            false => Reply::Text(400, String::new()),
        }
    })
    .await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "jwt\n").expect("written");
    let ecr = Ecr {
        identity: Identity::Web {
            role: "arn".to_owned(),
            token: token.clone(),
        },
        regions: vec!["eu-central-1".to_owned()],
        ..ecr(&fake.url)
    };
    let http = Http::new().expect("a client");
    let got = ecr.ask(&http, at()).await.expect("tokens");
    assert_eq!(got.credentials.len(), 2);
    std::fs::remove_file(&token).expect("there");
    let said = ecr
        .ask(&http, at())
        .await
        .expect_err("no token")
        .to_string();
    assert!(said.contains("token is not read"), "{said}");
}

#[tokio::test]
async fn what_is_wrong_slow_endless_or_elsewhere_is_an_error_in_time() {
    let http = Http::with_patience(Duration::from_millis(500)).expect("a client");
    let elsewhere = Fake::start(|_| ok("{}")).await;
    let (to, mut said) = (elsewhere.url.clone(), Vec::new());
    let cases: Vec<Box<dyn Fn() -> Reply + Send + Sync>> = vec![
        Box::new(|| ok("garbage hunter2")),
        Box::new(|| {
            ok(r#"{"authorizationData":[{"authorizationToken":"%","proxyEndpoint":"a"}]}"#)
        }),
        Box::new(|| {
            ok(
                r#"{"authorizationData":[{"authorizationToken":"aHVudGVyMg==","proxyEndpoint":"a"}]}"#,
            )
        }),
        Box::new(|| Reply::Endless(300 << 10)),
        Box::new(|| Reply::Silence),
        Box::new(move || Reply::Redirect(to.clone())),
        Box::new(|| Reply::Text(500, "\u{1b}[31mhunter2".to_owned())),
    ];
    for case in cases {
        let fake = Fake::start(move |_| case()).await;
        let failed = ecr(&fake.url).ask(&http, at()).await.expect_err("wrong");
        said.push(failed.to_string());
    }
    let expected = [
        "answers what cannot be read",
        "is not base64",
        "is not base64",
        "answers more than 262144 bytes",
        "does not answer within 0.5 s",
        "answers 307",
        "answers 500",
    ];
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.contains(expected), "{said}");
        assert!(
            !said.contains("hunter2") && !said.contains('\u{1b}'),
            "{said}"
        );
    }
    assert!(
        elsewhere.asked().is_empty(),
        "secrets go where they are for"
    );
    let gone = Fake::start(|_| ok("")).await.url.clone();
    let failed = ecr(&gone).ask(&http, at()).await.expect_err("nobody there");
    assert!(
        failed.to_string().contains("127.0.0.1 does not answer"),
        "{failed}"
    );
}

#[test]
fn each_partition_has_its_domain_and_no_region_leads_elsewhere() {
    for (region, domain) in [
        ("eu-central-1", "amazonaws.com"),
        ("us-gov-west-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("us-iso-east-1", "c2s.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov"),
        ("eusc-de-east-1", "amazonaws.eu"),
    ] {
        assert_eq!(suffix(region), domain, "{region}");
    }
    for bad in ["", "a.evil.example/", "a b", "A", "a#"] {
        assert!(!is_name(bad), "{bad}");
    }
    let mut ecr = ecr("http://127.0.0.1:1/");
    ecr.endpoint = None;
    assert!(ecr.may_be("111111111111.dkr.ecr.us-east-1.amazonaws.com"));
    assert!(!ecr.may_be("333333333333.dkr.ecr.us-east-1.amazonaws.com"));
    assert!(!ecr.may_be("111111111111.dkr.ecr.us-west-1.amazonaws.com"));
    assert!(!ecr.may_be("us-east-1.amazonaws.com.evil.example"));
}
