//! Every family that squall gives. `docs/outputs.md` has the same list; a test compares them.

use super::family::Description;
use super::family::Kind::{Counter, Gauge, Histogram, Info};
use super::family::Unit::{Bytes, None, Seconds};

macro_rules! families {
    ($($ident:ident = $name:literal, $unit:expr, $kind:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $ident: Description =
                Description { name: $name, unit: $unit, kind: $kind, help: $help };
        )*
        /// All of them.
        pub static ALL: &[&Description] = &[$(&$ident),*];
    };
}

families! {
    RUN = "squall.run", None, Info, "The run: scenario, mode (open or closed loop), seed and version of squall";
    PHASE = "squall.phase", None, Info, "The phase in force";
    ELAPSED = "squall.elapsed", Seconds, Gauge, "Whole seconds of load on record";
    VERDICT = "squall.verdict", None, Gauge, "1 for what the generator says of the run so far, 0 for the others; all 0 in warm-up";
    PAUSED = "squall.load.paused", None, Gauge, "1 while the load is paused by hand";
    CHANGES = "squall.load.changes", None, Counter, "Changes of the load by hand";
    PLANNED = "squall.requests.planned", None, Counter, "Arrivals that the schedule asked for";
    SENT = "squall.requests.sent", None, Counter, "Requests put on a connection, or on one that could not be made";
    ENDED = "squall.requests.ended", None, Counter, "Requests that ended, by outcome: ok, declined, shed or the kind of failure";
    DROPPED = "squall.requests.dropped", None, Counter, "Arrivals that were never sent";
    LATE = "squall.requests.late", None, Counter, "Requests sent more than 1 ms after the intended instant";
    RETRIED = "squall.requests.retried", None, Counter, "Attempts beyond the arrivals' first";
    RESPONSE = "squall.response", Seconds, Histogram, "From the intended instant to the end of the answer";
    SERVICE = "squall.service", Seconds, Histogram, "From the sending to the end of the answer";
    LAG = "squall.schedule_lag", Seconds, Histogram, "From the intended instant to the sending";
    PACING = "squall.pacing", Seconds, Histogram, "How late the generator noticed that an arrival was due";
    GENERATOR_CPU = "squall.generator.cpu", Seconds, Counter, "CPU time of the load workers";
    GENERATOR_WALL = "squall.generator.wall", Seconds, Counter, "Wall time of the load workers, added up over them";
    WORKERS = "squall.generator.workers", None, Gauge, "Load workers";
    CONNECTIONS = "squall.connections", None, Gauge, "Open connections at the end of the last second";
    REOPENED = "squall.connections.reopened", None, Counter, "Connections opened in the place of one that had ended";
    UNASKED = "squall.connections.unasked", None, Counter, "Connections ended because the target sent what nobody had asked for";
    IN_FLIGHT = "squall.requests.in_flight", None, Gauge, "Requests on the wire at the end of the last second";
    WAITING = "squall.requests.waiting", None, Gauge, "Arrivals waiting for a connection at the end of the last second";
    PAUSING = "squall.requests.pausing", None, Gauge, "Arrivals between two attempts at the end of the last second";
    FAULT = "squall.fault.active", None, Gauge, "1 while the fault is armed";
    TARGET_UP = "squall.target.up", None, Gauge, "1 when the target answered when last asked";
    TARGET_CPU = "squall.target.cpu", Seconds, Counter, "CPU time of the target, as it says itself";
    TARGET_RSS = "squall.target.resident_memory", Bytes, Gauge, "Resident memory of the target, as it says itself";
}
