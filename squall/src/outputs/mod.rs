//! A run's figures for other programs, while it goes on.
//!
//! [`Figures`] is a sink of the one stream. It adds up what Prometheus and OpenTelemetry call
//! cumulative counters and histograms, and gives them as [`family::Family`]s whenever somebody
//! asks; nobody who asks can hold up the run for longer than it takes to copy some numbers.
//!
//! # Layout
//!
//! * [`figures`]: the sink. [`family`]: what it gives, with names and units.
//! * [`catalogue`]: every family there is: its name, unit and meaning.
//! * [`prometheus`]: families as text; [`endpoint`]: that text over HTTP, on a thread of its own.
//! * [`otlp`]: families as OTLP messages; [`exporter`]: those to a collector, likewise.

pub mod catalogue;
pub mod endpoint;
pub mod exporter;
pub mod family;
pub mod figures;
pub mod otlp;
pub mod prometheus;

use std::time::Duration;

use anyhow::Context;
use squall_record::interval::Sink;
use squall_scenarios::plan::Plan;

use crate::cli::OutputArgs;
use crate::stdout::remark;
use endpoint::Endpoint;
use exporter::Exporter;
use figures::Figures;

/// How often figures are exported: as often as there are new ones.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// The outputs that were asked for. They end when it is dropped.
pub struct Outputs {
    figures: Option<Figures>,
    endpoint: Option<Endpoint>,
    exporter: Option<Exporter>,
}

impl Outputs {
    /// Opens what `args` asks for, before anything is sent.
    ///
    /// # Errors
    /// When the endpoint's port cannot be listened on, or a thread cannot be started.
    pub fn open(args: &OutputArgs, plan: &Plan) -> anyhow::Result<Self> {
        if args.prometheus.is_none() && args.otlp.is_none() {
            return Ok(Self { figures: None, endpoint: None, exporter: None });
        }
        let figures = Figures::new(plan);
        let endpoint = args.prometheus.map(|addr| Endpoint::open(addr, figures.shared())).transpose()?;
        if let Some(e) = &endpoint {
            let addr = e.addr();
            remark(&format!("metrics for Prometheus: http://{addr}/metrics"));
            if !addr.ip().is_loopback() {
                remark("note: whoever reaches this address can read the figures of the run");
            }
        }
        let exporter = args
            .otlp
            .as_ref()
            .map(|url| Exporter::start(url, figures.shared(), EXPORT_EVERY))
            .transpose()
            .context("start the OTLP export")?;
        Ok(Self { figures: Some(figures), endpoint, exporter })
    }

    /// The sink that feeds them, once.
    pub fn sink(&mut self) -> Option<Box<dyn Sink>> {
        self.figures.take().map(|f| Box::new(f) as Box<dyn Sink>)
    }

    /// Ends them: exports the last figures and says what could not be exported.
    pub fn end(self) {
        drop(self.endpoint);
        if let Some(exporter) = self.exporter
            && let Some(lost) = exporter.end()
        {
            remark(&lost);
        }
    }
}
