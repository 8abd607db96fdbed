//! What a shell wants to know of the command line.

use clap::{Command, CommandFactory};
use squall_reports::exit;

use super::Stop;
use crate::cli::Cli;
use crate::stdout::print;

/// `squall completions`.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(shell: clap_complete::Shell) -> Result<u8, Stop> {
    let mut text = Vec::new();
    // What is hidden from people is offered to them otherwise.
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|c| !c.is_hide_set()).cloned();
    let mut shown = Command::new("squall").args(all.get_arguments().cloned()).subcommands(shown);
    clap_complete::generate(shell, &mut shown, "squall", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(exit::PASSED)
}

/// `squall man`.
///
/// # Errors
/// When standard output cannot be written.
pub fn man() -> Result<u8, Stop> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    print(&String::from_utf8_lossy(&text))?;
    Ok(exit::PASSED)
}
