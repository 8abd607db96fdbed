//! What authentication says of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of logins. No name of a user is a label: there would be as many as somebody makes up.
#[derive(Debug, Default)]
pub struct Figures {
    logins: Family<Outcome, Counter>,
    /// Refresh tokens given out.
    pub refreshed: Counter,
    /// Refresh tokens that had ended before.
    pub reused: Counter,
}

impl Figures {
    /// Has Prometheus read them in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("logins", "Passwords shown: right, wrong, or not looked at", self.logins.clone());
        registry.register("refreshes", "Refresh tokens taken for new ones", self.refreshed.clone());
        let help = "Refresh tokens shown again, each of which ended a login";
        registry.register("refresh_reuses", help, self.reused.clone());
    }

    /// Counts a password that was shown.
    pub fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&Outcome { outcome }).inc();
    }
}
