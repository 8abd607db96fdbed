//! A trace of millions of lines is read as it is replayed. Alone in its process, whose memory is
//! measured.

use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use squall_engine::control::Control;
use squall_engine::endpoint::Endpoint;
use squall_engine::engine::{Job, run_with};
use squall_record::clock::Clock;
use squall_record::counts::Counts;
use squall_scenarios::load::load;
use squall_scenarios::source::Source;
use squall_scenarios::workload::Workload;

const LINES: u64 = 2_000_000;

/// Resident memory in bytes; `None` where the system does not tell.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[test]
fn millions_of_lines_start_at_once_and_are_never_held() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.csv");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    for i in 0..LINES {
        // 500,000 a second.
        let us = i * 2;
        writeln!(file, "{}.{:06},/v1/accounts/acc_{i:012}/payments", us / 1_000_000, us % 1_000_000).unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();

    // Nobody answers, and one may be on its way: every other arrival is counted and dropped.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = "name = \"t\"\n[target]\nurl = \"http://127.0.0.1:9\"\n\
                [load]\nconnections = 1\nmax_in_flight = 1\ntimeout = \"2s\"\nmax_rate = \"1M/s\"\n\
                [[phase]]\nname = \"replay\"\nduration = \"30s\"\n\
                trace = { file = \"long.csv\", format = \"csv\", time = 1, path = 2, request = \"r\" }\n\
                [[request]]\nname = \"r\"\nmethod = \"GET\"\npath = \"/\"\n";
    let name = dir.path().join("t.toml").to_str().unwrap().to_owned();
    let before = resident();
    let started = Clock::start();
    let plan = load(&Source { name, text: text.to_owned() }, &[]).unwrap_or_else(|e| panic!("{e}"));
    let checked_s = started.now_s();

    let stop = AtomicBool::new(false);
    let endpoint = Endpoint::Tcp(silent.local_addr().unwrap());
    let job = Job {
        plan: &plan,
        endpoint: &endpoint,
        host: "t",
        workload: &Workload::new(&plan, "t", "").unwrap(),
        clock: Clock::starting_in(Duration::from_millis(200)),
    };
    let (mut counts, mut peak, mut first_s) = (Counts::default(), 0, None);
    run_with(
        &job,
        &Control::new(),
        &stop,
        |_| Ok(()),
        |tick| {
            tick.intervals.iter().for_each(|i| counts += &i.counts);
            peak = peak.max(resident().unwrap_or(0));
            if counts.planned > 0 {
                first_s.get_or_insert(tick.second);
            }
            if counts.planned == LINES {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(counts.planned, LINES, "{counts:?}");
    assert_eq!(first_s, Some(0), "the first arrivals came in the first second");
    // Reading all of it takes longer than looking at its beginning on any machine.
    assert!(checked_s < 2.0, "the check took {checked_s} s");
    if let Some(before) = before {
        let grown = peak.saturating_sub(before);
        assert!(grown < size / 4, "{grown} bytes for a trace of {size}");
    }
}
