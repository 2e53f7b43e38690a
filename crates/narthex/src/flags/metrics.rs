//! Under which names there are metrics, and what they tell apart.

use std::sync::Arc;

use clap::{ArgAction, Args, ValueEnum};
use proxy::IngressMetrics;

/// Under which names there are metrics, and what they tell apart.
#[derive(Debug, Clone, Args)]
pub(crate) struct MetricsFlags {
    /// Have metrics under ingress-nginx's names as well, for its dashboards and alerts.
    #[arg(long, env = "NARTHEX_METRICS_NAMES", value_name = "NAMES")]
    #[arg(default_value = "narthex", help_heading = HEADING)]
    pub(crate) metrics_names: Names,

    /// Of ingress-nginx's names: count requests for hosts that nobody claims.
    #[arg(long, env = "NARTHEX_METRICS_PER_UNDEFINED_HOST", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = HEADING)]
    pub(crate) metrics_per_undefined_host: bool,

    /// Of ingress-nginx's names: tell statuses apart by their class (2xx) alone.
    #[arg(long, env = "NARTHEX_REPORT_STATUS_CLASSES", value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false, action = ArgAction::Set, help_heading = HEADING)]
    pub(crate) report_status_classes: bool,

    /// Names of ingress-nginx's metrics of requests that are left out, between commas.
    #[arg(long, env = "NARTHEX_EXCLUDE_SOCKET_METRICS", value_name = "NAMES")]
    #[arg(value_delimiter = ',', help_heading = HEADING)]
    pub(crate) exclude_socket_metrics: Vec<String>,

    /// Upper bounds of the buckets of times under ingress-nginx's names, in seconds.
    #[arg(long, env = "NARTHEX_TIME_BUCKETS", value_name = "BOUNDS")]
    #[arg(value_parser = buckets, help_heading = HEADING)]
    pub(crate) time_buckets: Option<Arc<[f64]>>,

    /// The same of requests' and responses' sizes, in bytes.
    #[arg(long, env = "NARTHEX_LENGTH_BUCKETS", value_name = "BOUNDS")]
    #[arg(value_parser = buckets, help_heading = HEADING)]
    pub(crate) length_buckets: Option<Arc<[f64]>>,

    /// The same of bytes that were sent.
    #[arg(long, env = "NARTHEX_SIZE_BUCKETS", value_name = "BOUNDS")]
    #[arg(value_parser = buckets, help_heading = HEADING)]
    pub(crate) size_buckets: Option<Arc<[f64]>>,
}

const HEADING: &str = "Logs and metrics";

/// The names of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Names {
    /// Narthex's own alone.
    Narthex,
    /// ingress-nginx's besides.
    IngressNginx,
}

impl MetricsFlags {
    /// What is counted under ingress-nginx's names, if anything.
    pub(crate) fn ingress_nginx(&self, per_host: bool) -> Option<IngressMetrics> {
        let defaults = IngressMetrics::default();
        let names = self.exclude_socket_metrics.iter().map(|name| {
            let name = name.trim();
            let own = name.strip_prefix("nginx_ingress_controller_");
            own.unwrap_or(name).into()
        });
        let bounds = |given: &Option<Arc<[f64]>>, default: Box<[f64]>| match given {
            Some(given) => (**given).into(),
            None => default,
        };
        (self.metrics_names == Names::IngressNginx).then(|| IngressMetrics {
            per_host,
            undefined_hosts: self.metrics_per_undefined_host,
            status_classes: self.report_status_classes,
            excluded: names.collect(),
            time_buckets: bounds(&self.time_buckets, defaults.time_buckets),
            length_buckets: bounds(&self.length_buckets, defaults.length_buckets),
            size_buckets: bounds(&self.size_buckets, defaults.size_buckets),
        })
    }
}

/// Numbers between commas, rising.
fn buckets(text: &str) -> Result<Arc<[f64]>, String> {
    /// Each is a counter of each series.
    const MOST: usize = 100;
    let bounds = text.split(',').map(|bound| bound.trim().parse::<f64>());
    let bounds: Vec<f64> = bounds
        .collect::<Result<_, _>>()
        .map_err(|_| format!("{text:?} is no list of numbers between commas"))?;
    let rises = bounds.windows(2).all(|pair| pair[0] < pair[1]);
    if !rises || bounds.len() > MOST || bounds.iter().any(|bound| !bound.is_finite()) {
        return Err(format!(
            "{text:?}: {MOST} numbers at the most, each greater than the one before it"
        ));
    }
    Ok(bounds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rise() {
        assert_eq!(buckets("0.5,1, 10").as_deref(), Ok(&[0.5, 1.0, 10.0][..]));
        for wrong in ["", "a", "1,1", "2,1", "NaN", "1,inf"] {
            assert!(buckets(wrong).is_err(), "{wrong}");
        }
    }
}
