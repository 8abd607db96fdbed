//! `[[phase]] trace`: recorded traffic, whose beginning is looked at so that what cannot be
//! replayed is told before the run.

use super::curve::Rules;
use super::scalar::within;
use crate::error::{did_you_mean, tick};
use crate::file::scalar::{At, ColumnText};
use crate::file::tables::{Phase, Trace, TraceFormatText, UnitText};
use crate::findings::Findings;
use crate::plan::{Column, RequestPlan, TraceFormat, TraceHead, TracePlan};
use crate::trace::open::look;
use crate::trace::stamp::StampUnit;
use crate::units::number::grouped;
use crate::units::rate::format_rate;

/// The least speed: a thousandth of the recorded one.
pub const MIN_SPEED: f64 = 0.001;
/// The greatest speed: a week in a minute.
pub const MAX_SPEED: f64 = 10_000.0;
/// The most lines that a scenario may allow to be no records.
pub const MAX_BROKEN: u64 = 1_000_000_000;

const DEFAULT_BROKEN: u64 = 100;

pub(super) fn lower(
    typed: &At<Trace>,
    what: &str,
    rules: &Rules<'_>,
    findings: &mut Findings,
) -> Option<TracePlan> {
    let max_rate_rps = rules.max_rate_rps;
    let range = MIN_SPEED..=MAX_SPEED;
    let speed = within(typed.speed.as_ref(), 1.0, range, &format!("{what} trace.speed"), findings);
    let max_broken = within(
        typed.max_broken.as_ref(),
        DEFAULT_BROKEN,
        0..=MAX_BROKEN,
        &format!("{what} trace.max_broken"),
        findings,
    );
    let format = One { typed, what, findings }.format();
    let mut plan = TracePlan {
        file: rules.folder.join(&**typed.file).to_string_lossy().into_owned(),
        format: format?,
        speed: speed?,
        spread: typed.spread.unwrap_or(true),
        request: typed.request.as_deref().cloned(),
        max_broken: max_broken?,
        max_rate_rps,
        head: TraceHead::default(),
    };
    match look(&plan) {
        Ok(head) => plan.head = head,
        Err(e) => {
            findings.add(typed.file.span(), format!("{what} trace.file {}", e.located()));
            return None;
        }
    }
    if plan.head.rate_rps > max_rate_rps {
        findings.add(
            typed.speed.as_ref().map_or(typed.file.span(), At::span),
            format!(
                "{what} trace begins with about {} arrivals a second at speed {}, above load.max_rate {}; \
                 lower the speed or raise the limit",
                grouped(plan.head.rate_rps),
                plan.speed,
                format_rate(max_rate_rps)
            ),
        );
        return None;
    }
    Some(plan)
}

/// One trace being checked.
struct One<'a> {
    typed: &'a Trace,
    what: &'a str,
    findings: &'a mut Findings,
}

impl One<'_> {
    fn tell<T>(&mut self, at: &At<T>, message: impl std::fmt::Display) {
        self.findings.add(at.span(), format!("{} {message}", self.what));
    }

    fn format(&mut self) -> Option<TraceFormat> {
        let Trace { file, format, time, unit, method, path, request, .. } = self.typed;
        if *format == TraceFormatText::Combined {
            let columns = [("time", time), ("method", method), ("path", path)];
            let extra = columns.into_iter().find_map(|(key, c)| Some((key, c.as_ref()?.span())));
            let extra = extra.or_else(|| Some(("unit", unit.as_ref()?.span())));
            if let Some((key, span)) = extra {
                let what = self.what;
                self.findings.add(
                    span,
                    format!("{what} trace.{key} does nothing here: the format `combined` says where everything stands; remove it"),
                );
                return None;
            }
            return Some(TraceFormat::Combined);
        }
        let Some(time) = time else {
            self.tell(file, "trace.time is missing; say which column or key holds the stamp");
            return None;
        };
        match (path, request) {
            (None, Some(request)) => {
                self.tell(
                    request,
                    "trace.request sends what was recorded, and nothing says where its path stands; add trace.path",
                );
                return None;
            }
            (Some(path), None) => {
                self.tell(
                    path,
                    "trace.path is read only to send what was recorded; name the class to send it as in trace.request, or remove it",
                );
                return None;
            }
            _ => {}
        }
        if let (Some(method), None) = (method, path) {
            self.tell(method, "trace.method does nothing without trace.path; add it, or remove this");
            return None;
        }
        let unit = match unit.as_deref() {
            None | Some(UnitText::S) => StampUnit::S,
            Some(UnitText::Ms) => StampUnit::Ms,
            Some(UnitText::Us) => StampUnit::Us,
            Some(UnitText::Ns) => StampUnit::Ns,
        };
        if *format == TraceFormatText::Csv {
            let time = self.column(time);
            let method = method.as_ref().map(|m| self.column(m));
            let path = path.as_ref().map(|p| self.column(p));
            return Some(TraceFormat::Csv {
                time: time?,
                method: optional(method)?,
                path: optional(path)?,
                unit,
            });
        }
        let time = self.key(time);
        let method = method.as_ref().map(|m| self.key(m));
        let path = path.as_ref().map(|p| self.key(p));
        Some(TraceFormat::Jsonl { time: time?, method: optional(method)?, path: optional(path)?, unit })
    }

    fn column(&mut self, typed: &At<ColumnText>) -> Option<Column> {
        match &**typed {
            ColumnText::Name(name) if !name.is_empty() => return Some(Column::Name(name.clone())),
            ColumnText::Position(n) if (1..=MAX_COLUMN).contains(n) => {
                return Some(Column::Position(*n as usize));
            }
            _ => self.tell(typed, format!("a column is a name, or a number from 1 to {MAX_COLUMN}")),
        }
        None
    }

    fn key(&mut self, typed: &At<ColumnText>) -> Option<String> {
        match &**typed {
            ColumnText::Name(name) if !name.is_empty() => return Some(name.clone()),
            _ => self.tell(typed, "a key of JSON is a name, or a pointer such as \"/request/time\""),
        }
        None
    }
}

/// The greatest position of a column.
const MAX_COLUMN: u64 = crate::trace::MAX_COLUMNS as u64;

/// `None` when there was something and it was wrong.
fn optional<T>(found: Option<Option<T>>) -> Option<Option<T>> {
    match found {
        Some(None) => None,
        Some(some) => Some(some),
        None => Some(None),
    }
}

/// The mix of a phase that sends what was recorded: nothing but `class`, which has no body.
pub(super) fn mix(
    phase: &Phase,
    class: &At<String>,
    requests: &[RequestPlan],
    findings: &mut Findings,
) -> Vec<f64> {
    let what = format!("phase {}: trace.request", tick(&phase.name));
    if let Some(mix) = &phase.mix {
        findings.add(
            mix.span(),
            format!("{what} sends what was recorded and the mix something else; remove one of them"),
        );
    }
    match requests.iter().find(|r| r.name == **class) {
        None => {
            let hint = did_you_mean(class, requests.iter().map(|r| r.name.as_str()));
            let known: Vec<&str> = requests.iter().map(|r| r.name.as_str()).collect();
            let known = known.join(", ");
            findings.add(
                class.span(),
                format!("{what}: there is no request {}{hint} (there are: {known})", tick(class)),
            );
        }
        Some(r) if r.body.is_some() => findings.add(
            class.span(),
            format!(
                "{what} {} has a body, and what was recorded has none; name a request without one",
                tick(class)
            ),
        ),
        Some(r) if r.retry.is_some() => findings.add(
            class.span(),
            format!(
                "{what} {} is asked again when it fails, and what was recorded is asked once; name a request \
                 without retry",
                tick(class)
            ),
        ),
        Some(_) => {}
    }
    requests.iter().map(|r| if r.name == **class { 1.0 } else { 0.0 }).collect()
}
