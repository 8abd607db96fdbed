//! The ledger on disk.
//!
//! A commit goes to the journal with one sync and is kept in memory; a thread behind the commits
//! moves what is full, a hundred thousand payments at a time and sorted, to the tables of an
//! embedded store. So a commit costs what a journal costs, and what outgrows memory is the
//! library's.
//!
//! # Layout
//!
//! * [`rows`]: what a row looks like.
//! * [`journal`]: segments and frames on disk.
//! * [`recent`]: what is committed and not yet in the tables.
//! * [`commit`]: the writer's end: a batch becomes durable, then visible.
//! * [`settle`]: the thread behind it.
//! * [`keyspaces`]: the embedded store, and what can be read from memory and tables.
//! * [`methods`]: payment methods, beside the ledger.
//! * [`recovery`]: from rows back to a ledger in memory.
//! * [`recount`]: whether rows and balances agree.

pub mod commit;
pub mod journal;
pub mod keyspaces;
pub mod methods;
pub mod recent;
pub mod recount;
pub mod recovery;
pub mod rows;
pub mod settle;

pub use commit::{Batch, Journal};
pub use keyspaces::{Rows, Store, StoreError};
