//! Memory and processors that a fault takes from the process it acts in.
//!
//! Each is a thread of its own that looks at its lease's end, so it stops whoever is gone.

use std::sync::Arc;
use std::time::Duration;

use squall_record::clock::Clock;
use squall_record::fault::Effect;

use crate::armed::{Lease, Tenure};
use crate::lease::Refused;

/// What memory is taken in; every page of it is written to.
const BLOCK_BYTES: usize = 1 << 20;
/// Blocks that are taken before the lease's end is looked at again.
const BLOCKS_AT_ONCE: usize = 64;
/// How often memory grows.
const GROW_EVERY: Duration = Duration::from_millis(20);
/// In each of these a processor is kept busy for its share.
const PERIOD: Duration = Duration::from_millis(10);

/// Begins to take what `lease` says; nothing when it takes neither memory nor processors.
///
/// # Errors
/// When the system gives no memory or no threads. Nothing is taken then.
pub(crate) fn take_on(lease: &Arc<Lease>) -> Result<(), Refused> {
    let begun = match lease.spec.effect {
        Effect::Memory { mib, over_ms } => memory(lease, mib, Duration::from_millis(over_ms)),
        Effect::Cpu { cores } => processors(lease, cores),
        _ => Ok(()),
    };
    begun.map_err(|why| {
        // Threads that have begun end.
        lease.end();
        Refused::Resources { name: lease.spec.name.clone(), why }
    })
}

fn memory(lease: &Arc<Lease>, mib: u64, over: Duration) -> Result<(), String> {
    let bytes = usize::try_from(mib).ok().and_then(|mib| mib.checked_mul(BLOCK_BYTES));
    let mut taken: Vec<u8> = Vec::new();
    // Reserved whole and filled little by little: what is freed in one piece goes back to the system.
    let reserved = bytes.and_then(|bytes| taken.try_reserve_exact(bytes).ok());
    reserved.ok_or_else(|| format!("the system does not give {mib} MiB of memory"))?;
    let tenure = Tenure(Arc::clone(lease));
    spawn("fault-memory", move || fill(taken, over, &tenure))
}

/// Fills `taken` over the time `over` and keeps it while the lease lasts.
fn fill(mut taken: Vec<u8>, over: Duration, tenure: &Tenure) {
    let block = vec![1; BLOCK_BYTES];
    let blocks = taken.capacity() / BLOCK_BYTES;
    let mut filled = 0;
    loop {
        let share = match over.is_zero() {
            true => 1.0,
            false => (tenure.0.age().as_secs_f64() / over.as_secs_f64()).min(1.0),
        };
        let due = (blocks as f64 * share) as usize;
        let next = due.min(filled + BLOCKS_AT_ONCE);
        while filled < next {
            taken.extend_from_slice(&block);
            tenure.count();
            filled += 1;
        }
        let pause = if filled < due { Duration::ZERO } else { GROW_EVERY };
        if !tenure.rest(pause) {
            return;
        }
    }
}

fn processors(lease: &Arc<Lease>, cores: f64) -> Result<(), String> {
    let mut left = cores;
    while left > 0.0 {
        let (share, tenure) = (left.min(1.0), Tenure(Arc::clone(lease)));
        spawn("fault-cpu", move || burn(share, &tenure))?;
        lease.count();
        left -= 1.0;
    }
    Ok(())
}

/// Keeps a processor busy for `share` of the time while the lease lasts.
fn burn(share: f64, tenure: &Tenure) {
    let clock = Clock::start();
    let busy = PERIOD.mul_f64(share);
    loop {
        let until_ns = clock.now_ns() + busy.as_nanos() as u64;
        while clock.now_ns() < until_ns {
            std::hint::spin_loop();
        }
        if !tenure.rest(PERIOD.saturating_sub(busy)) {
            return;
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let begun = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    begun.map(|_| ()).map_err(|e| format!("the system does not give a thread: {e}"))
}

#[cfg(test)]
mod tests {
    use crate::lease::ArmRequest;
    use crate::leases::Leases;
    use squall_record::fault::{Effect, FaultPoint, FaultSpec, Place};

    fn threads(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        names.filter(|read| read.as_ref().is_ok_and(|read| read.trim() == name)).count()
    }

    fn wait_for(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..3000 {
            if holds() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("waited in vain: {what}");
    }

    fn arm(leases: &Leases, effect: Effect, ttl_ms: u64) {
        let place = Place::Point(FaultPoint::Service);
        let fault = FaultSpec { name: "f".to_owned(), place, effect, fraction: 1.0 };
        leases.arm(&ArmRequest { fault, ttl_ms, seed: 1 }).unwrap();
    }

    #[test]
    fn a_burden_is_there_while_its_lease_lasts_and_no_longer() {
        // One after another: they are counted in the process.
        let leases = Leases::new();
        arm(&leases, Effect::Cpu { cores: 1.5 }, 60_000);
        wait_for("two threads burn", || threads("fault-cpu") == 2);
        arm(&leases, Effect::Cpu { cores: 0.5 }, 60_000);
        wait_for("one is left", || threads("fault-cpu") == 1);
        drop(leases);
        wait_for("none outlives the leases", || threads("fault-cpu") == 0);

        let leases = Leases::new();
        arm(&leases, Effect::Memory { mib: 8, over_ms: 100 }, 400);
        wait_for("it is taken", || leases.list().first().is_none_or(|s| s.affected == 8));
        assert_eq!(threads("fault-memory"), 1);
        wait_for("it ends by itself", || threads("fault-memory") == 0);
        assert_eq!(leases.end("f").unwrap().affected, 8);
    }
}
