//! The card network: who must authorise a payment before it is made.
//!
//! A payment asks the fraud check, then the network, then the store. What is stopped reaches no issuer, and no
//! money moves that no issuer has authorised. An authorisation belongs to the payment's key: whoever asks
//! again with it, after a lost answer or a crash, is given the same. One whose payment the ledger then
//! declines is voided; one whose payment nobody asks for any more lapses at the issuer.
//!
//! # Layout
//!
//! * [`authorizations`]: what was authorised, each once.
//! * [`service`]: a stand-in of a network, `payments network`.

pub mod authorizations;
pub mod service;

use std::sync::Arc;

use axum::http::Uri;
use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::decline::Decline;
use crate::http::peer::{Peer, PeerUrl};
use crate::http::render;
use crate::idempotency::ScopedKey;
use crate::limits::{MAX_VOIDS, VOID_TIME};
use crate::record::Order;
use crate::resilience::guard::{CallError, Failure, Guard};
use crate::timer;
use crate::trace;

/// Where a payment is authorised.
pub const AUTHORIZE: &str = "/v1/authorizations";
/// Where an authorisation is taken back.
pub const VOID: &str = "/v1/voids";

/// What the network says of an authorisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The payment may be made.
    Approved,
    /// It may not.
    Declined,
    /// It might have been, and is not to be any more.
    Voided,
}

/// What the network answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The authorisation's name.
    pub id: String,
    /// What became of it.
    pub status: Status,
    /// Why it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Which authorisation is taken back.
#[derive(Debug, Serialize)]
struct Void<'a> {
    authorization: &'a str,
}

/// The leave to make a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization(String);

/// The way to the network.
#[derive(Debug)]
pub struct Network {
    peer: Peer,
    authorize: Uri,
    void: Uri,
    guard: Guard,
    /// Voids under way.
    voids: Arc<Semaphore>,
    voided: Counter,
    voids_lost: Counter,
}

impl Network {
    /// Asks the network at `url` through `guard`.
    #[must_use]
    pub fn new(peer: Peer, url: &PeerUrl, guard: Guard, registry: &mut Registry) -> Self {
        let (voided, voids_lost) = (Counter::default(), Counter::default());
        registry.register("network_voids", "Authorisations taken back", voided.clone());
        let help = "Authorisations that could not be taken back, and lapse";
        registry.register("network_voids_lost", help, voids_lost.clone());
        let (authorize, void) = (url.at(AUTHORIZE), url.at(VOID));
        Self { peer, authorize, void, guard, voids: Arc::new(Semaphore::new(MAX_VOIDS)), voided, voids_lost }
    }

    /// Asks the network to authorise `order` under `key`, by `deadline` at the latest. Asked again it answers
    /// the same, so it may be asked again.
    ///
    /// # Errors
    /// When there is no answer; whether there is an authorisation is not known then, unless nobody was asked.
    pub async fn authorize(
        &self,
        key: &ScopedKey,
        order: &Order,
        deadline: Instant,
    ) -> Result<Result<Authorization, Decline>, CallError> {
        let (key, body) = (name(key), Bytes::from(render::order(order)));
        let asked = self.guard.call(deadline, || async {
            let answer = self.peer.post(&self.authorize, Some(&key), body.clone()).await?;
            let answer: Answer = serde_json::from_slice(&answer).map_err(|_| Failure::Failed)?;
            match (answer.status, answer.code.as_deref().map(Decline::from_code)) {
                (Status::Approved, _) => Ok(Ok(Authorization(answer.id))),
                (Status::Declined, Some(Some(why))) => Ok(Err(why)),
                // Declined by a ledger that remembers it: the client is told when it asks again.
                (Status::Voided, _) => Err(Failure::Refused(409)),
                (Status::Declined, _) => Err(Failure::Failed),
            }
        });
        asked.await
    }

    /// Takes `authorization` back, as well as that goes: nobody waits for it.
    pub fn void(self: &Arc<Self>, authorization: Authorization) {
        let Ok(under_way) = Arc::clone(&self.voids).try_acquire_owned() else {
            self.voids_lost.inc();
            return;
        };
        let network = Arc::clone(self);
        let voiding = async move {
            let body = render::bytes(&Void { authorization: &authorization.0 });
            let asked = network.guard.call(timer::now() + VOID_TIME, || async {
                network.peer.post(&network.void, None, body.clone()).await.map(drop)
            });
            match asked.await {
                Ok(()) => network.voided.inc(),
                Err(error) => {
                    tracing::warn!(authorization = authorization.0, %error, "an authorisation was not voided");
                    network.voids_lost.inc()
                }
            };
            drop(under_way);
        };
        tokio::spawn(trace::current().work(voiding));
    }

    /// Waits for the voids under way, and begins no more.
    pub async fn end(&self) {
        // None of them takes longer than `VOID_TIME`.
        let _ = self.voids.acquire_many(MAX_VOIDS as u32).await;
        self.voids.close();
    }

    /// What stands before the network.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }
}

/// The key as the network knows it: the same in every process, of one length, and no word of the client's.
fn name(key: &ScopedKey) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// `bytes` in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_name_and_another_callers_has_another() {
        let key = |caller| ScopedKey::new(caller, b"k-1").unwrap();
        assert_eq!(name(&key("ann")), name(&key("ann")));
        assert_ne!(name(&key("ann")), name(&key("bob")));
        assert!(name(&key("ann")).len() == 64 && !name(&key("ann")).contains("k-1"));
        // Of every process, and of every version: the network remembers it.
        assert_eq!(hex(&Sha256::digest(b"abc"))[..16], *"ba7816bf8f01cfea");
    }

    #[test]
    fn an_answer_reads_as_it_is_written() {
        let declined = Answer {
            id: "auth_1".to_owned(),
            status: Status::Declined,
            code: Some("do_not_honor".to_owned()),
        };
        let text = serde_json::to_string(&declined).unwrap();
        assert_eq!(text, r#"{"id":"auth_1","status":"declined","code":"do_not_honor"}"#);
        assert_eq!(serde_json::from_str::<Answer>(&text).unwrap(), declined);
    }
}
