//! What the process around does for faults that need its help.

use std::fmt;

use squall_record::fault::{Effect, FaultPoint, FaultSpec};

pub use crate::armed::Tenure;
use crate::lease::Refused;

/// Takes so many connections out of the process's pool and keeps them for as long as the fault lasts. It returns at once.
pub type Starve = Box<dyn Fn(u32, Tenure) + Send + Sync>;

/// What a process provides. A fault that needs what it does not is refused when it is armed: it would do nothing
/// and be taken for having been survived.
#[derive(Default)]
pub struct Host {
    /// Its commits pass the `commit` point.
    pub commits: bool,
    /// It asks [`Leases::skew_ms`](crate::leases::Leases::skew_ms) whenever it reads the wall clock.
    pub wall_clock: bool,
    /// It has a pool of connections.
    pub starve: Option<Starve>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("commits", &self.commits)
            .field("wall_clock", &self.wall_clock)
            .field("starve", &self.starve.is_some())
            .finish()
    }
}

impl Host {
    /// Whether it provides what `spec` needs.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn check(&self, spec: &FaultSpec) -> Result<(), Refused> {
        let lacks = match spec.effect {
            Effect::Starve { .. } if self.starve.is_none() => {
                "this service has no pool of connections; one that keeps its data in a database has"
            }
            Effect::Skew { .. } if !self.wall_clock => {
                "this service does not read the wall clock through its faults"
            }
            Effect::Latency { .. } if spec.place.point() == Some(FaultPoint::Commit) && !self.commits => {
                "this service has no commit point"
            }
            _ => return Ok(()),
        };
        let (name, kind, place) = (spec.name.clone(), spec.effect.name(), spec.place.clone());
        Err(Refused::NotProvided { name, kind, place, lacks })
    }
}
