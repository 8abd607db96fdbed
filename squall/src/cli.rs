//! The command line as typed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use squall_scenarios::overrides::Override;
use squall_scenarios::units::duration::parse_duration;
use squall_scenarios::units::rate::parse_rate_rps;

use crate::outputs::exporter::CollectorUrl;

/// Load and chaos for payment systems, and the truth about what happened.
#[derive(Debug, Parser)]
#[command(
    name = "squall",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  squall run quickstart            load, break and judge the reference service\n  \
                  squall explain spike-10x         what a scenario would do\n  squall run my.toml --ui plain --set load.connections=64\n  \
                  squall report runs/<RUN>         rebuild the reports of a run\n\n\
                  Exit codes: 0 passed, 1 internal error, 99 a gate failed, 104 invalid scenario,\n\
                  105 interrupted, 120 the generator was the limit, 108 ended by an abort condition or before its faults, 122 inconclusive (121 is kept free)."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario: start the target, load it, break it, judge it
    #[command(
        after_help = "Examples:\n  squall run quickstart\n  squall run soak --set phase.hold.duration=10m --ui plain\n  \
                      squall run checkout.toml --target http://127.0.0.1:8080 --seed 7 --out runs/before\n  \
                      squall run soak --prometheus 127.0.0.1:9464 --otlp http://127.0.0.1:4318\n  \
                      squall run steady-10k --closed 10s"
    )]
    Run(RunArgs),
    /// Validate a scenario without sending anything
    #[command(after_help = "Example:\n  squall check my.toml --set load.connections=8")]
    Check(ScenarioArgs),
    /// Print what a scenario would do: phases, arrivals, peak rate, faults
    #[command(after_help = "Example:\n  squall explain quickstart")]
    Explain(ScenarioArgs),
    /// Write a commented scenario to begin from
    #[command(after_help = "Example:\n  squall init my.toml && squall check my.toml")]
    Init {
        /// The file to write; it must not exist
        #[arg(default_value = "scenario.toml")]
        file: PathBuf,
    },
    /// List what is shipped: scenarios and faults
    List,
    /// Rebuild every report of a run folder, also of an interrupted run
    #[command(after_help = "Examples:\n  squall report runs/20261121T010203Z-quickstart\n  \
                      squall report runs/20261121T010203Z-quickstart --csv seconds.csv\n  \
                      squall report runs/20261121T010203Z-quickstart --csv - --by request | head")]
    Report(ReportArgs),
    /// Run the reference payment service
    #[command(
        after_help = "The tokens that it accepts stand in the environment, 16 or more characters each:\n  \
                      export PAYMENTS_TOKEN=$(openssl rand -hex 16) PAYMENTS_ADMIN_TOKEN=$(openssl rand -hex 16)\n  \
                      squall target --data ledger --accounts 10000 --opening-balance 1000000"
    )]
    Target(Box<payments::cli::ServeArgs>),
    /// Faults: a proxy that makes connections bad, the list of all, and undoing what was left of some
    #[command(subcommand)]
    Chaos(ChaosCommand),
    /// Measure how fast and how punctual the generator is on this machine (about a minute)
    #[command(
        after_help = "Examples:\n  squall calibrate\n  squall calibrate --workers 2 --seconds 5 --json\n  \
                      squall calibrate --rates 10k/s,20k/s,40k/s"
    )]
    Calibrate(CalibrateArgs),
    /// The server that `calibrate` measures against
    #[command(hide = true)]
    Responder,
    /// Run the virtual users of a `squall run`, which starts this by itself
    #[command(hide = true)]
    JourneyUsers,
    /// Print shell completions
    #[command(after_help = "Example:\n  squall completions bash > /etc/bash_completion.d/squall")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  squall man | man -l -")]
    Man,
}

/// `squall chaos`.
#[derive(Debug, Subcommand)]
pub enum ChaosCommand {
    /// Run a TCP proxy that Toxiproxy's clients work with unchanged
    #[command(after_help = "Examples:\n  squall chaos proxy --config proxies.json --seed 7\n  \
                      curl -X POST 127.0.0.1:8474/proxies -d '{\"name\":\"db\",\"listen\":\"127.0.0.1:15432\",\"upstream\":\"127.0.0.1:5432\"}'\n  \
                      curl -X POST 127.0.0.1:8474/proxies/db/toxics -d '{\"type\":\"latency\",\"attributes\":{\"latency\":100},\"ttl\":30000}'")]
    Proxy(ProxyArgs),
    /// List the faults: what each does, where, and what it takes
    List,
    /// Undo what a run that was killed together with its guard has left: stopped processes, containers off their networks
    #[command(after_help = "Examples:\n  squall chaos heal --dry-run\n  squall chaos heal")]
    Heal {
        /// Only say what would be undone
        #[arg(long)]
        dry_run: bool,
    },
    /// Hold faults outside the service for a `squall run`, which starts this by itself
    #[command(hide = true)]
    Guard,
}

/// `squall chaos proxy`.
#[derive(Debug, Args)]
pub struct ProxyArgs {
    /// Where the API listens: who reaches it can have this machine connect to anybody
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// At which port, 0 for a free one
    #[arg(long, default_value_t = 8474)]
    pub port: u16,
    /// Proxies to begin with: a JSON array, as POST /populate takes it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Decides which connections a toxicity below 1 meets, and every jitter [default: drawn, and told]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads that carry the data [default: one for each core]
    #[arg(long, value_name = "N")]
    pub workers: Option<std::num::NonZeroU8>,
    /// Print where the API listens as a line of JSON
    #[arg(long, hide = true)]
    pub announce: bool,
    /// End when standard input does
    #[arg(long, hide = true)]
    pub exit_on_stdin_eof: bool,
}

/// A scenario and what replaces parts of it.
#[derive(Debug, Args)]
pub struct ScenarioArgs {
    /// A scenario file, or the name of a shipped one (see `squall list`)
    pub scenario: String,
    /// Replace one value, as in load.connections=8 or phase.hold.rate=5k/s; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<Override>,
    /// Replace the scenario's seed
    #[arg(long)]
    pub seed: Option<u64>,
    /// Load this service instead of the scenario's target
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
}

/// `squall run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario.
    #[command(flatten)]
    pub scenario: ScenarioArgs,
    /// How the run is shown [default: tui on a terminal, else plain]
    #[arg(long, value_enum)]
    pub ui: Option<Ui>,
    /// The run folder [default: runs/UTC-TIME-NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Instead of the scenario's load: as fast as load.connections allow, for this long, as in 10s.
    /// Measures a maximum throughput and service times, and no response time
    #[arg(long, value_name = "DURATION", value_parser = closed_duration)]
    pub closed: Option<Duration>,
    /// Keep the reference service's data here instead of removing it after the run
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Further outputs.
    #[command(flatten)]
    pub outputs: OutputArgs,
}

/// Figures for other programs, while a run goes on.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Serve the live figures to Prometheus at http://ADDR/metrics, as in 127.0.0.1:9464; a port
    /// alone is one of this machine's loopback, port 0 a free one
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub prometheus: Option<SocketAddr>,
    /// Send the live figures to an OpenTelemetry collector (OTLP over HTTP), as in
    /// http://127.0.0.1:4318
    #[arg(long, value_name = "URL")]
    pub otlp: Option<CollectorUrl>,
}

/// The longest closed loop.
const MAX_CLOSED: Duration = Duration::from_secs(24 * 3600);

fn closed_duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|e| e.to_string())?;
    if duration.is_zero() || duration > MAX_CLOSED {
        return Err(format!(
            "a closed loop lasts more than 0s and at most {} h",
            MAX_CLOSED.as_secs() / 3600
        ));
    }
    Ok(duration)
}

/// Where to listen: never beyond loopback unless an address says so.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = text.replacen("localhost", "127.0.0.1", 1);
    let port = text.strip_prefix(':').unwrap_or(&text);
    match port.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        Err(_) => text.parse().map_err(|_| "not an address of the form IP:PORT, nor a port".to_owned()),
    }
}

/// `squall calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Seconds measured at each rate
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Try exactly these rates instead of searching
    #[arg(long, value_name = "RATE,…", value_delimiter = ',', value_parser = rate)]
    pub rates: Option<Vec<Rate>>,
    /// Load workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Connections to the responder
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub connections: u32,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A rate in requests per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

fn rate(text: &str) -> Result<Rate, String> {
    match parse_rate_rps(text) {
        Ok(rps) if rps > 0.0 => Ok(Rate(rps)),
        Ok(_) => Err("a rate above 0 is needed".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// `squall report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run folder
    pub run: PathBuf,
    /// Write the run's seconds as CSV to this file (`-`: standard output) and nothing else
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// What a line of the CSV is
    #[arg(long, value_enum, default_value_t = By::Second, requires = "csv")]
    pub by: By,
}

/// What a line of the CSV is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// A second, everything together
    Second,
    /// A second of one request class in one phase
    Request,
}

/// How a run is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ui {
    /// Full screen
    Tui,
    /// A line every five seconds
    Plain,
    /// Nothing until the summary
    None,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn metrics_are_served_on_loopback_unless_an_address_says_otherwise() {
        let parsed = |text: &str| listen_address(text).map(|a| a.to_string());
        for text in ["9464", ":9464", "127.0.0.1:9464", "localhost:9464"] {
            assert_eq!(parsed(text).unwrap(), "127.0.0.1:9464", "{text}");
        }
        assert_eq!(parsed("0.0.0.0:1").unwrap(), "0.0.0.0:1");
        assert_eq!(parsed("[::1]:1").unwrap(), "[::1]:1");
        for text in ["", "x", "127.0.0.1", "99999", "example.com:1", ":-1"] {
            assert!(parsed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_command_that_takes_arguments_shows_an_example() {
        let command = Cli::command();
        for sub in command.get_subcommands() {
            if sub.get_arguments().next().is_some() {
                assert!(sub.get_after_help().is_some(), "{} has no example", sub.get_name());
            }
        }
    }
}
