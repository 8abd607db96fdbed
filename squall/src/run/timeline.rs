//! Phases and faults, each at its time.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use squall_chaos::lease::{ArmRequest, MAX_TTL_MS};
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::event::What;
use squall_scenarios::plan::{FaultPlan, Plan};

use super::admin::Admin;
use super::stream::Stream;

/// How long one sleep may last, so that the end of the run is noticed.
const NAP: Duration = Duration::from_millis(20);

/// A fault longer than a lease is renewed after half of one.
const RENEW_AFTER_S: f64 = MAX_TTL_MS as f64 / 2000.0;

/// What happens at a time.
#[derive(Debug, Clone, Copy)]
enum Act<'a> {
    Start,
    Phase(usize),
    On(&'a FaultPlan),
    Renew(&'a FaultPlan),
    Off(&'a FaultPlan),
}

/// Announces phases and arms faults until the last has ended or `done` is set; faults that are
/// still armed then are ended. A fault's lease is as long as its window, so it also ends when
/// squall does not come back to end it.
///
/// # Errors
/// When a sink cannot go on.
pub fn keep(
    plan: &Plan,
    admin: Option<&Admin>,
    clock: Clock,
    stream: &Stream,
    done: &AtomicBool,
) -> io::Result<()> {
    let mut armed: Vec<&FaultPlan> = Vec::new();
    'acts: for (at_s, act) in acts(plan) {
        // The clock reads 0 before its zero, and a lease must not begin then.
        while clock.now_s() < at_s || clock.until(0) > Duration::ZERO {
            if done.load(Ordering::Relaxed) {
                break 'acts;
            }
            std::thread::sleep(clock.until((at_s * NANOS_PER_SEC as f64) as u64).min(NAP));
        }
        match act {
            Act::Start => stream.event(0.0, What::Started)?,
            Act::Phase(index) => {
                let name = plan.phases[index].name.clone();
                stream.event(at_s, What::Phase { index: index as u16, name })?;
            }
            Act::On(f) => {
                if arm(f, plan.seed, admin, clock, stream)? {
                    armed.push(f);
                }
            }
            Act::Renew(f) => {
                if let (Some(admin), true) = (admin, armed.iter().any(|a| a.fault.name == f.fault.name))
                    && let Err(e) = admin.arm(&request(f, plan.seed, clock))
                {
                    let reason = format!("renew: {e:#}");
                    stream.event(clock.now_s(), What::FaultFailed { name: f.fault.name.clone(), reason })?;
                }
            }
            Act::Off(f) => {
                if let Some(i) = armed.iter().position(|a| a.fault.name == f.fault.name) {
                    armed.remove(i);
                    end(f, admin, clock, stream)?;
                }
            }
        }
    }
    for f in armed {
        end(f, admin, clock, stream)?;
    }
    Ok(())
}

/// Everything that happens, in order of time; at the same time a fault ends before another begins.
fn acts(plan: &Plan) -> Vec<(f64, Act<'_>)> {
    let mut acts = vec![(0.0, Act::Start)];
    acts.extend(plan.phases.iter().enumerate().map(|(i, p)| (p.start_s, Act::Phase(i))));
    acts.extend(plan.faults.iter().map(|f| (f.end_s, Act::Off(f))));
    acts.extend(plan.faults.iter().map(|f| (f.start_s, Act::On(f))));
    for f in &plan.faults {
        let renewals = ((f.end_s - f.start_s) / RENEW_AFTER_S) as u32;
        acts.extend((1..=renewals).map(|n| (f.start_s + f64::from(n) * RENEW_AFTER_S, Act::Renew(f))));
    }
    acts.sort_by(|a, b| a.0.total_cmp(&b.0));
    acts
}

/// A lease until the fault's window ends, or as long as leases get.
fn request(f: &FaultPlan, seed: u64, clock: Clock) -> ArmRequest {
    let left_ms = (f.end_s - clock.now_s()) * 1000.0;
    ArmRequest { fault: f.fault.clone(), ttl_ms: (left_ms.max(1.0) as u64).min(MAX_TTL_MS), seed }
}

fn arm(f: &FaultPlan, seed: u64, admin: Option<&Admin>, clock: Clock, stream: &Stream) -> io::Result<bool> {
    let answer = match admin {
        None => Err(anyhow::anyhow!("the target has no admin port")),
        Some(_) if clock.now_s() >= f.end_s => {
            Err(anyhow::anyhow!("its window was over before it could be armed"))
        }
        Some(admin) => admin.arm(&request(f, seed, clock)).map_err(|e| {
            // The request may have arrived although its answer did not.
            match admin.end(&f.fault.name) {
                Ok(s) => e.context(format!("it acted on {} requests before it was taken back", s.affected)),
                Err(_) => e,
            }
        }),
    };
    let at_s = clock.now_s();
    match answer {
        Ok(_) => stream.event(at_s, What::FaultOn { fault: f.fault.clone() }).map(|()| true),
        Err(e) => {
            let reason = format!("{e:#}");
            stream.event(at_s, What::FaultFailed { name: f.fault.name.clone(), reason }).map(|()| false)
        }
    }
}

fn end(f: &FaultPlan, admin: Option<&Admin>, clock: Clock, stream: &Stream) -> io::Result<()> {
    // When the service does not answer, its lease has ended the fault all the same.
    let affected = admin.and_then(|a| a.end(&f.fault.name).ok()).map(|s| s.affected);
    stream.event(clock.now_s(), What::FaultOff { name: f.fault.name.clone(), affected })
}
