//! What is made from the chart, and what is written beside it, is what the chart says.

use cluster_tests::chart::{MANIFESTS, lint, manifest, manifests, template};

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
        (
            "registryCredentials.enabled=true,registryCredentials.scoped=true",
            "without `*`",
        ),
        (
            "registryCredentials.enabled=true,registryCredentials.scoped=true,\
             registryCredentials.namespaces={a},registryCredentials.manifests.q.namespaces.names={b}",
            "add it to registryCredentials.namespaces",
        ),
        (
            "registry.enabled=true",
            "set registry.tls.secret, or registry.insecure",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.storage.existingClaim=a,\
             registry.storage.bucket=s3://b",
            "set one of existingClaim, volume and bucket",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.storage.bucketSecret=a",
            "set registry.storage.bucket as well",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.access.clientCASecret=a",
            "set registry.tls.secret as well",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.access.anonymous=pull,\
             registry.access.rulesSecret=a",
            "write a rule for the subject `anonymous`",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.sync.secrets={a}",
            "set registry.images, registry.imageLists.enabled or registry.pullThrough as well",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.hosting.fromPods=registry",
            "set registry.hosting.host as well",
        ),
        (
            "registry.enabled=true,registry.insecure=true,registry.ingress.enabled=true",
            "set registry.ingress.host",
        ),
        (
            "registry.enabled=true,registry.insecure=true,controller.scope.enabled=true,\
             rbac.scope=true,registry.access.serviceAccounts.enabled=true",
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

#[test]
fn registry_credentials_of_named_namespaces_take_rights_there_alone() {
    let rendered = template(&[
        "registryCredentials.enabled=true",
        "registryCredentials.scoped=true",
        "registryCredentials.namespaces={shop,web,kube-system}",
    ]);
    let rendered = rendered.expect("rendered");
    assert!(
        rendered.contains("--registry-credentials-within=shop,web\n"),
        "{rendered}"
    );
    let with = |kind: &str, part: &str| -> Vec<&str> {
        let of_kind = format!("\nkind: {kind}\n");
        let objects = rendered.split("\n---");
        let found = objects.filter(|it| it.contains(&of_kind) && it.contains(part));
        found
            .map(|it| {
                let namespace = it.split("\n  namespace: ").nth(1).unwrap_or_default();
                namespace.lines().next().unwrap_or_default()
            })
            .collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(with("ClusterRole", "awsecr-cred"), none);
    assert_eq!(with("ClusterRole", "serviceaccounts"), none);
    assert_eq!(with("Role", "awsecr-cred"), ["shop", "web"]);
    assert_eq!(
        with("Role", "registry-creds-ecr"),
        ["narthex", "kube-system"]
    );
}

#[test]
fn the_chart_is_what_helm_expects_of_one() {
    let said = lint();
    assert!(said.success, "{said:?}");
}

#[test]
fn the_registry_is_a_deployment_of_one_replica_with_what_it_is_given_and_no_rights() {
    let without = template(&[]).expect("rendered");
    assert!(!without.contains("registry"), "{without}");
    let least = ["registry.enabled=true", "registry.insecure=true"];
    let plain = template(&least).expect("rendered");
    for part in [
        "  replicas: 1\n",
        "    type: Recreate\n",
        "- --insecure\n",
        "- --storage=/var/lib/narthex/registry/images\n",
        "claimName: narthex-registry\n",
        "helm.sh/resource-policy: keep\n",
        "automountServiceAccountToken: false\n      terminationGracePeriodSeconds",
    ] {
        assert!(plain.contains(part), "{part}\n{plain}");
    }
    for part in [
        "auth-delegator",
        "kube-public",
        "--external-url",
        "--htpasswd-file",
    ] {
        assert!(!plain.contains(part), "{part}\n{plain}");
    }
    assert_eq!(
        plain.matches("kind: Ingress\n").count(),
        0,
        "only if asked for"
    );
    let all = template(&[
        "registry.enabled=true",
        "registry.tls.secret=tls",
        "registry.port=5443",
        "registry.storage.bucket=s3://images/here",
        "registry.storage.bucketSecret=s3",
        "registry.access.htpasswdSecret=users",
        "registry.access.rulesSecret=rules",
        "registry.access.clientCASecret=clients",
        "registry.access.serviceAccounts.enabled=true",
        "registry.access.serviceAccounts.audiences={registry}",
        "registry.ingress.enabled=true",
        "registry.ingress.host=r.example.com",
        "registry.hosting.host=r.example.com",
        "controller.metrics.enabled=true",
        "controller.metrics.serviceMonitor.enabled=true",
        "registry.extraArgs.max-blob-size=200g",
    ]);
    let all = all.expect("rendered");
    for part in [
        "- --address=0.0.0.0:5443\n",
        "- --storage=s3://images/here\n",
        "- secretRef:\n                name: s3\n",
        "- --tls-cert-file=/etc/narthex/registry/tls/tls.crt\n",
        "- --htpasswd-file=/etc/narthex/registry/users/htpasswd\n",
        "- --access-file=/etc/narthex/registry/access/rules.yaml\n",
        "- --client-ca-file=/etc/narthex/registry/client-ca/ca.crt\n",
        "- --service-account-audience=registry\n",
        "- --external-url=https://r.example.com\n",
        "- --hosting=r.example.com\n",
        "- --hosting-from-pods=narthex-registry.narthex.svc:5000\n",
        "resourceNames: [local-registry-hosting]\n    verbs: [get, create, patch]\n",
        "- --max-blob-size=200g\n",
        "name: narthex-registry-metrics\n",
        "      app.kubernetes.io/component: registry\n      narthex.dev/service: metrics\n",
        "name: system:auth-delegator\n",
        "nginx.ingress.kubernetes.io/backend-protocol: HTTPS\n",
        "secretName: narthex-registry-tls\n",
        "automountServiceAccountToken: true\n      terminationGracePeriodSeconds: 120\n",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
    assert!(!all.contains("PersistentVolumeClaim") && !all.contains("--insecure"));
}

#[test]
fn a_registry_that_fills_itself_has_its_list_and_the_credentials_for_it() {
    let lines = [
        "registry.enabled=true",
        "registry.insecure=true",
        "registry.images={nginx:1.27,quay.io/team/app:v1 apps/app:stable}",
        "registry.sync.interval=10m",
    ];
    let plain = template(&lines).expect("rendered");
    for part in [
        "- --sync=/etc/narthex/registry/images/list\n",
        "- --sync-interval=10m\n",
        "  list: |\n    nginx:1.27\n    quay.io/team/app:v1 apps/app:stable\n",
    ] {
        assert!(plain.contains(part), "{part}\n{plain}");
    }
    for part in ["--sync-authfile", "--sync-credentials-file", "secrets-0"] {
        assert!(!plain.contains(part), "{part}\n{plain}");
    }
    let credentials = [
        "registry.sync.dockerConfigSecret=hub",
        "registry.sync.secrets={quay}",
        "registryCredentials.enabled=true",
        "registryCredentials.manifests.quay.docker.server=quay.io",
        "registryCredentials.secrets={quay,gcr}",
    ];
    let with = template(&[&lines[..], &credentials].concat()).expect("rendered");
    for part in [
        "- --sync-authfile=/etc/narthex/registry/docker/.dockerconfigjson\n",
        "- --sync-credentials-file=/etc/narthex/registry/credentials/credentials.yaml\n",
        "mountPath: /etc/narthex/registry/secrets/quay\n",
        "mountPath: /etc/narthex/registry/secrets/gcr\n",
        "- name: secrets-1\n          secret:\n            secretName: gcr\n",
    ] {
        assert!(with.contains(part), "{part}\n{with}");
    }
    assert!(!with.contains("secrets-2"), "each once");

    let through = [
        "registry.enabled=true",
        "registry.insecure=true",
        "registry.pullThrough={docker.io,quay.io}",
        "registry.sync.dockerConfigSecret=hub",
    ];
    let through = template(&through).expect("rendered");
    for part in [
        "- --pull-through=docker.io,quay.io\n",
        "- --pull-through-authfile=/etc/narthex/registry/docker/.dockerconfigjson\n",
        "- name: docker\n          secret:\n            secretName: hub\n",
    ] {
        assert!(through.contains(part), "{part}\n{through}");
    }
    assert!(!through.contains("--sync"), "{through}");
    assert!(!through.contains("imagelists"), "{through}");

    let objects = [
        "registry.enabled=true",
        "registry.insecure=true",
        "registry.imageLists.enabled=true",
        "registry.sync.dockerConfigSecret=hub",
    ];
    let with = template(&objects).expect("rendered");
    for part in [
        "- --image-lists=narthex\n",
        "- --sync-interval=1h\n",
        "- --sync-authfile=/etc/narthex/registry/docker/.dockerconfigjson\n",
        "    helm.sh/resource-policy: keep\nspec:\n  group: narthex.dev\n",
        "    resources: [imagelists]\n    verbs: [list, watch]\n",
        "    resources: [imagelists/status]\n    verbs: [patch]\n",
        "automountServiceAccountToken: true\n",
    ] {
        assert!(with.contains(part), "{part}\n{with}");
    }
    let crd = "kind: CustomResourceDefinition";
    let others = [&objects[..], &["registry.imageLists.createCRD=false"]].concat();
    let others = template(&others).expect("rendered");
    assert!(with.contains(crd) && !others.contains(crd));
}
