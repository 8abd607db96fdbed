//! `payments`: the reference payment service as a program of its own.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use payments::cli::{
    FraudArgs, NetworkArgs, ServeArgs, WorkerArgs, hash_password, serve, serve_fraud, serve_network, work,
};
use payments::log::{self, LogFormat};

/// glibc gives each thread an arena with a lock that whoever frees from another thread takes too:
/// the store's background thread, freeing a memtable at the lowest priority, held up commits by
/// 50 ms. mimalloc frees across threads without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The reference payment service: durable, idempotent, double-entry, and breakable on purpose.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  PAYMENTS_TOKEN=… PAYMENTS_ADMIN_TOKEN=… \\\n    payments serve --data ledger --accounts 10000 --opening-balance 100000000"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// How lines on standard error are written; RUST_LOG says which.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the API until it is drained (SIGTERM, Ctrl-C, or `POST /admin/drain`).
    Serve(Box<ServeArgs>),
    /// Scores payments for `serve --fraud-url`.
    Fraud(FraudArgs),
    /// Reads a password from standard input and prints what `PAYMENTS_USERS_FILE` keeps of it.
    HashPassword,
    /// Stands in for a card network for `serve --network-url`.
    Network(NetworkArgs),
    /// Delivers notices of payments from a NATS server's queue until it is drained (SIGTERM, Ctrl-C).
    Worker(WorkerArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.log_format);
    let done = match cli.command {
        Command::Serve(args) => serve(*args),
        Command::Fraud(args) => serve_fraud(args),
        Command::Network(args) => serve_network(args),
        Command::Worker(args) => work(args),
        Command::HashPassword => hash_password(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
