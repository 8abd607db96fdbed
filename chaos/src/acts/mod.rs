//! Faults outside a service: on processes, containers, databases, caches and queues.
//!
//! # How such a fault lives
//!
//! It acts in a process of its own, the guard, which a run starts and speaks to in lines of JSON. The guard holds a
//! lease for each fault. A lease that is not renewed in time runs out, a guard whose standard input closes ends
//! everything: whichever way the run goes, also by SIGKILL, its faults end. What would outlive the guard itself (a
//! stopped process, a container off its network) is written to a journal, synced, before it is done; `heal` reads the
//! journals of guards that are gone and undoes what is left. Ending, losing the lease and healing are one piece of code:
//! [`undo`].
//!
//! Wherever possible nothing is left to be undone: burners and memory are threads of the guard, files that fill a disk
//! have no name, sessions at a database end with their connection, and the server has time-outs of its own.
//!
//! # Layout
//!
//! * [`order`]: what is asked of the guard and what it answers.
//! * [`guard`]: the leases; [`begin`]: which family does what; [`running`]: a fault while it lasts.
//! * [`undo`], [`journal`], [`heal`]: the way back.
//! * [`who`]: processes that are not taken for others. [`lookup`]: databases by the variable that holds their URL.
//! * [`process`], [`throttle`], [`burn`], [`disk`]: processes, and what is done beside them.
//! * [`container`]: Docker. [`postgres`], [`redis`], [`nats`]: databases, caches, queues.

pub mod begin;
pub mod burn;
pub mod container;
pub mod disk;
pub mod error;
pub mod guard;
pub mod heal;
pub mod journal;
pub mod lookup;
pub mod nats;
pub mod order;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod running;
pub mod throttle;
pub mod undo;
pub mod who;
