//! OTLP over HTTP (protobuf), on a thread of its own.
//!
//! Figures are cumulative, so an export that is lost costs resolution and no counts: the next one
//! carries them. There is no queue and no retry. A collector that does not answer costs the run
//! nothing; how many exports were lost is told at its end.

use std::fmt;
use std::str::FromStr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;
use squall_record::clock::{unix_ms, wall_now};
use ureq::Agent;

use super::figures::SharedFigures;
use super::otlp::{Span, request};
use crate::run::admin::agent;

/// How long a collector may take for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// The longest piece of an answer that is repeated in a message.
const MAX_REPEATED_CHARS: usize = 200;

/// A collector's base address, `http://127.0.0.1:4318`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorUrl(String);

impl FromStr for CollectorUrl {
    type Err = String;

    /// As `OTEL_EXPORTER_OTLP_ENDPOINT` has it: `/v1/metrics` is added, unless it is there.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(
                "only http:// is spoken: name a collector on this machine, which may forward by TLS".into()
            );
        };
        let valid = ureq::http::Uri::try_from(text).is_ok_and(|u| u.host().is_some_and(|h| !h.is_empty()));
        if !valid || rest.contains(['?', '#', '@']) {
            return Err("not an address of the form http://HOST:PORT".into());
        }
        let base = text.trim_end_matches('/').trim_end_matches("/v1/metrics");
        Ok(Self(format!("{base}/v1/metrics")))
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Sends the figures to a collector until it is told to end.
pub struct Exporter {
    stop: Sender<()>,
    thread: JoinHandle<Option<String>>,
}

impl Exporter {
    /// Begins to send `figures` to `url`, whenever they have changed and at most every `every`.
    ///
    /// # Errors
    /// When the thread cannot be started. Whether there is a collector shows only later.
    pub fn start(url: &CollectorUrl, figures: SharedFigures, every: Duration) -> anyhow::Result<Self> {
        let export = Export {
            agent: agent(EXPORT_TIMEOUT),
            url: url.to_string(),
            figures,
            from_ns: now_ns(),
            tried: 0,
            lost: 0,
            last_problem: String::new(),
        };
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name("otlp".into()).spawn(move || {
            let mut export = export;
            let mut sent = 0;
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if export.figures.version() != sent {
                    sent = export.once();
                }
            }
            export.once();
            export.told()
        })?;
        Ok(Self { stop, thread })
    }

    /// Sends the last figures, ends, and gives what there is to say of exports that were lost.
    #[must_use]
    pub fn end(self) -> Option<String> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Some("the OTLP export ended early".to_owned()))
    }
}

struct Export {
    agent: Agent,
    url: String,
    figures: SharedFigures,
    from_ns: u64,
    tried: u64,
    lost: u64,
    last_problem: String,
}

impl Export {
    /// Sends the newest figures and gives their version.
    fn once(&mut self) -> u64 {
        let (version, families) = self.figures.families();
        let span = Span { from_ns: self.from_ns, to_ns: now_ns().max(self.from_ns) };
        let body = request(families, span).encode_to_vec();
        self.tried += 1;
        if let Err(e) = self.send(&body) {
            self.lost += 1;
            self.last_problem = format!("{e:#}");
        }
        version
    }

    fn send(&self, body: &[u8]) -> anyhow::Result<()> {
        let mut answer = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/x-protobuf")
            .header("User-Agent", concat!("squall/", env!("CARGO_PKG_VERSION")))
            .send(body)
            .context("reach the collector")?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().unwrap_or_default();
        if !status.is_success() {
            bail!("it answered {status}: {}", short(&String::from_utf8_lossy(&body)));
        }
        // An answer that is no message says nothing of rejected points.
        let rejected = ExportMetricsServiceResponse::decode(&body[..]).ok().and_then(|r| r.partial_success);
        if let Some(r) = rejected.filter(|r| r.rejected_data_points > 0) {
            bail!("it rejected {} points: {}", r.rejected_data_points, short(&r.error_message));
        }
        Ok(())
    }

    fn told(&self) -> Option<String> {
        (self.lost > 0).then(|| {
            format!(
                "OTLP: {} of {} exports to {} were lost, the last because: {}; the run folder has every figure",
                self.lost, self.tried, self.url, self.last_problem
            )
        })
    }
}

/// The beginning of what a collector says, fit for a terminal.
fn short(text: &str) -> String {
    crate::live::printable(text).chars().take(MAX_REPEATED_CHARS).collect()
}

fn now_ns() -> u64 {
    unix_ms(wall_now()) * 1_000_000
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::mpsc::Receiver;

    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest,
    };
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
    use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric};
    use squall_record::interval::Sink;

    use super::*;
    use crate::live::sample;
    use crate::outputs::family::BOUNDS_US;
    use crate::outputs::figures::Figures;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A collector that gives every export to the test and answers each with `answer`.
    fn collector(answer: Vec<u8>) -> (SocketAddr, Receiver<(String, Vec<u8>)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (tx, rx) = channel();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                while let Some((head, body)) = read_request(&mut stream) {
                    if tx.send((head, body)).is_err() || stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            }
        });
        (addr, rx)
    }

    fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        Some((head, body))
    }

    fn http(status: &str, body: &[u8]) -> Vec<u8> {
        let mut answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        answer
    }

    fn exported(addr: SocketAddr) -> (Exporter, Figures) {
        let plan = sample::quickstart();
        let mut figures = Figures::new(&plan);
        (0..20).for_each(|s| figures.tick(&sample::tick(&plan, s)).unwrap());
        let url = format!("http://{addr}/").parse().unwrap();
        let exporter = Exporter::start(&url, figures.shared(), Duration::from_millis(5)).unwrap();
        (exporter, figures)
    }

    #[test]
    fn a_collector_receives_every_family_with_its_figures() {
        let (addr, exports) = collector(http("200 OK", b""));
        let (exporter, figures) = exported(addr);
        let (head, body) = exports.recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with("post /v1/metrics http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
        let scope = &request.resource_metrics[0].scope_metrics[0];
        let metric = |name: &str| -> &Metric { scope.metrics.iter().find(|m| m.name == name).unwrap() };

        let Some(Data::Sum(planned)) = &metric("squall.requests.planned").data else { panic!() };
        let expected: u64 =
            (0..20).map(|s| sample::tick(&sample::quickstart(), s).intervals[0].counts.planned).sum();
        assert!(planned.is_monotonic);
        assert_eq!(planned.aggregation_temporality(), AggregationTemporality::Cumulative);
        assert_eq!(planned.data_points[0].value, Some(Number::AsInt(i64::try_from(expected).unwrap())));
        assert_eq!(planned.data_points[0].attributes[0].key, "request");

        assert_eq!(metric("squall.response").unit, "s");
        let Some(Data::Histogram(response)) = &metric("squall.response").data else { panic!() };
        let point = &response.data_points[0];
        assert_eq!(point.bucket_counts.len(), BOUNDS_US.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        assert!(point.time_unix_nano >= point.start_time_unix_nano);
        assert_eq!(exporter.end(), None);
        // The last figures are exported at the end, whether they have changed or not.
        assert!(exports.recv_timeout(PATIENCE).is_ok());
        drop(figures);
    }

    #[test]
    fn lost_exports_are_counted_and_told_at_the_end() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let told = exported(gone).0.end().unwrap();
        assert!(told.contains("exports to http://127.0.0.1") && told.contains("were lost"), "{told}");

        let (addr, _exports) = collector(http("503 Service Unavailable", b"no\x1b[2J room"));
        let told = exported(addr).0.end().unwrap();
        assert!(told.contains("503") && told.contains("room") && !told.contains('\x1b'), "{told}");

        let partial = ExportMetricsServiceResponse {
            partial_success: Some(ExportMetricsPartialSuccess {
                rejected_data_points: 3,
                error_message: "too old".into(),
            }),
        };
        let (addr, _exports) = collector(http("200 OK", &partial.encode_to_vec()));
        let told = exported(addr).0.end().unwrap();
        assert!(told.contains("rejected 3 points: too old"), "{told}");
    }

    #[test]
    fn a_collector_that_never_answers_does_not_hold_up_the_end_for_long() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let (exporter, _figures) = exported(silent.local_addr().unwrap());
        let clock = squall_record::clock::Clock::start();
        assert!(exporter.end().unwrap().contains("were lost"));
        // At most one export under way and the last one; the rest is for a busy machine.
        assert!(clock.now_s() < 10.0 * EXPORT_TIMEOUT.as_secs_f64(), "{} s", clock.now_s());
    }

    #[test]
    fn an_address_is_a_base_to_which_the_path_is_added() {
        let url = |text: &str| text.parse::<CollectorUrl>().map(|u| u.to_string());
        let whole = Ok("http://127.0.0.1:4318/v1/metrics".to_owned());
        assert_eq!(url("http://127.0.0.1:4318"), whole);
        assert_eq!(url("http://127.0.0.1:4318/v1/metrics"), whole);
        assert_eq!(
            url("http://[::1]:9090/api/v1/otlp/").unwrap(),
            "http://[::1]:9090/api/v1/otlp/v1/metrics"
        );
        for wrong in ["127.0.0.1:4318", "https://x", "http://", "http://a b", "http://u:p@x", "http://x/?a=1"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
