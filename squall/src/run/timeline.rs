//! Phases and faults, each at its time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, Scope};
use std::time::Duration;

use squall_chaos::acts::order::{Answer, Begin, Target, Why};
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::What;
use squall_record::fault::{Effect, Place};
use squall_scenarios::plan::{FaultPlan, Plan};

use super::admin::Admin;
use super::experiment::Judge;
use super::holders::{Ask, HitsLog, Holder, Keeper};
use super::outside::{Guard, LEASE_MS};
use super::places::Places;
use super::proxies::Proxies;
use super::stream::Stream;
use crate::commands::guard::heal_after_loss;

/// How long one sleep may last, so that the end of the run and the guard's answers are noticed.
const NAP: Duration = Duration::from_millis(20);
/// How long the ends of the last faults are waited for.
const END_TIMEOUT_S: f64 = 30.0;

/// What happens at a time.
#[derive(Debug, Clone, Copy)]
enum Act<'a> {
    Start,
    Phase(usize),
    On(&'a FaultPlan),
    Off(&'a FaultPlan),
}

/// What faults are made with.
pub struct Hands<'a> {
    /// The admin port of the service.
    pub admin: Option<&'a Admin>,
    /// What faults act on beside it.
    pub places: Places<'a>,
    /// The guard and what it says, when the plan has faults for it.
    pub guard: Option<(Guard, Receiver<Answer>)>,
    /// The run's proxies.
    pub proxies: Option<&'a Proxies>,
    /// What the experiment says of the last seconds, and what ends the run when they say so.
    pub judge: Judge,
    /// Ends the run.
    pub stop: &'a AtomicBool,
    /// Where it is kept which requests faults have hit.
    pub log: HitsLog,
}

/// Announces phases and arms faults until the last has ended or `done` is set; faults that are still armed then are ended.
///
/// # Errors
/// When a sink cannot go on.
pub fn keep(
    plan: &Plan,
    hands: Hands<'_>,
    clock: Clock,
    stream: &Stream,
    done: &AtomicBool,
) -> io::Result<()> {
    thread::scope(|scope| {
        let log = &hands.log;
        let points = Keeper::new(hands.admin.map(|a| a as &dyn Holder), plan, clock, stream, log);
        let proxied = Keeper::new(hands.proxies.map(|p| p as &dyn Holder), plan, clock, stream, log);
        let (ask_points, asked) = channel();
        let inside = scope.spawn(move || points.keep(&asked));
        let (ask_proxies, asked) = channel();
        let between = scope.spawn(move || proxied.keep(&asked));
        let outside = Outside {
            plan,
            clock,
            stream,
            done,
            places: hands.places,
            guard: hands.guard,
            acting: Vec::new(),
            refusal: None,
        };
        let mut walk = Walk {
            plan,
            outside,
            holders: Holders { points: ask_points, proxies: ask_proxies },
            judge: hands.judge,
            stop: hands.stop,
            waiting: Vec::new(),
            looked_at: None,
            steady: None,
            lasts: false,
        };
        let kept = walk.go(scope);
        drop(walk);
        let panicked = || Err(io::Error::other("a thread that holds faults panicked"));
        let inside = inside.join().unwrap_or_else(|_| panicked());
        let between = between.join().unwrap_or_else(|_| panicked());
        kept.and(inside).and(between)
    })
}

/// Whoever holds faults on a thread of their own.
struct Holders<'a> {
    points: Sender<Ask<'a>>,
    proxies: Sender<Ask<'a>>,
}

impl<'a> Holders<'a> {
    /// Who holds faults at `place`, if it is one of them.
    fn of(&self, place: &Place) -> Option<&Sender<Ask<'a>>> {
        match place {
            Place::Point(_) => Some(&self.points),
            Place::Proxy(_) => Some(&self.proxies),
            _ => None,
        }
    }
}

/// The way along the time axis.
struct Walk<'a> {
    plan: &'a Plan,
    outside: Outside<'a>,
    holders: Holders<'a>,
    judge: Judge,
    stop: &'a AtomicBool,
    /// Faults whose time has come and whose condition has not.
    waiting: Vec<&'a FaultPlan>,
    /// How many seconds were over when the conditions were last looked at.
    looked_at: Option<u32>,
    /// Whether the steady state was looked at, and whether it held.
    steady: Option<bool>,
    /// Whether a fault lasts until the load's last answer.
    lasts: bool,
}

impl<'a> Walk<'a> {
    fn go<'s>(&mut self, scope: &'s Scope<'s, '_>) -> io::Result<()>
    where
        'a: 's,
    {
        let (clock, stream, done) = (self.outside.clock, self.outside.stream, self.outside.done);
        'acts: for (at_s, act) in acts(self.plan) {
            // The clock reads 0 before its zero, and only what is there from the beginning begins then.
            while !is_from_zero(&act) && (clock.now_s() < at_s || clock.until(0) > Duration::ZERO) {
                if done.load(Ordering::Relaxed) {
                    break 'acts;
                }
                self.outside.hear(scope)?;
                self.begin_waiting()?;
                thread::sleep(clock.until((at_s * NANOS_PER_SEC as f64) as u64).min(NAP));
            }
            match act {
                Act::Start => stream.event(0.0, What::Started)?,
                Act::Phase(index) => {
                    let name = self.plan.phases[index].name.clone();
                    stream.event(at_s, What::Phase { index: index as u16, name })?;
                }
                Act::On(f) => self.on(f)?,
                Act::Off(f)
                    if f.end_s >= self.plan.duration_s()
                        && self.holders.of(&f.fault.place).is_some()
                        && !self.waits(f) =>
                {
                    self.lasts = true;
                }
                Act::Off(f) => self.off(f)?,
            }
        }
        // What lasts as long as the load acts until its last answer.
        while !done.load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) && self.lasts {
            self.outside.hear(scope)?;
            thread::sleep(NAP);
        }
        self.outside.end_all(scope)
    }

    /// A fault's time has come.
    fn on(&mut self, f: &'a FaultPlan) -> io::Result<()> {
        // What is there from the beginning belongs to the steady state.
        if f.start_s > 0.0 && !self.is_steady(f)? {
            let why = "the steady state did not hold, so it was not begun";
            return self.outside.failed(&f.fault.name, self.outside.clock.now_s(), why.to_owned());
        }
        if f.when.is_some() {
            self.waiting.push(f);
            self.looked_at = None;
            return self.begin_waiting();
        }
        self.begin(f, None)
    }

    /// Whether the steady state held before the first fault. When it did not, the run ends.
    fn is_steady(&mut self, first: &FaultPlan) -> io::Result<bool> {
        if let Some(steady) = self.steady {
            return Ok(steady);
        }
        let held = self.judge.steady(first.start_s, self.outside.clock);
        self.steady = Some(held.is_ok());
        if let Err(reason) = held {
            self.outside.stream.event(self.outside.clock.now_s(), What::Aborted { reason })?;
            self.stop.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(true)
    }

    /// Begins a fault, which was due at `due_s` when it waited for a condition.
    fn begin(&mut self, f: &'a FaultPlan, due_s: Option<f64>) -> io::Result<()> {
        match self.holders.of(&f.fault.place) {
            // When that thread has ended, a sink has failed it, which it says when it is joined.
            Some(holder) => drop(holder.send(Ask::Arm(f, due_s))),
            None => self.outside.begin(f, due_s)?,
        }
        Ok(())
    }

    /// Begins those whose condition holds by now.
    fn begin_waiting(&mut self) -> io::Result<()> {
        let over = self.judge.seconds_over();
        if self.waiting.is_empty() || self.looked_at.replace(over) == Some(over) {
            return Ok(());
        }
        let judge = &self.judge;
        let holds = |f: &&FaultPlan| f.when.as_ref().is_some_and(|when| judge.holds(when));
        let (ready, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(holds);
        self.waiting = waiting;
        let ready: Vec<&FaultPlan> = ready;
        let due_s = Some(self.outside.clock.now_s());
        ready.into_iter().try_for_each(|f| self.begin(f, due_s))
    }

    /// Whether its condition has not held yet.
    fn waits(&self, f: &FaultPlan) -> bool {
        self.waiting.iter().any(|waiting| waiting.fault.name == f.fault.name)
    }

    /// A fault's time is over.
    fn off(&mut self, f: &'a FaultPlan) -> io::Result<()> {
        let name = &f.fault.name;
        if self.waits(f) {
            self.waiting.retain(|waiting| waiting.fault.name != *name);
            let when = f.when.as_ref().map(|when| self.judge.stands(when)).unwrap_or_default();
            let reason = format!("its condition never held while its time lasted: {when}");
            return self.outside.failed(name, self.outside.clock.now_s(), reason);
        }
        match self.holders.of(&f.fault.place) {
            Some(holder) => drop(holder.send(Ask::End(f))),
            None => self.outside.end(f),
        }
        Ok(())
    }
}

/// Everything that happens, in order of time; at the same time a fault ends before another begins.
fn acts(plan: &Plan) -> Vec<(f64, Act<'_>)> {
    let mut acts = vec![(0.0, Act::Start)];
    acts.extend(plan.phases.iter().enumerate().map(|(i, p)| (p.start_s, Act::Phase(i))));
    acts.extend(plan.faults.iter().map(|f| (f.end_s, Act::Off(f))));
    acts.extend(plan.faults.iter().map(|f| (f.start_s, Act::On(f))));
    // What is there from the beginning is there before the first request.
    let first = |act: &Act<'_>| !is_from_zero(act);
    acts.sort_by(|a, b| a.0.total_cmp(&b.0).then(first(&a.1).cmp(&first(&b.1))));
    acts
}

/// Whether it begins a fault that is there from the beginning.
fn is_from_zero(act: &Act<'_>) -> bool {
    matches!(act, Act::On(f) if f.start_s <= 0.0)
}

/// A fault outside that was asked for.
struct Acting<'a> {
    plan: &'a FaultPlan,
    /// When the condition held that it waited for.
    due_s: Option<f64>,
    /// Whether the guard has begun it.
    begun: bool,
    /// Whether it acts on the service that this run has started.
    on_service: bool,
}

/// Faults outside the service.
struct Outside<'a> {
    plan: &'a Plan,
    clock: Clock,
    stream: &'a Stream,
    done: &'a AtomicBool,
    places: Places<'a>,
    guard: Option<(Guard, Receiver<Answer>)>,
    acting: Vec<Acting<'a>>,
    /// Why the guard cannot begin anything, once it has said so.
    refusal: Option<String>,
}

impl<'a> Outside<'a> {
    fn begin(&mut self, f: &'a FaultPlan, due_s: Option<f64>) -> io::Result<()> {
        let begun = self.ask(f);
        match begun {
            Ok(on_service) => {
                self.acting.push(Acting { plan: f, due_s, begun: false, on_service });
                Ok(())
            }
            Err(e) => self.failed(&f.fault.name, self.clock.now_s(), format!("{e:#}")),
        }
    }

    fn ask(&self, f: &FaultPlan) -> anyhow::Result<bool> {
        if let Some(reason) = &self.refusal {
            anyhow::bail!("{reason}");
        }
        let Some((guard, _)) = &self.guard else { anyhow::bail!("there is no guard to make it happen") };
        anyhow::ensure!(self.clock.now_s() < f.end_s, "its window was over before it could be begun");
        let targets = self.places.of(&f.fault, &self.plan.places)?;
        let on_service = targets.iter().any(|t| matches!(t, Target::Process { comes_back: true, .. }));
        guard.begin(Begin { fault: f.fault.clone(), targets, ttl_ms: LEASE_MS, seed: self.plan.seed })?;
        Ok(on_service)
    }

    fn end(&self, f: &FaultPlan) {
        if let Some((guard, _)) = &self.guard
            && self.acting.iter().any(|a| a.plan.fault.name == f.fault.name)
        {
            // What becomes of it the guard says, or its end.
            let _ = guard.end(&f.fault.name);
        }
    }

    /// Takes down what the guard says.
    fn hear<'s>(&mut self, scope: &'s Scope<'s, '_>) -> io::Result<()>
    where
        'a: 's,
    {
        loop {
            let Some((_, answers)) = &self.guard else { return Ok(()) };
            match answers.try_recv() {
                Ok(answer) => self.take(answer, scope)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return self.lost(scope),
            }
        }
    }

    fn take<'s>(&mut self, answer: Answer, scope: &'s Scope<'s, '_>) -> io::Result<()>
    where
        'a: 's,
    {
        match answer {
            Answer::Begun { name, at_ns, .. } => {
                let at_s = self.at_s(at_ns);
                let Some(acting) = self.acting.iter_mut().find(|a| a.plan.fault.name == name) else {
                    return Ok(());
                };
                acting.begun = true;
                let (fault, on_service, due_s) = (acting.plan.fault.clone(), acting.on_service, acting.due_s);
                let restarts = fault.effect == Effect::Restart;
                self.stream.event(at_s, What::FaultOn { fault, due_s })?;
                if on_service && restarts {
                    self.start_again(name, scope);
                }
                Ok(())
            }
            Answer::Refused { name, reason } if name.is_empty() => self.refused_all(&reason),
            Answer::Refused { name, reason } => match self.remove(&name) {
                Some(_) => self.failed(&name, self.clock.now_s(), reason),
                None => Ok(()),
            },
            Answer::Ended { name, at_ns, why, failed, .. } => {
                let at_s = self.at_s(at_ns);
                let Some(acting) = self.remove(&name) else { return Ok(()) };
                let early = match why {
                    Why::Lease => Some("its lease ran out before its time"),
                    Why::Lost => {
                        Some("what it held was taken from it before its time, by a connection that broke")
                    }
                    Why::Asked | Why::Closed => None,
                };
                if let Some(reason) = early {
                    self.failed(&name, at_s, reason.to_owned())?;
                }
                for one in failed {
                    let reason = format!("not undone: {one}; `squall chaos heal` tries again");
                    self.left(&name, at_s, reason)?;
                }
                self.off(&acting, at_s, scope)
            }
        }
    }

    /// A fault is over.
    fn off<'s>(&self, acting: &Acting<'a>, at_s: f64, scope: &'s Scope<'s, '_>) -> io::Result<()>
    where
        'a: 's,
    {
        let name = acting.plan.fault.name.clone();
        self.stream.event(at_s, What::FaultOff { name: name.clone(), affected: None })?;
        if acting.on_service && matches!(acting.plan.fault.effect, Effect::Kill | Effect::Terminate) {
            self.start_again(name, scope);
        }
        Ok(())
    }

    /// Starts the service again, beside everything else: it has its ledger to read first.
    fn start_again<'s>(&self, name: String, scope: &'s Scope<'s, '_>)
    where
        'a: 's,
    {
        // At the end of the run it would be started to be stopped.
        let Some(service) = self.places.service.filter(|_| !self.done.load(Ordering::Relaxed)) else {
            return;
        };
        let (clock, stream) = (self.clock, self.stream);
        scope.spawn(move || {
            if let Err(e) = service.start_again() {
                let reason = format!("start the service again: {e:#}");
                // A sink that cannot go on ends the run by way of the timeline.
                let _ = stream.event(clock.now_s(), What::FaultFailed { name, reason, left: false });
            }
        });
    }

    /// The guard is gone, and with it what it held; what it has left is undone at once.
    fn lost<'s>(&mut self, scope: &'s Scope<'s, '_>) -> io::Result<()>
    where
        'a: 's,
    {
        self.guard = None;
        if self.acting.is_empty() {
            return Ok(());
        }
        let is_clean = heal_after_loss();
        for acting in std::mem::take(&mut self.acting) {
            let (name, at_s) = (&acting.plan.fault.name, self.clock.now_s());
            if is_clean {
                self.failed(name, at_s, "the guard was lost; what it has left was undone".to_owned())?;
            } else {
                let reason = "the guard was lost, and not all that it has left could be undone; `squall chaos heal` tries again";
                self.left(name, at_s, reason.to_owned())?;
            }
            if acting.begun {
                self.off(&acting, self.clock.now_s(), scope)?;
            }
        }
        Ok(())
    }

    /// The guard cannot begin anything.
    fn refused_all(&mut self, reason: &str) -> io::Result<()> {
        self.refusal = Some(reason.to_owned());
        for acting in std::mem::take(&mut self.acting) {
            self.failed(&acting.plan.fault.name, self.clock.now_s(), reason.to_owned())?;
        }
        Ok(())
    }

    /// Ends what still acts and waits until it has.
    fn end_all<'s>(&mut self, scope: &'s Scope<'s, '_>) -> io::Result<()>
    where
        'a: 's,
    {
        self.acting.iter().for_each(|acting| self.end(acting.plan));
        let from_s = self.clock.now_s();
        while !self.acting.is_empty() && self.clock.now_s() - from_s < END_TIMEOUT_S {
            self.hear(scope)?;
            thread::sleep(NAP);
        }
        for acting in std::mem::take(&mut self.acting) {
            let reason = format!(
                "the guard has not said in {END_TIMEOUT_S} s that it {}; see `squall chaos heal --dry-run`",
                if acting.begun { "has ended, so it may still act" } else { "has begun or ended" }
            );
            self.left(&acting.plan.fault.name, self.clock.now_s(), reason)?;
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Option<Acting<'a>> {
        if let Some((guard, _)) = &self.guard {
            guard.forget(name);
        }
        let i = self.acting.iter().position(|a| a.plan.fault.name == name)?;
        Some(self.acting.remove(i))
    }

    /// An instant of the machine's clock on the run's.
    fn at_s(&self, monotonic_ns: u64) -> f64 {
        monotonic_ns.saturating_sub(self.clock.origin_monotonic_ns()) as f64 / NANOS_PER_SEC as f64
    }

    fn failed(&self, name: &str, at_s: f64, reason: String) -> io::Result<()> {
        self.stream.event(at_s, What::FaultFailed { name: name.to_owned(), reason, left: false })
    }

    /// Something of it is left behind, or may be.
    fn left(&self, name: &str, at_s: f64, reason: String) -> io::Result<()> {
        self.stream.event(at_s, What::FaultFailed { name: name.to_owned(), reason, left: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample;

    #[test]
    fn what_is_there_from_the_beginning_begins_before_the_load_and_all_else_at_its_time() {
        let mut plan = sample::quickstart();
        let from_zero = FaultPlan { start_s: 0.0, end_s: 1e9, ..plan.faults[0].clone() };
        plan.faults.push(from_zero);
        let acts = acts(&plan);
        assert!(is_from_zero(&acts[0].1) && matches!(acts[1].1, Act::Start), "{acts:?}");
        assert!(acts.windows(2).all(|w| w[0].0 <= w[1].0), "{acts:?}");
        assert_eq!(acts.iter().filter(|(_, act)| is_from_zero(act)).count(), 1);
    }
}
