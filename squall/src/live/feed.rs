//! The sink that makes the picture.

use std::io;

use squall_record::counts::Counts;
use squall_record::event::{Event, Steered, What};
use squall_record::fault;
use squall_record::interval::{Sink, TargetSample, Tick};
use squall_record::journey::{JourneySecond, JourneyTick};
use squall_record::latency::Latency;
use squall_record::outcome::Failure;
use squall_record::trace::{TraceEnd, TraceReplay};
use squall_reports::generator::Judge;
use squall_scenarios::plan::Plan;
use squall_scenarios::words;

use super::course::{Courses, Turn};
use super::history::History;
use super::slo::SloLive;
use super::view::{
    ErrorRow, FaultState, FaultWindow, GeneratorView, JourneyView, Note, Percentiles, SharedView, Stage,
    TargetView, Tone, View, printable,
};
use crate::text::grouped;

/// The most notes kept; the oldest goes first.
pub const MAX_NOTES: usize = 64;
/// The most fault windows kept; one that ended longest ago goes first.
pub const MAX_FAULT_WINDOWS: usize = 64;

/// The most marks kept; the oldest goes first.
pub const MAX_MARKS: usize = 64;

/// Kinds of bad ends: every [`Failure`], then shed and dropped.
const ERROR_KINDS: usize = Failure::COUNT + 2;

/// Follows a run. A [`Sink`] that never fails.
pub struct Live {
    plan: Plan,
    judge: Judge,
    history: History,
    slos: Vec<SloLive>,
    courses: Courses,
    /// Whether what was seen ends the run.
    aborted: bool,
    response: Latency,
    last_seen_s: [Option<u32>; ERROR_KINDS],
    /// When the target last gave its CPU time, and what it was: `(at_s, cpu_s)`.
    target_cpu: Option<(f64, f64)>,
    view: View,
    shared: SharedView,
}

impl Live {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let slos: Vec<SloLive> = plan.slos.iter().map(|s| SloLive::new(s, plan)).collect();
        let view = View {
            version: 0,
            scenario: printable(&plan.name),
            seed: plan.seed,
            stage: Stage::Preparing,
            elapsed_s: 0,
            total_s: plan.duration_s(),
            retries: plan.max_attempts() > 1,
            phases: plan.phases.iter().cloned().collect(),
            phase: None,
            steered: Steered::PLAN,
            closed: plan.load.mode.is_closed(),
            measured: Counts::default(),
            warmup: Counts::default(),
            last: Counts::default(),
            last_response: None,
            response: None,
            columns: Vec::new(),
            column_s: 1,
            recent: Vec::new(),
            faults: scheduled(plan),
            slos: slos.iter().map(|s| s.row(false)).collect(),
            errors: error_rows(&Counts::default(), &[None; ERROR_KINDS]),
            generator: GeneratorView::default(),
            journeys: Vec::new(),
            target: TargetView::default(),
            marks_s: Vec::new(),
            notes: Vec::new(),
            noted: 0,
        };
        Self {
            judge: Judge::new(plan),
            history: History::new(),
            slos,
            courses: Courses::default(),
            aborted: false,
            response: Latency::new(),
            last_seen_s: [None; ERROR_KINDS],
            target_cpu: None,
            shared: SharedView::new(view.clone()),
            view,
            plan: plan.clone(),
        }
    }

    /// Where every new view appears.
    #[must_use]
    pub fn shared(&self) -> SharedView {
        self.shared.clone()
    }

    /// The view as it is now.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    fn publish(&mut self) {
        self.view.version += 1;
        self.shared.publish(self.view.clone());
    }

    fn is_warmup(&self, phase: u16) -> bool {
        self.plan.phases.get(usize::from(phase)).is_some_and(|p| p.warmup)
    }

    fn note(&mut self, at_s: f64, tone: Tone, text: &str) {
        if self.view.notes.len() == MAX_NOTES {
            self.view.notes.remove(0);
        }
        self.view.notes.push(Note { at_s, text: printable(text), tone });
        self.view.noted += 1;
    }

    fn mark(&mut self, at_s: f64) {
        if self.view.marks_s.len() == MAX_MARKS {
            self.view.marks_s.remove(0);
        }
        self.view.marks_s.push(at_s);
    }

    /// The newest window of the fault called `name` that is not over; a new one when the plan
    /// knows of none.
    fn window(&mut self, name: &str, at_s: f64) -> &mut FaultWindow {
        let name = printable(name);
        let faults = &mut self.view.faults;
        let open = |w: &FaultWindow| matches!(w.state, FaultState::Scheduled | FaultState::On);
        let at = faults.iter().position(|w| w.name == name && open(w)).unwrap_or_else(|| {
            if faults.len() == MAX_FAULT_WINDOWS {
                let oldest = faults.iter().position(|w| !open(w)).unwrap_or(0);
                faults.remove(oldest);
            }
            let end_s = self.view.total_s.max(at_s);
            faults.push(FaultWindow { name, start_s: at_s, end_s, state: FaultState::On });
            faults.len() - 1
        });
        &mut faults[at]
    }

    fn count(&mut self, tick: &Tick) {
        let mut all = Counts::default();
        let mut response = Latency::new();
        for i in &tick.intervals {
            all += &i.counts;
            // A closed loop has no response time.
            let timed = if self.view.closed { &i.service } else { &i.response };
            response.merge(timed);
            if self.is_warmup(i.phase) {
                self.view.warmup += &i.counts;
            } else {
                self.view.measured += &i.counts;
                self.response.merge(timed);
            }
        }
        for (seen, n) in self.last_seen_s.iter_mut().zip(bad_ends(&all)) {
            if n > 0 {
                *seen = Some(tick.second);
            }
        }
        self.history.push(tick.second, all, &response);
        self.view.last = all;
        self.view.last_response = Percentiles::of(&response);
        self.view.response = Percentiles::of(&self.response);
    }

    fn judge(&mut self, tick: &Tick) {
        self.judge.add(tick);
        let g = &tick.generator;
        let (verdict, reasons) = if self.view.measured.planned > 0 {
            let v = self.judge.verdict();
            (Some(v.run), v.reasons)
        } else {
            (None, Vec::new())
        };
        self.view.generator = GeneratorView {
            cpu: (g.wall_ns > 0).then(|| g.cpu_ns as f64 / g.wall_ns as f64),
            pacing_p99: tick.pacing.quantile(0.99),
            connections: g.connections,
            in_flight: g.in_flight,
            waiting: g.waiting,
            verdict,
            reasons,
        };
    }

    /// Tells when a fault shows in the promises, and when it is over.
    fn follow(&mut self, second: u32) {
        let Some(broken) = self.slos.iter().filter_map(SloLive::broken).reduce(|a, b| a || b) else { return };
        for turn in self.courses.second(second, broken) {
            let (tone, text) = match turn {
                Turn::Noticed { name, after_s } => (
                    Tone::Warning,
                    format!("fault {name} noticed after {after_s:.1} s: a promise is not kept"),
                ),
                Turn::Back { name, after_s } => (
                    Tone::Good,
                    format!("back {after_s:.1} s after fault {name} ended: promises are kept again"),
                ),
            };
            self.note(f64::from(second + 1), tone, &text);
        }
    }

    /// What a fault has done, behind its name.
    fn affected(&self, name: &str, n: u64) -> String {
        let spec = self.plan.faults.iter().map(|f| &f.fault).find(|f| f.name == name);
        let (kind, place) = spec.map_or(("", String::new()), |f| (f.effect.name(), f.place.to_string()));
        format!(": it {}", fault::affected(kind, &place, &grouped(n)))
    }

    /// Whether a fault is there from the beginning: what others are compared with.
    fn is_usual(&self, name: &str) -> bool {
        self.plan.faults.iter().any(|f| f.fault.name == name && f.start_s <= 0.0)
    }

    fn settle(&mut self) {
        let ended = matches!(self.view.stage, Stage::Ended { .. });
        self.view.slos = self.slos.iter().map(|s| s.row(ended)).collect();
        self.view.errors = error_rows(self.view.counts().0, &self.last_seen_s);
        self.view.columns = self.history.columns();
        self.view.column_s = self.history.column_s();
        self.view.recent = self.history.recent();
    }
}

/// A journey's second, with what was counted before it.
fn journey(second: &JourneySecond, before: Option<&JourneyView>) -> JourneyView {
    let mut service = Latency::new();
    let mut sent = 0;
    let (mut shed, mut failed) = before.map_or((0, 0), |b| (b.shed, b.failed));
    for step in &second.steps {
        service.merge(&step.closed_service);
        sent += step.counts.sent;
        shed += step.counts.shed;
        failed += step.counts.failed_total();
    }
    let mut iterations = before.map(|b| b.iterations).unwrap_or_default();
    iterations += &second.iterations;
    let name = printable(&second.journey);
    JourneyView {
        name,
        users: second.users,
        sent,
        service: Percentiles::of(&service),
        shed,
        failed,
        iterations,
    }
}

impl Sink for Live {
    fn tick(&mut self, tick: &Tick) -> io::Result<()> {
        if self.view.stage == Stage::Preparing {
            self.view.stage = Stage::Running;
        }
        self.view.elapsed_s = tick.second + 1;
        self.view.phase = Some(self.plan.phase_at(f64::from(tick.second)));
        self.count(tick);
        self.judge(tick);
        for slo in &mut self.slos {
            slo.add(tick, &self.plan);
        }
        self.follow(tick.second);
        self.settle();
        self.publish();
        Ok(())
    }

    fn journeys(&mut self, tick: &JourneyTick) -> io::Result<()> {
        if self.view.stage == Stage::Preparing {
            self.view.stage = Stage::Running;
        }
        self.view.elapsed_s = self.view.elapsed_s.max(tick.second + 1);
        let before = std::mem::take(&mut self.view.journeys);
        self.view.journeys =
            tick.journeys.iter().enumerate().map(|(i, j)| journey(j, before.get(i))).collect();
        self.judge.add_journeys(tick);
        if !self.plan.has_load() {
            let v = self.judge.verdict_so_far();
            (self.view.generator.verdict, self.view.generator.reasons) = (Some(v.run), v.reasons);
        }
        self.publish();
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let at_s = event.at_s;
        self.judge.event(event);
        match &event.what {
            What::Started => {
                self.view.stage = Stage::Running;
                let text = if self.view.closed {
                    "a closed loop began: a maximum throughput, and service times"
                } else {
                    "load began"
                };
                self.note(at_s, Tone::Info, text);
            }
            What::Phase { index, name } => {
                self.view.phase = Some(usize::from(*index));
                let text = self.phase_note(usize::from(*index), name);
                self.note(at_s, Tone::Info, &text);
            }
            What::FaultOn { fault, .. } => {
                let w = self.window(&fault.name, at_s);
                w.state = FaultState::On;
                w.start_s = at_s;
                w.end_s = w.end_s.max(at_s);
                if !self.is_usual(&fault.name) {
                    self.courses.begun(&fault.name, at_s);
                }
                self.note(at_s, Tone::Warning, &format!("fault {} on: {}", fault.name, words::fault(fault)));
            }
            What::FaultOff { name, affected } => {
                let w = self.window(name, at_s);
                w.state = FaultState::Off;
                w.end_s = at_s.max(w.start_s);
                self.courses.ended(name, at_s);
                let done = affected.map(|n| self.affected(name, n)).unwrap_or_default();
                self.note(at_s, Tone::Good, &format!("fault {name} off{done}"));
            }
            What::FaultFailed { name, reason, .. } => {
                let w = self.window(name, at_s);
                w.state = FaultState::Failed;
                w.end_s = at_s.max(w.start_s);
                self.courses.ended(name, at_s);
                self.note(at_s, Tone::Bad, &format!("fault {name} failed: {reason}"));
            }
            What::Steered { steer } => {
                self.view.steered = self.view.steered.after(*steer);
                self.mark(at_s);
                self.note(at_s, Tone::Warning, &format!("load changed by hand: {steer}"));
            }
            What::Aborted { reason } => {
                self.aborted = true;
                self.mark(at_s);
                self.note(at_s, Tone::Bad, &format!("the run ends: {reason}"));
            }
            What::Mark { text } => {
                self.mark(at_s);
                self.note(at_s, Tone::Info, &format!("mark: {text}"));
            }
            What::Target { up, reason } => {
                self.view.target.up = Some(*up);
                if *up {
                    self.note(at_s, Tone::Good, &format!("target up: {reason}"));
                } else {
                    self.target_cpu = None;
                    self.note(at_s, Tone::Bad, &format!("target down: {reason}"));
                }
            }
            What::Trace { phase, replay } => {
                let TraceReplay { totals, end } = replay;
                let tone = match end {
                    TraceEnd::Failed { .. } => Tone::Bad,
                    _ if totals.broken > 0 => Tone::Warning,
                    _ => Tone::Info,
                };
                self.note(at_s, tone, &format!("trace of {phase}: {}", totals.told(end)));
            }
            What::Ended { interrupted } => {
                self.view.stage = Stage::Ended { interrupted: *interrupted && !self.aborted };
                self.settle();
                self.note(
                    at_s,
                    Tone::Info,
                    match (*interrupted, self.aborted) {
                        (_, true) => "the run was ended by what it saw",
                        (true, false) => "the run was ended by hand",
                        (false, false) => "the run ended",
                    },
                );
            }
        }
        self.publish();
        Ok(())
    }

    fn target(&mut self, sample: &TargetSample) -> io::Result<()> {
        let health = &sample.health;
        let cpu_s = health.pointer("/process/cpu_s").and_then(serde_json::Value::as_f64);
        let cpu = match (self.target_cpu, cpu_s) {
            // A target that was restarted counts from zero again.
            (Some((at_s, was)), Some(is)) if sample.at_s > at_s && is >= was => {
                Some((is - was) / (sample.at_s - at_s))
            }
            _ => None,
        };
        self.target_cpu = cpu_s.map(|cpu_s| (sample.at_s, cpu_s));
        let whole = |path| health.pointer(path).and_then(serde_json::Value::as_u64);
        self.view.target = TargetView {
            up: Some(sample.up),
            cpu,
            rss_bytes: whole("/process/rss_bytes"),
            queue_depth: whole("/store/queue_depth"),
        };
        self.publish();
        Ok(())
    }
}

impl Live {
    fn phase_note(&self, index: usize, name: &str) -> String {
        let count = self.plan.phases.len();
        let rate = self.plan.phases.get(index).map_or(String::new(), |p| {
            if self.view.closed {
                return format!(": as fast as the connections allow, for {:.0} s", p.duration_s());
            }
            let warmup = if p.warmup { ", warm-up" } else { "" };
            let (from_rps, to_rps) = p.curve.ends_rps();
            let rate = if let Some(trace) = &p.trace {
                format!("{} at speed {}", trace.file, trace.speed)
            } else if from_rps == to_rps {
                format!("{}/s", grouped(from_rps.round() as u64))
            } else {
                format!("{}/s to {}/s", grouped(from_rps.round() as u64), grouped(to_rps.round() as u64))
            };
            format!(": {rate} for {:.0} s{warmup}", p.duration_s())
        });
        format!("phase {}/{count} {name}{rate}", index + 1)
    }
}

fn scheduled(plan: &Plan) -> Vec<FaultWindow> {
    let mut windows: Vec<FaultWindow> = plan
        .faults
        .iter()
        .take(MAX_FAULT_WINDOWS)
        .map(|f| FaultWindow {
            name: printable(&f.fault.name),
            start_s: f.start_s,
            end_s: f.end_s,
            state: FaultState::Scheduled,
        })
        .collect();
    windows.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    windows
}

fn bad_ends(c: &Counts) -> [u64; ERROR_KINDS] {
    let mut all = [0; ERROR_KINDS];
    all[..Failure::COUNT].copy_from_slice(&c.failed);
    all[Failure::COUNT..].copy_from_slice(&[c.shed, c.dropped]);
    all
}

fn error_rows(counts: &Counts, last_seen_s: &[Option<u32>; ERROR_KINDS]) -> Vec<ErrorRow> {
    let names = Failure::ALL.into_iter().map(Failure::name).chain(["shed", "dropped"]);
    let mut rows: Vec<ErrorRow> = names
        .zip(bad_ends(counts))
        .zip(last_seen_s)
        .map(|((kind, count), last_s)| ErrorRow { kind, count, last_s: last_s.filter(|_| count > 0) })
        .collect();
    // Stable: kinds with equal counts keep their places.
    rows.sort_by_key(|r| std::cmp::Reverse(r.count));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::{self, Step};
    use crate::live::{MAX_COLUMNS, RECENT_S, SloState};
    use squall_record::fault::{Effect, FaultPoint, FaultSpec, Place};
    use squall_scenarios::curve::Curve;

    fn fed(until_s: u32) -> Live {
        let plan = sample::quickstart();
        let mut live = Live::new(&plan);
        for step in sample::steps(&plan, until_s) {
            match step {
                Step::Tick(t) => live.tick(&t).unwrap(),
                Step::Event(e) => live.event(&e).unwrap(),
                Step::Target(t) => live.target(&t).unwrap(),
            }
        }
        live
    }

    #[test]
    fn every_change_is_published_and_an_old_view_stays_as_it_was() {
        let plan = sample::quickstart();
        let mut live = Live::new(&plan);
        let shared = live.shared();
        let before = shared.latest();
        live.event(&Event { at_s: 0.0, what: What::Started }).unwrap();
        let after = shared.latest();
        assert_eq!((before.stage, after.stage), (Stage::Preparing, Stage::Running));
        assert!(after.version > before.version);
    }

    #[test]
    fn warm_up_is_counted_apart() {
        let warm = fed(4);
        assert!(warm.view().counts().1 && warm.view().measured.is_empty());
        assert_eq!(warm.view().generator.verdict, None);
        let later = fed(20);
        assert!(!later.view().counts().1 && !later.view().warmup.is_empty());
        assert!(later.view().generator.verdict.is_some());
        assert!(later.view().response.unwrap().n <= later.view().measured.sent);
    }

    #[test]
    fn fault_windows_follow_their_events() {
        let states = |s: u32| fed(s).view().faults.iter().map(|f| f.state).collect::<Vec<_>>();
        assert_eq!(states(10), [FaultState::Scheduled, FaultState::Scheduled]);
        assert_eq!(states(30), [FaultState::On, FaultState::Scheduled]);
        assert_eq!(states(60), [FaultState::Off, FaultState::Off]);
    }

    #[test]
    fn a_fault_nobody_planned_has_a_window_and_windows_notes_and_marks_are_bounded() {
        let mut live = fed(1);
        let known = live.view.faults.len();
        for n in 0..3 * MAX_FAULT_WINDOWS {
            let fault = FaultSpec {
                name: format!("extra-{n}"),
                place: Place::Point(FaultPoint::Api),
                effect: Effect::Hang,
                fraction: 0.5,
            };
            live.event(&Event { at_s: n as f64, what: What::FaultOn { fault, due_s: None } }).unwrap();
        }
        assert!(known < MAX_FAULT_WINDOWS);
        assert_eq!(live.view.faults.len(), MAX_FAULT_WINDOWS);
        assert_eq!(live.view.notes.len(), MAX_NOTES);
        for n in 0..2 * MAX_MARKS {
            live.event(&Event { at_s: n as f64, what: What::Mark { text: "m".to_owned() } }).unwrap();
        }
        assert_eq!(live.view.marks_s.len(), MAX_MARKS);
        assert_eq!(live.view.marks_s[MAX_MARKS - 1], 2.0 * MAX_MARKS as f64 - 1.0);
    }

    #[test]
    fn errors_have_a_row_for_every_kind_even_before_any_happened() {
        let kinds = |s: u32| fed(s).view().errors.len();
        assert_eq!((kinds(0), kinds(40)), (ERROR_KINDS, ERROR_KINDS));
        let view = fed(60);
        assert!(view.view().errors[0].count > 0 && view.view().errors[0].last_s.is_some());
        assert!(view.view().errors.is_sorted_by_key(|r| std::cmp::Reverse(r.count)));
    }

    #[test]
    fn the_targets_cpu_is_the_difference_of_its_readings_and_survives_its_restart() {
        let mut live = fed(0);
        let mut read = |at_s: f64, cpu_s: f64| {
            let health = serde_json::json!({"process": {"cpu_s": cpu_s, "rss_bytes": 1024}, "store": {"queue_depth": 3}});
            live.target(&TargetSample { at_s, up: true, health }).unwrap();
            live.view.target.cpu
        };
        assert_eq!(read(1.0, 10.0), None);
        assert_eq!(read(3.0, 11.0), Some(0.5));
        assert_eq!(read(4.0, 0.1), None);
        assert_eq!((live.view.target.rss_bytes, live.view.target.queue_depth), (Some(1024), Some(3)));
    }

    #[test]
    fn a_promise_at_risk_in_the_fault_is_missed_only_when_the_whole_budget_is_gone() {
        assert_eq!(fed(20).view().slo_state(), Some(SloState::Ok));
        assert_eq!(fed(32).view().slo_state(), Some(SloState::AtRisk));
        assert_eq!(fed(60).view().slo_state(), Some(SloState::Missed));
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_length_of_the_run() {
        let length_s = 20 * MAX_COLUMNS as u32;
        let mut plan = sample::quickstart();
        let last = plan.phases.last_mut().unwrap();
        last.end_s = f64::from(length_s);
        last.curve = Curve::hold(last.duration_s(), 100.0);
        let mut live = Live::new(&plan);
        // One real second, again and again: what is kept must not depend on what it holds.
        let mut tick = sample::tick(&plan, 15);
        for s in 0..length_s {
            tick.second = s;
            tick.generator.second = s;
            live.tick(&tick).unwrap();
        }
        let v = live.view();
        assert!(v.columns.len() <= MAX_COLUMNS && v.recent.len() <= RECENT_S && v.notes.len() <= MAX_NOTES);
        assert_eq!(
            v.columns.iter().map(|c| c.counts.planned).sum::<u64>(),
            v.measured.planned + v.warmup.planned
        );
    }
}
