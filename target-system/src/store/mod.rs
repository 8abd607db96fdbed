//! The ledger on disk.
//!
//! # Layout
//!
//! * [`rows`]: what a row looks like.
//! * [`keyspaces`]: the embedded store, what can be read from it, and the batch of a commit.
//! * [`recovery`]: from rows back to a ledger in memory.
//! * [`recount`]: whether rows and balances agree.

pub mod keyspaces;
pub mod recount;
pub mod recovery;
pub mod rows;

pub use keyspaces::{Batch, Store, StoreError};
