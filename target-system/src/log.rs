//! Lines that say what happens, on standard error: text for people, JSON for programs. What is said about a request has its id, and its
//! trace's when there is one. Nothing is said at `info` of each request: there is `/metrics`.

use std::fmt;
use std::io::IsTerminal as _;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::trace;

/// How lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one object a line.
    Json,
}

/// Begins to write lines of `RUST_LOG`'s levels; of the service's own from `info` on when that is absent.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,payments=info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colour).fmt_fields(OfRequest(DefaultFields::new())).init();
        }
        LogFormat::Json => lines.json().flatten_event(true).map_event_format(OfRequest).init(),
    }
}

/// Adds the current request's ids to a line.
struct OfRequest<F>(F);

impl<'w> FormatFields<'w> for OfRequest<DefaultFields> {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        self.0.format_fields(writer.by_ref(), fields)?;
        let (request, trace) = trace::ids();
        if let Some(id) = request {
            write!(writer, " request_id={id}")?;
        }
        if let Some(trace) = trace {
            write!(writer, " trace_id={}", trace.trace())?;
        }
        Ok(())
    }
}

impl<S, N, F> FormatEvent<S, N> for OfRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        let object = line.trim_end().strip_suffix('}').ok_or(fmt::Error)?;
        writer.write_str(object)?;
        let (request, trace) = trace::ids();
        if let Some(id) = request {
            write!(writer, r#","request_id":"{id}""#)?;
        }
        if let Some(trace) = trace {
            write!(writer, r#","trace_id":"{}""#, trace.trace())?;
        }
        writeln!(writer, "}}")
    }
}
