//! The `squall` binary.

use std::process::ExitCode;

use clap::Parser;
use squall::cli::Cli;
use squall::commands;
use squall_reports::exit;

/// glibc gives each thread an arena with a lock that whoever frees from another thread takes too:
/// the store's background thread, freeing a memtable at the lowest priority, held up commits by
/// 50 ms. mimalloc frees across threads without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => commands::dispatch(cli.command),
        Err(e) => {
            // Asking for help or the version is not a mistake; clap prints those to stdout.
            let code = if e.use_stderr() { exit::INVALID_SCENARIO } else { exit::PASSED };
            let _ = e.print();
            ExitCode::from(code)
        }
    }
}
