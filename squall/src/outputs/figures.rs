//! The sink that adds up.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_record::counts::Counts;
use squall_record::event::{Event, Steered, What};
use squall_record::interval::{GeneratorSample, Sink, TargetSample, Tick};
use squall_record::outcome::Failure;
use squall_reports::generator::{Judge, RunVerdict};
use squall_scenarios::plan::Plan;

use super::catalogue as c;
use super::family::{Description, Distribution, Family, Labels, Point, Value};

/// Follows a run and adds up its figures, warm-up included: a counter that left seconds out would
/// not be one. A [`Sink`] that never fails.
pub struct Figures(SharedFigures);

/// The figures as they are now, for whoever asks. Copies share.
#[derive(Clone)]
pub struct SharedFigures(Arc<Mutex<State>>);

struct State {
    plan: Plan,
    judge: Judge,
    /// Counts changes.
    version: u64,
    elapsed_s: u32,
    phase: Option<usize>,
    measured: bool,
    /// What changes by hand have made of the load, and how many there were.
    steered: Steered,
    changes: u64,
    classes: Vec<Class>,
    pacing: Distribution,
    generator: GeneratorSample,
    reopened: u64,
    unasked: u64,
    cpu_ns: u64,
    wall_ns: u64,
    /// Whether each of the plan's faults is armed.
    faults: Vec<bool>,
    target: Option<TargetSample>,
}

/// What became of one request class.
#[derive(Debug, Clone, Default)]
struct Class {
    counts: Counts,
    response: Distribution,
    service: Distribution,
    lag: Distribution,
}

impl Figures {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self(SharedFigures(Arc::new(Mutex::new(State {
            judge: Judge::new(plan),
            version: 0,
            elapsed_s: 0,
            phase: None,
            measured: false,
            steered: Steered::PLAN,
            changes: 0,
            classes: vec![Class::default(); plan.requests.len()],
            pacing: Distribution::default(),
            generator: GeneratorSample::default(),
            reopened: 0,
            unasked: 0,
            cpu_ns: 0,
            wall_ns: 0,
            faults: vec![false; plan.faults.len()],
            target: None,
            plan: plan.clone(),
        }))))
    }

    /// Where the figures are to be had.
    #[must_use]
    pub fn shared(&self) -> SharedFigures {
        self.0.clone()
    }
}

impl SharedFigures {
    /// Rises with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// Every family of [`super::catalogue`] that has a value, and the version they are of.
    #[must_use]
    pub fn families(&self) -> (u64, Vec<Family>) {
        let state = self.lock();
        (state.version, state.families())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two additions to it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Figures {
    fn tick(&mut self, tick: &Tick) -> io::Result<()> {
        self.0.lock().tick(tick);
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.0.lock().event(event);
        Ok(())
    }

    fn target(&mut self, sample: &TargetSample) -> io::Result<()> {
        let mut state = self.0.lock();
        state.version += 1;
        state.target = Some(sample.clone());
        Ok(())
    }
}

impl State {
    fn tick(&mut self, tick: &Tick) {
        self.version += 1;
        self.elapsed_s = tick.second + 1;
        self.phase = Some(usize::from(tick.generator.phase));
        for i in &tick.intervals {
            let warmup = self.plan.phases.get(usize::from(i.phase)).is_some_and(|p| p.warmup);
            self.measured |= !warmup && i.counts.planned > 0;
            if let Some(class) = self.classes.get_mut(usize::from(i.class)) {
                class.counts += &i.counts;
                class.response.add(&i.response);
                class.service.add(&i.service);
                class.lag.add(&i.lag);
            }
        }
        self.pacing.add(&tick.pacing);
        self.reopened += tick.generator.reopened;
        self.unasked += tick.generator.unasked;
        self.cpu_ns += tick.generator.cpu_ns;
        self.wall_ns += tick.generator.wall_ns;
        self.generator = tick.generator.clone();
        self.judge.add(tick);
    }

    fn event(&mut self, event: &Event) {
        self.version += 1;
        self.judge.event(event);
        let (name, armed) = match &event.what {
            What::Phase { index, .. } => {
                self.phase = Some(usize::from(*index));
                return;
            }
            What::Steered { steer } => {
                self.steered = self.steered.after(*steer);
                self.changes += 1;
                return;
            }
            What::FaultOn { fault, .. } => (&fault.name, true),
            What::FaultOff { name, .. } | What::FaultFailed { name, .. } => (name, false),
            _ => return,
        };
        if let Some(i) = self.plan.faults.iter().position(|f| f.fault.name == *name) {
            self.faults[i] = armed;
        }
    }

    fn families(&self) -> Vec<Family> {
        let mut all = vec![
            one(&c::RUN, self.run_labels(), Value::Count(1)),
            one(&c::ELAPSED, vec![], Value::Count(self.elapsed_s.into())),
        ];
        if let Some(phase) = self.phase.and_then(|i| self.plan.phases.get(i)) {
            let labels = vec![("phase", phase.name.clone()), ("warmup", phase.warmup.to_string())];
            all.push(one(&c::PHASE, labels, Value::Count(1)));
        }
        all.push(self.verdict());
        all.push(one(&c::PAUSED, vec![], Value::Count(u64::from(self.steered.paused))));
        all.push(one(&c::CHANGES, vec![], Value::Count(self.changes)));
        all.extend(self.requests());
        let g = &self.generator;
        let seconds = |ns: u64| Value::Number(ns as f64 / 1e9);
        all.extend([
            one(&c::PACING, vec![], Value::Spread(self.pacing.clone())),
            one(&c::GENERATOR_CPU, vec![], seconds(self.cpu_ns)),
            one(&c::GENERATOR_WALL, vec![], seconds(self.wall_ns)),
            one(&c::WORKERS, vec![], Value::Count(g.workers.into())),
            one(&c::CONNECTIONS, vec![], Value::Count(g.connections.into())),
            one(&c::REOPENED, vec![], Value::Count(self.reopened)),
            one(&c::UNASKED, vec![], Value::Count(self.unasked)),
            one(&c::IN_FLIGHT, vec![], Value::Count(g.in_flight.into())),
            one(&c::WAITING, vec![], Value::Count(g.waiting.into())),
            one(&c::PAUSING, vec![], Value::Count(g.pausing.into())),
        ]);
        let faults = self.plan.faults.iter().zip(&self.faults);
        all.push(Family {
            of: &c::FAULT,
            points: faults
                .map(|(f, armed)| {
                    point(vec![("fault", f.fault.name.clone())], Value::Count(u64::from(*armed)))
                })
                .collect(),
        });
        all.extend(self.target());
        all.retain(|f| !f.points.is_empty());
        all
    }

    fn run_labels(&self) -> Labels {
        vec![
            ("scenario", self.plan.name.clone()),
            ("mode", if self.plan.load.mode.is_closed() { "closed" } else { "open" }.to_owned()),
            ("seed", self.plan.seed.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ]
    }

    fn verdict(&self) -> Family {
        let now = self.measured.then(|| self.judge.verdict_so_far().run);
        let verdicts = [RunVerdict::Valid, RunVerdict::Suspect, RunVerdict::Invalid];
        Family {
            of: &c::VERDICT,
            points: verdicts
                .map(|v| {
                    let labels = vec![("verdict", v.word().to_ascii_lowercase())];
                    point(labels, Value::Count(u64::from(now == Some(v))))
                })
                .to_vec(),
        }
    }

    /// What is told of each request class.
    fn requests(&self) -> Vec<Family> {
        let each = |of, value: fn(&Class) -> Value| Family {
            of,
            points: self.classes().map(|(labels, class)| point(labels, value(class))).collect(),
        };
        let ended = self
            .classes()
            .flat_map(|(labels, class)| {
                outcomes(&class.counts).map(move |(outcome, n)| {
                    let mut labels = labels.clone();
                    labels.push(("outcome", outcome.to_owned()));
                    point(labels, Value::Count(n))
                })
            })
            .collect();
        vec![
            each(&c::PLANNED, |class| Value::Count(class.counts.planned)),
            each(&c::SENT, |class| Value::Count(class.counts.sent)),
            Family { of: &c::ENDED, points: ended },
            each(&c::DROPPED, |class| Value::Count(class.counts.dropped)),
            each(&c::LATE, |class| Value::Count(class.counts.late)),
            each(&c::RETRIED, |class| Value::Count(class.counts.retried)),
            each(&c::RESPONSE, |class| Value::Spread(class.response.clone())),
            each(&c::SERVICE, |class| Value::Spread(class.service.clone())),
            each(&c::LAG, |class| Value::Spread(class.lag.clone())),
        ]
    }

    fn classes(&self) -> impl Iterator<Item = (Labels, &Class)> {
        self.plan
            .requests
            .iter()
            .zip(&self.classes)
            .map(|(r, class)| (vec![("request", r.name.clone())], class))
    }

    fn target(&self) -> Vec<Family> {
        let Some(t) = &self.target else { return vec![] };
        let mut all = vec![one(&c::TARGET_UP, vec![], Value::Count(u64::from(t.up)))];
        if let Some(cpu_s) = t.health.pointer("/process/cpu_s").and_then(serde_json::Value::as_f64) {
            all.push(one(&c::TARGET_CPU, vec![], Value::Number(cpu_s)));
        }
        if let Some(bytes) = t.health.pointer("/process/rss_bytes").and_then(serde_json::Value::as_u64) {
            all.push(one(&c::TARGET_RSS, vec![], Value::Count(bytes)));
        }
        all
    }
}

/// Every way to end, with how many did.
fn outcomes(counts: &Counts) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let counts = *counts;
    let failures = Failure::ALL.into_iter().map(move |f| (f.name(), counts.failed[f as usize]));
    [("ok", counts.ok), ("declined", counts.declined), ("shed", counts.shed)].into_iter().chain(failures)
}

fn one(of: &'static Description, labels: Labels, value: Value) -> Family {
    Family { of, points: vec![point(labels, value)] }
}

fn point(labels: Labels, value: Value) -> Point {
    Point { labels, value }
}
