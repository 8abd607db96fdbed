//! Traces for the tests of this folder.

use crate::plan::{TraceFormat, TraceHead, TracePlan};

/// A trace of `format`, at the speed it was recorded, as a scenario has it by default.
pub(crate) fn plan(format: TraceFormat) -> TracePlan {
    TracePlan {
        file: "trace".to_owned(),
        format,
        speed: 1.0,
        spread: true,
        request: None,
        max_broken: 100,
        max_rate_rps: 100_000.0,
        head: TraceHead::default(),
    }
}
