//! `enable-opentelemetry` and its like: traces.

use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

const TEST: &str = "opentelemetry";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "OpenTelemetry",
    annotations: &[
        Annotation::works("enable-opentelemetry", Risk::Low, |settings, value| {
            of(settings).on = Some(switch(value)?);
            Ok(())
        })
        .default("false; of our own classes, whether there is `--otlp-endpoint`")
        .differs("each attempt at an endpoint is a span, too; attributes are those of today's conventions")
        .test(TEST),
        Annotation::works(
            "opentelemetry-operation-name",
            Risk::Medium,
            |settings, value| {
                let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
                if !value.bytes().all(is_right) {
                    return Err(BadValue::invalid("letters, digits, `_` and `-`"));
                }
                let operation = (!value.is_empty()).then(|| Text::literal(value));
                of(settings).operation = operation;
                Ok(())
            },
        )
        .default("the method and the path of the rule")
        .test(TEST),
        Annotation::works(
            "opentelemetry-trust-incoming-span",
            Risk::Low,
            |settings, value| {
                of(settings).trusts = Some(switch(value)?);
                Ok(())
            },
        )
        .default("true")
        .test(TEST),
    ],
};

/// What an Ingress, or the ConfigMap, says of traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Traces {
    /// Whether requests are traced.
    pub(crate) on: Option<bool>,
    /// What their spans are called.
    pub(crate) operation: Option<Text>,
    /// Whether a trace that the client is in goes on.
    pub(crate) trusts: Option<bool>,
}

fn of(settings: &mut Settings) -> &mut Traces {
    settings.traces.get_or_insert_default()
}

fn switch(value: &str) -> Result<bool, BadValue> {
    boolean(value).map_err(|bad| BadValue::unused(bad.hint))
}
