//! Why a fault cannot be begun or undone.

use std::io;

/// Why a fault cannot be begun or undone. It never holds a URL or a password.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// What is asked makes no sense there, or would do more harm than asked for.
    #[error("{0}")]
    Refused(String),
    /// The operating system says no.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// What it says.
        source: io::Error,
    },
    /// A server says no, or nothing.
    #[error("{what}: {said}")]
    Server {
        /// What was tried.
        what: String,
        /// What it says, on one line.
        said: String,
    },
    /// It took too long.
    #[error("{what}: no end after {limit_s} s")]
    Late {
        /// What was tried.
        what: String,
        /// How long it was waited for, in seconds.
        limit_s: u64,
    },
}

impl ActError {
    /// The operating system's error while `what` was tried.
    pub fn os(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| ActError::Os { what, source }
    }

    /// As [`os`](Self::os), of a system call made through rustix.
    pub fn call(what: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        let what = what.into();
        move |errno| ActError::Os { what, source: errno.into() }
    }

    /// A server's error while `what` was tried.
    pub fn server<E: std::fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        // An error that spans lines would break whatever it is shown in.
        move |e| ActError::Server {
            what,
            said: e.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// It makes no sense, for this reason.
    pub fn refused(why: impl Into<String>) -> Self {
        ActError::Refused(why.into())
    }
}
