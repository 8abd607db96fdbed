//! The load engine: an open loop that keeps a schedule, and closed-loop [`journey`]s beside it.
//!
//! Workers share nothing. Each has its slice of the schedule, its connections and its histograms;
//! once a second it hands a `Slice` to the conductor, which merges those of all workers
//! into one [`squall_record::interval::Tick`]. A worker never waits for another, and reads
//! the clock once per loop pass. Over the own transport it allocates nothing for a request, but for a
//! recorded one that has to wait.
//!
//! An arrival that is due while every connection is busy waits, and its wait is part of its
//! response time. When more than `max_in_flight` are on the wire or waiting, it is dropped and
//! counted. Nothing planned is ever forgotten: planned = sent + dropped.
//!
//! # Layout
//!
//! * [`engine`]: starts the workers, merges their seconds, ends the run.
//! * [`control`]: changing the load while it runs.
//! * `worker`: one thread's loop: pacing, waiting arrivals, time-outs, the second's end.
//! * `source`: where a worker's arrivals come from. `feed`: those of traces, read ahead.
//! * `tally`: counting what became of them. `retries`: those that failed and will be asked again.
//! * `transport`: what a worker needs of whatever carries its requests.
//! * `pool`, `connection`: the own transport's sockets: connecting, sending, giving up, connecting
//!   again. `flights`: what is on their wires, in the order of sending.
//! * `general`, [`client`]: the general transport: reqwest, for TLS, HTTP/2 and everything else.
//! * [`endpoint`], [`tls`]: where the target listens, and whom to trust there.
//! * [`answer`]: how much of the bytes received is an answer, and what it says.
//! * [`responder`]: the smallest server, for measuring the generator itself.
//! * `cells`, `slice`: a second's counts and histograms, reused.
//! * [`journey`]: virtual users in a process of their own.

pub mod answer;
mod cells;
pub mod client;
mod connection;
pub mod control;
pub mod endpoint;
pub mod engine;
mod feed;
mod flights;
mod general;
pub mod journey;
mod pool;
pub mod responder;
mod retries;
mod slice;
mod source;
mod tally;
pub mod tls;
mod transport;
mod worker;
