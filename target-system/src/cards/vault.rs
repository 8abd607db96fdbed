//! Where payment methods are kept: beside the payments.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Kept, Method, MethodId};
use crate::bank::{Bank, BankError};
use crate::postgres::methods;
use crate::shards::UserPools;
use crate::store::Store;

/// The methods of everybody.
#[derive(Debug)]
pub enum Vault {
    /// In the embedded store; one is added at a time.
    Embedded(Store, Arc<Mutex<()>>),
    /// In the owner's database.
    Postgres(UserPools),
}

impl Vault {
    /// Methods beside the payments of `bank`.
    #[must_use]
    pub fn beside(bank: &Bank) -> Self {
        match bank {
            Bank::Embedded(bank) => Vault::Embedded(bank.store.clone(), Arc::default()),
            Bank::Postgres(bank) => Vault::Postgres(bank.pools()),
        }
    }

    /// Keeps `method` of `owner`, durably. When there is one with its id already, that one stays.
    ///
    /// # Errors
    /// When the store gives one.
    pub async fn keep(&self, owner: &str, method: Method) -> Result<Kept, BankError> {
        match self {
            Vault::Embedded(store, adding) => {
                let (store, adding, owner) = (store.clone(), Arc::clone(adding), owner.to_owned());
                // It syncs a disk: not on a thread that serves requests.
                let kept = tokio::task::spawn_blocking(move || {
                    let _one = adding.lock().unwrap_or_else(PoisonError::into_inner);
                    store.keep_method(&owner, &method)
                });
                Ok(kept.await.map_err(|_| BankError::Row("methods"))??)
            }
            Vault::Postgres(pools) => methods::keep(pools.of(owner), owner, &method).await,
        }
    }

    /// The payment method `id`, if it is one of `owner`.
    ///
    /// # Errors
    /// When the store gives one.
    pub async fn find(&self, owner: &str, id: MethodId) -> Result<Option<Method>, BankError> {
        match self {
            Vault::Embedded(store, _) => Ok(store.method(owner, id)?),
            Vault::Postgres(pools) => methods::find(pools.of(owner), owner, id).await,
        }
    }
}
