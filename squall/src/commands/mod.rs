//! One function a command.
//!
//! # Layout
//!
//! * [`calibrate`] is `calibrate`; its parts are in [`crate::calibrate`].
//! * [`chaos`] holds `chaos proxy`, [`faults`] `chaos list`, [`guard`] `chaos guard` and `chaos heal`.
//! * [`scenario`] holds `check`, `explain`, `init`, `list`.
//! * [`run`] is `run`; its parts are in [`crate::run`].
//! * [`report`] is `report`.
//! * [`shell`] holds `completions`, `man`.

pub mod calibrate;
pub mod chaos;
pub mod faults;
pub mod guard;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shell;

use std::os::fd::AsFd;
use std::process::ExitCode;

use squall_reports::exit;
use squall_scenarios::error::ScenarioError;

use crate::cli::Command;
use crate::stdout::remark;

/// Why a command ended without its result.
#[derive(Debug)]
pub enum Stop {
    /// The scenario, or what was asked of it, is wrong: exit 104.
    Invalid(String),
    /// Something that should work did not: exit 1.
    Failed(anyhow::Error),
}

impl Stop {
    /// What was asked for on the command line cannot be had, and nothing was begun.
    #[must_use]
    pub fn asked(e: impl Into<anyhow::Error>) -> Self {
        Stop::Invalid(format!("failed to {:#}", e.into()))
    }
}

impl From<ScenarioError> for Stop {
    fn from(e: ScenarioError) -> Self {
        Stop::Invalid(format!("failed to {e}"))
    }
}

impl From<anyhow::Error> for Stop {
    fn from(e: anyhow::Error) -> Self {
        Stop::Failed(e)
    }
}

impl From<std::io::Error> for Stop {
    fn from(e: std::io::Error) -> Self {
        Stop::Failed(e.into())
    }
}

/// The virtual users of a run, which speaks to them over standard input.
fn journey_users() -> Result<u8, Stop> {
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    squall_engine::journey::process::serve(socket)?;
    Ok(exit::PASSED)
}

/// Carries out `command` and gives its exit code.
#[must_use]
pub fn dispatch(command: Command) -> ExitCode {
    let result = match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => scenario::check(&args),
        Command::Explain(args) => scenario::explain(&args),
        Command::Init { file } => scenario::init(&file),
        Command::List => scenario::list(),
        Command::Report(args) => report::report(&args),
        Command::Target(args) => payments::serve::serve(*args)
            .map(|()| exit::PASSED)
            .map_err(|e| Stop::Failed(e.context("serve payments"))),
        Command::Chaos(command) => chaos::chaos(&command),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::Responder => calibrate::respond(),
        Command::JourneyUsers => journey_users(),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man => shell::man(),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(Stop::Invalid(message)) => {
            remark(&format!("squall {message}"));
            ExitCode::from(exit::INVALID_SCENARIO)
        }
        Err(Stop::Failed(e)) => {
            remark(&format!("squall failed to {e:#}"));
            ExitCode::from(exit::INTERNAL)
        }
    }
}
