//! The fields of cert-manager's kinds that are read, as of 1.21. Of issuers of other makes and of
//! DNS providers nothing is looked into.

use super::Shape::{Any, Fields, Flag, Int, List, Text, Texts, Whole};
use super::{ANY_LIST, API_VERSION, Field, KIND, METADATA, Shape, TEXT_LIST};

const STATUS: Field = ("status", Any);
const SECRET_KEY: Shape = Fields(&[("name", Text), ("key", Text)]);

/// An Issuer or a ClusterIssuer.
pub(super) const ISSUER: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    (
        "spec",
        Fields(&[
            ("acme", Fields(ACME)),
            (
                "ca",
                Fields(&[
                    ("secretName", Text),
                    ("crlDistributionPoints", TEXT_LIST),
                    ("ocspServers", TEXT_LIST),
                    ("issuingCertificateURLs", TEXT_LIST),
                ]),
            ),
            (
                "selfSigned",
                Fields(&[("crlDistributionPoints", TEXT_LIST)]),
            ),
            ("vault", Whole),
            ("venafi", Whole),
        ]),
    ),
    STATUS,
];

const ACME: &[Field] = &[
    ("server", Text),
    ("email", Text),
    ("caBundle", Text),
    ("skipTLSVerify", Flag),
    ("profile", Text),
    ("preferredChain", Text),
    (
        "externalAccountBinding",
        Fields(&[
            ("keyID", Text),
            ("keySecretRef", SECRET_KEY),
            ("keyAlgorithm", Text),
        ]),
    ),
    ("privateKeySecretRef", SECRET_KEY),
    ("disableAccountKeyGeneration", Flag),
    ("enableDurationFeature", Flag),
    ("solvers", List(&Fields(SOLVER))),
];

const SOLVER: &[Field] = &[
    (
        "selector",
        Fields(&[
            ("matchLabels", Texts),
            ("dnsNames", TEXT_LIST),
            ("dnsZones", TEXT_LIST),
        ]),
    ),
    ("http01", Whole),
    ("dns01", Whole),
];

/// A Certificate.
pub(super) const CERTIFICATE: &[Field] = &[
    API_VERSION,
    KIND,
    METADATA,
    ("spec", Fields(CERTIFICATE_SPEC)),
    STATUS,
];

const CERTIFICATE_SPEC: &[Field] = &[
    ("secretName", Text),
    ("secretTemplate", Any),
    (
        "issuerRef",
        Fields(&[("name", Text), ("kind", Text), ("group", Text)]),
    ),
    ("dnsNames", TEXT_LIST),
    ("ipAddresses", TEXT_LIST),
    ("uris", TEXT_LIST),
    ("emailAddresses", TEXT_LIST),
    ("otherNames", ANY_LIST),
    ("commonName", Text),
    ("literalSubject", Text),
    ("subject", Any),
    ("duration", Text),
    ("renewBefore", Text),
    ("renewBeforePercentage", Int),
    ("renewal", Any),
    (
        "privateKey",
        Fields(&[
            ("algorithm", Text),
            ("size", Int),
            ("encoding", Text),
            ("rotationPolicy", Text),
        ]),
    ),
    ("signatureAlgorithm", Text),
    ("usages", TEXT_LIST),
    ("isCA", Flag),
    ("encodeUsagesInRequest", Flag),
    ("revisionHistoryLimit", Int),
    ("keystores", Any),
    ("additionalOutputFormats", ANY_LIST),
    ("nameConstraints", Any),
];
