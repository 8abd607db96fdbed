//! What is shipped: the scenarios of `library/`, and the commented one to begin from.

use crate::source::Source;

/// A shipped scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// What `squall run` calls it.
    pub name: &'static str,
    /// TOML.
    pub text: &'static str,
}

impl Shipped {
    /// The scenario as a source to load.
    #[must_use]
    pub fn source(&self) -> Source {
        Source { name: format!("{}.toml", self.name), text: self.text.to_owned() }
    }
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../library/", $name, ".toml")) }),*]
    };
}

/// Every shipped scenario, the one to begin with first.
pub const SHIPPED: &[Shipped] = shipped!["quickstart", "steady-10k", "ramp-to-knee", "spike-10x", "soak"];

/// The commented scenario that `squall init` writes.
pub const TEMPLATE: &str = include_str!("../library/template/scenario.toml");

/// The shipped scenario called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|s| s.name == name)
}
