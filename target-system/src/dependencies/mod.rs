//! The services that are asked before a payment: fraud check and card network. Off by default.

pub mod args;

use std::sync::Arc;

use serde::Serialize;

use crate::fraud::scoring::Scoring;
use crate::network::Network;
use crate::resilience::guard::GuardHealth;

/// The services that are asked, at least one.
#[derive(Debug)]
pub struct Dependencies {
    /// The fraud service; without it the rule in process decides.
    pub fraud: Option<Scoring>,
    /// The card network; without it nobody has to authorise a payment.
    pub network: Option<Arc<Network>>,
}

/// What `/health` says of them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct DependenciesHealth {
    #[serde(skip_serializing_if = "Option::is_none")]
    fraud: Option<GuardHealth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<GuardHealth>,
}

impl Dependencies {
    /// As `/health` shows them.
    #[must_use]
    pub fn health(&self) -> DependenciesHealth {
        DependenciesHealth {
            fraud: self.fraud.as_ref().map(|fraud| fraud.guard().health()),
            network: self.network.as_ref().map(|network| network.guard().health()),
        }
    }

    /// Waits for what nobody waits for any more.
    pub async fn end(&self) {
        if let Some(network) = &self.network {
            network.end().await;
        }
    }
}
