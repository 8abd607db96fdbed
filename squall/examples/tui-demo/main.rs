//! The terminal UI without a target: a made-up minute in twenty seconds.
//!
//! ```text
//! cargo run -p squall --example tui-demo
//! ```
//!
//! `TUI_DEMO_PANIC=SECOND` panics in that second of the minute, to see that the terminal is given
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use squall::live::Live;
use squall::tui::{self, Commands};
use squall_record::event::{Event, Steered, What};
use squall_record::interval::Sink;

mod synthetic;

/// How long a second of the minute takes here.
const SECOND: Duration = Duration::from_millis(333);

fn main() -> std::io::Result<()> {
    let panic_at = std::env::var("TUI_DEMO_PANIC").ok().and_then(|s| s.parse::<u32>().ok());
    let plan = synthetic::quickstart();
    let mut live = Live::new(&plan);
    let view = live.shared();
    let stops = Arc::new(AtomicU32::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let (asked_in, asked) = mpsc::channel();
    let mut load = Steered::PLAN;
    let screen = {
        let (stops, done) = (Arc::clone(&stops), Arc::clone(&done));
        let commands = Commands::new(move || {
            stops.fetch_add(1, Ordering::Relaxed);
        })
        .with_pilot(move |command| {
            // What is asked after the end has nobody to go to.
            let _ = asked_in.send(command);
            Ok(())
        });
        thread::spawn(move || tui::run(&view, &commands, &done))
    };
    for step in synthetic::steps(&plan, plan.duration_s() as u32) {
        match step {
            synthetic::Step::Tick(tick) => {
                assert!(panic_at != Some(tick.second), "as TUI_DEMO_PANIC asked");
                thread::sleep(SECOND);
                live.tick(&tick)?;
                let at_s = f64::from(tick.second) + 1.0;
                for command in asked.try_iter() {
                    let what = command.event(load);
                    if let What::Steered { steer } = what {
                        load = load.after(steer);
                    }
                    live.event(&Event { at_s, what })?;
                }
                if stops.load(Ordering::Relaxed) > 0 {
                    live.event(&Event { at_s, what: What::Ended { interrupted: true } })?;
                    break;
                }
            }
            synthetic::Step::Event(event) => live.event(&event)?,
            synthetic::Step::Target(sample) => live.target(&sample)?,
        }
    }
    thread::sleep(SECOND);
    done.store(true, Ordering::Relaxed);
    match screen.join() {
        Ok(shown) => shown?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    let c = live.view().measured;
    println!(
        "planned {}, completed {}, failed {}, dropped {}",
        c.planned,
        c.completed(),
        c.failed_total(),
        c.dropped
    );
    Ok(())
}
