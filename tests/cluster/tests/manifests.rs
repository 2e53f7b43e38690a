//! What is made from the chart, and what is written beside it, is what the chart says.

use cluster_tests::chart::{MANIFESTS, manifest, manifests, template};

#[test]
fn the_plain_manifests_are_what_the_chart_renders_today() {
    for (name, values) in MANIFESTS {
        let written = std::fs::read_to_string(manifests().join(name)).expect("reads");
        let made = manifest(values).unwrap_or_else(|error| panic!("{name}: {error}"));
        let differs = written
            .lines()
            .zip(made.lines())
            .find(|(old, new)| old != new);
        assert!(
            written == made,
            "deploy/manifests/{name} is not what the chart renders: run `cargo xtask manifests`; \
             the first difference is {differs:?}"
        );
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_would_be_right() {
    let refused = [
        ("controller.kind=StatefulSet", "Deployment or DaemonSet"),
        ("rbac.scope=true", "set controller.scope.enabled"),
        (
            "controller.scope.enabled=true,rbac.scope=true,controller.admissionWebhooks.enabled=true",
            "set one of the two",
        ),
        (
            "controller.scope.enabled=true,controller.scope.namespaceSelector=a=b",
            "leave controller.scope.namespaceSelector empty",
        ),
        (
            "gatewayAPI.enabled=false,gatewayAPI.dedicated.enabled=true",
            "set gatewayAPI.enabled as well",
        ),
        (
            "controller.scope.enabled=true,gatewayAPI.dedicated.enabled=true",
            "set one of the two",
        ),
        (
            "certificates.acme.email=a@example.com",
            "set certificates.enabled as well",
        ),
        (
            "certificates.enabled=true,certificates.acme.externalAccount.keyID=1",
            "set both keyID and secret",
        ),
        (
            "controller.scope.enabled=true,rbac.scope=true,registryCredentials.enabled=true",
            "set one of the two",
        ),
    ];
    for (values, advice) in refused {
        let said = template(&[values]).expect_err(values);
        assert!(said.contains(advice), "{values}: {said}");
    }
}

#[test]
fn data_planes_of_single_gateways_take_rights_that_are_not_given_otherwise() {
    let without = template(&[]).expect("rendered");
    assert!(!without.contains("clusterrolebindings") && !without.contains("--gateway-image"));
    let with = template(&[
        "gatewayAPI.dedicated.enabled=true",
        "gatewayAPI.dedicated.extraArgs.read-timeout=5s",
        "controller.image.tag=7",
    ]);
    let with = with.expect("rendered");
    for part in [
        "--gateway-image=narthex:7",
        "--gateway-cluster-role=narthex-gateway\n",
        "--gateway-namespace-role=narthex-gateway-namespace\n",
        "--gateway-arg=--read-timeout=5s\n",
        "verbs: [bind]",
    ] {
        assert!(with.contains(part), "{part}");
    }
    assert!(!with.contains("escalate"));
    let secrets = |rendered: &str| rendered.matches("resources: [configmaps, secrets]").count();
    let all = template(&[
        "gatewayAPI.dedicated.enabled=true",
        "gatewayAPI.dedicated.allSecrets=true",
    ]);
    assert_eq!((secrets(&with), secrets(&all.expect("rendered"))), (0, 1));
}

#[test]
fn certificates_take_rights_on_secrets_that_are_not_given_otherwise() {
    let writes = "resources: [secrets]\n  verbs: [create, update, patch]";
    let unindented = |rendered: &str| rendered.replace("\n    ", "\n  ");
    let without = unindented(&template(&[]).expect("rendered"));
    assert!(!without.contains(writes) && !without.contains("narthex-challenges"));
    assert!(!without.contains("--obtain-certificates"));
    let certificates = [
        "certificates.enabled=true",
        "certificates.acme.email=a@example.com",
        "certificates.acme.directory=https://ca.test/dir",
        "certificates.acme.agreeTerms=true",
        "certificates.acme.caConfigMap=acme",
        "certificates.acme.namespaces={shop,team-*}",
        "certificates.acme.externalAccount.keyID=7",
        "certificates.acme.externalAccount.secret=eab",
    ];
    let with = template(&certificates).expect("rendered");
    for part in [
        "- --obtain-certificates\n",
        "--acme-email=a@example.com\n",
        "--acme-directory=https://ca.test/dir\n",
        "--acme-agree-tos\n",
        "--acme-ca-file=/etc/narthex/acme-ca/ca.crt\n",
        "--acme-namespaces=shop,team-*\n",
        "--acme-eab-key-id=7\n",
        "--acme-eab-key-file=/etc/narthex/acme-account/key\n",
        "name: acme\n",
        "secretName: eab\n",
    ] {
        assert!(with.contains(part), "{part}");
    }
    assert_eq!(unindented(&with).matches(writes).count(), 1);
    // Nobody may list or delete Secrets for it.
    let scoped = [
        &certificates[..],
        &[
            "controller.scope.enabled=true",
            "controller.scope.namespace=shop",
        ],
    ];
    let scoped = template(&scoped.concat()).expect("rendered");
    for rendered in [&with, &scoped] {
        let rules = rendered.split("- apiGroups:");
        let of_secrets = rules.filter(|rule| rule.contains("secrets"));
        for rule in of_secrets {
            let verbs = rule.split("verbs:").nth(1).and_then(|it| it.lines().next());
            let verbs = verbs.expect("a rule has verbs");
            assert!(
                !verbs.contains("list") && !verbs.contains("delete"),
                "{rule}"
            );
        }
    }
    // Where one namespace is watched, none but that, ours and the issuers' are written to.
    let cluster_roles = scoped
        .split("\n---")
        .filter(|it| it.contains("\nkind: ClusterRole\n"));
    assert!(
        cluster_roles
            .into_iter()
            .all(|role| !role.contains("secrets"))
    );
    assert!(scoped.contains("name: narthex-issuers"));
}

#[test]
fn registry_credentials_take_rights_to_secrets_of_their_names_alone() {
    let without = template(&[]).expect("rendered");
    for part in ["registry-cred", "awsecr-cred", "serviceaccounts"] {
        assert!(!without.contains(part), "{part}");
    }
    let with = template(&[
        "registryCredentials.enabled=true",
        "registryCredentials.namespaces={team-*,web}",
        "registryCredentials.manifests.quay.secretName=quay-pull",
        "registryCredentials.manifests.quay.docker.server=quay.io",
        "registryCredentials.manifests.team.docker.server=r.example",
        "registryCredentials.secrets={quay}",
        "registryCredentials.formerSecrets={old}",
    ]);
    let with = with.expect("rendered");
    for part in [
        "- --registry-credentials\n",
        "--registry-credentials-namespaces=team-*,web\n",
        "--registry-credentials-service-accounts=default\n",
        "--skip-kube-system=true\n",
        "--registry-credentials-former-secrets=old\n",
        "--registry-credentials-file=/etc/narthex/registry-credentials/manifests/credentials.yaml\n",
        "mountPath: /etc/narthex/registry-credentials/secrets/quay\n",
        "resourceNames: [awsecr-cred, gcr-secret, dpr-secret, acr-secret, quay-pull, team, old]\n    \
         verbs: [list, watch, create, patch, delete]",
        "kind: RegistryCredentials\n    metadata:\n      name: quay\n",
    ] {
        assert!(with.contains(part), "{part}\n{with}");
    }
    let sources = with.matches("resourceNames: [registry-creds-ecr,").count();
    assert_eq!(sources, 2, "our own namespace and kube-system");
}
