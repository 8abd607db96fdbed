//! How far the instants at which a server sees a replayed trace lie from the recorded ones.
//!
//! `cargo run --release -p squall-engine --example trace_punctuality -- 2000 10`
//! (records a second as sent, seconds) replays a trace at speeds 1 and 10 against a server in this
//! process that stamps every request by the same clock, and prints one JSON line for each speed.
//! The difference holds the generator's lateness, the loopback, and the server's own wake-up.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use squall_engine::endpoint::Endpoint;
use squall_engine::engine::{Job, run};
use squall_record::clock::Clock;
use squall_scenarios::draw::{Draw, Lane};
use squall_scenarios::load::load;
use squall_scenarios::source::Source;
use squall_scenarios::workload::Workload;

/// When each request came, and its number.
type Seen = Arc<Mutex<Vec<(u64, usize)>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let rate_rps: u64 = args.next().map_or(Ok(2_000), |a| a.parse())?;
    let seconds: u64 = args.next().map_or(Ok(10), |a| a.parse())?;
    let folder = std::env::temp_dir().join(format!("squall-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = [1, 10].into_iter().try_for_each(|speed| measure(&folder, rate_rps, seconds, speed));
    std::fs::remove_dir_all(&folder)?;
    measured
}

fn measure(folder: &std::path::Path, rate_rps: u64, seconds: u64, speed: u64) -> Result<(), Box<dyn Error>> {
    // Recorded slower by as much as it is replayed faster, at instants as independent clients have
    // them.
    let mut recorded_ns = Vec::new();
    let (mut at_s, mut text) = (0.0, String::new());
    for i in 0..rate_rps * seconds {
        let at_ns = (at_s * 1e9) as u64;
        writeln!(text, "{}.{:09},/{i}", at_ns / 1_000_000_000, at_ns % 1_000_000_000)?;
        recorded_ns.push(at_ns);
        at_s -= (1.0 - Draw::new(1, Lane::Gap, i).unit()).ln() / rate_rps as f64 * speed as f64;
    }
    std::fs::write(folder.join("trace.csv"), text)?;
    let scenario = format!(
        "name = \"punctuality\"\n[target]\nurl = \"http://127.0.0.1:9\"\n[load]\nmax_rate = \"1M/s\"\n\
         [[phase]]\nname = \"replay\"\nduration = \"{}s\"\n\
         trace = {{ file = \"trace.csv\", format = \"csv\", time = 1, path = 2, speed = {speed}, request = \"r\" }}\n\
         [[request]]\nname = \"r\"\nmethod = \"GET\"\npath = \"/\"\n",
        seconds + 2
    );
    let name = folder.join("scenario.toml").to_string_lossy().into_owned();
    let plan = load(&Source { name, text: scenario }, &[])?;
    let clock = Clock::starting_in(Duration::from_millis(300));
    let (addr, seen) = recorder(clock)?;
    let endpoint = Endpoint::Tcp(addr);
    let workload = Workload::new(&plan, "recorder", "")?;
    let job = Job { plan: &plan, endpoint: &endpoint, host: "recorder", workload: &workload, clock };
    run(&job, &AtomicBool::new(false), |_| Ok(()))?;

    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let mut apart_us: Vec<f64> =
        seen.iter().map(|(at_ns, i)| at_ns.abs_diff(recorded_ns[*i] / speed) as f64 / 1e3).collect();
    apart_us.sort_by(f64::total_cmp);
    let at = |q: f64| apart_us[((apart_us.len() - 1) as f64 * q) as usize];
    println!(
        "{{\"speed\":{speed},\"rate_rps\":{rate_rps},\"recorded\":{},\"seen\":{},\"p50_us\":{:.0},\"p99_us\":{:.0},\"max_us\":{:.0}}}",
        recorded_ns.len(),
        apart_us.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// Answers every request and writes down when it came, a thread for each connection.
fn recorder(clock: Clock) -> io::Result<(SocketAddr, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let seen = Seen::default();
    let writes = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let seen = Arc::clone(&writes);
            thread::spawn(move || -> io::Result<()> {
                stream.set_nodelay(true)?;
                let mut writer = stream.try_clone()?;
                let mut reader = BufReader::new(stream);
                let mut line = String::new();
                loop {
                    line.clear();
                    if reader.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    let at_ns = clock.now_ns();
                    if let Some(number) =
                        line.strip_prefix("GET /").and_then(|l| l.split(' ').next()?.parse().ok())
                    {
                        seen.lock().unwrap_or_else(PoisonError::into_inner).push((at_ns, number));
                    }
                    if line == "\r\n" {
                        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
                    }
                }
            });
        }
    });
    Ok((addr, seen))
}
