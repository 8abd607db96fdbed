//! Capacity mathematics: what a stepped load test says about how far a system goes.
//!
//! Pure: numbers in, numbers out, no I/O and no clock.
//!
//! # Layout
//!
//! * [`usl`]: the universal scalability law, its peak and its limit.
//! * [`fit`]: the law's coefficients from measured points, bounded to what they can mean.
//! * [`knee`]: the highest step that still kept the promise.
//! * [`assess`]: all of it for one stepped run, with what the figures do not say.

pub mod assess;
pub mod fit;
pub mod knee;
mod least_squares;
pub mod usl;
