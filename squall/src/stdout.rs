//! Results go to standard output, whole or not at all; remarks go to standard error, if anybody
//! is there to read them.

use std::io::{self, IsTerminal, Write};

/// Prints `text`. A reader that went away (`| head`) is not an error.
///
/// # Errors
/// When standard output cannot be written for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says something on standard error. A run does not depend on anybody hearing it: a closed or
/// full standard error is no reason to end, which `eprintln!` would make of it.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether standard output shows colours: a terminal that is not dumb, and no `NO_COLOR`.
#[must_use]
pub fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    io::stdout().is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}
