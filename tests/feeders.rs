//! Requests filled from files, through the command, as a target sees them.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use squall_record::folder::RunFolder;
use squall_scenarios::content::Content;
use squall_scenarios::plan::Plan;
use support::{SecondLife, scenario_file, squall_ends, squall_runs, stderr, summary, told};

/// What came in: the header `X-Card` and the body of every request.
type Seen = Arc<Mutex<Vec<(String, serde_json::Value)>>>;

/// A server that keeps what it is asked.
fn recorder() -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Seen::default();
    let keep = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let keep = Arc::clone(&keep);
            std::thread::spawn(move || record(stream, &keep));
        }
    });
    (addr, seen)
}

fn record(stream: TcpStream, seen: &Seen) -> Option<()> {
    let mut to = stream.try_clone().ok()?;
    let mut from = BufReader::new(stream);
    loop {
        let (mut card, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "x-card" => value.trim().clone_into(&mut card),
                "content-length" => length = value.trim().parse().unwrap(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        // squall also asks whether the target is there.
        if !card.is_empty() {
            seen.lock().unwrap().push((card, serde_json::from_slice(&body).unwrap()));
        }
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").ok()?;
    }
}

const CARDS: &str = "card,holder,cents\n\
    4000-1,\"O'Neill, Ann\",100\n4000-2,\"say \"\"hi\"\"\",20000\n4000-3,Zoë,3\n4000-4,,4\n4000-5,x,5\n";

/// How often each card was seen, after a look at every request.
fn cards(seen: &Seen) -> BTreeMap<String, u64> {
    let holders = BTreeMap::from([
        ("4000-1", ("O'Neill, Ann", 100)),
        ("4000-2", ("say \"hi\"", 20_000)),
        ("4000-3", ("Zoë", 3)),
        ("4000-4", ("", 4)),
        ("4000-5", ("x", 5)),
    ]);
    let mut times = BTreeMap::new();
    for (card, body) in seen.lock().unwrap().iter() {
        let (holder, cents) = holders[card.as_str()];
        assert_eq!((&body["holder"], &body["cents"]), (&holder.into(), &cents.into()), "one row: {body}");
        *times.entry(card.clone()).or_default() += 1;
    }
    times
}

/// Runs the scenario `text`, whose gates hold, and gives its run folder.
fn passes(dir: &Path, text: &str) -> PathBuf {
    let (file, run) = (scenario_file(dir, text), dir.join("run"));
    let o =
        squall_runs(&run, ["run", file.to_str().unwrap(), "--ui", "none", "--out", run.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    run
}

fn charge(kind: &str) -> String {
    format!(
        "{kind}\nname = \"charge\"\nmethod = \"POST\"\npath = \"/charges\"\nheaders = {{ X-Card = \"${{cards.card}}\" }}\n\
         body = '{{\"holder\":\"${{cards.holder}}\",\"cents\":${{cards.cents}}}}'\n"
    )
}

#[test]
fn rows_of_a_file_are_sent_in_turn_whatever_carries_them_and_by_however_many_workers() {
    for (workers, transport) in [(1, "own"), (3, "own"), (1, "general")] {
        let (addr, seen) = recorder();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cards.csv"), CARDS).unwrap();
        let text = format!(
            "name = \"charges\"\ngates = [\"count(failed)==0\", \"count(dropped)==0\"]\n[target]\nurl = \"http://{addr}\"\n\
             [load]\narrivals = \"uniform\"\nworkers = {workers}\ntransport = \"{transport}\"\ntimeout = \"10s\"\n\
             [[feeder]]\nname = \"cards\"\nfile = \"cards.csv\"\n\
             [[phase]]\nname = \"all\"\nduration = \"1s\"\nrate = \"100/s\"\n{}",
            charge("[[request]]")
        );
        let run = passes(dir.path(), &text);
        let times = cards(&seen);
        // 20 times each, and again when the run had to be repeated.
        let each = times["4000-1"];
        assert!(each > 0 && each.is_multiple_of(20), "{times:?}");
        assert_eq!(times.values().copied().collect::<Vec<_>>(), [each; 5], "{times:?}");
        let manifest = std::fs::read_to_string(run.join("manifest.json")).unwrap();
        assert!(manifest.contains("\"rows\": 5") || manifest.contains("\"rows\":5"), "{manifest}");
        assert!(!manifest.contains("Neill") && !manifest.contains("4000-"), "a value is in the manifest");
    }
}

#[test]
fn users_of_a_journey_keep_their_rows_or_share_them_out() {
    for (order, cards_seen) in [("per_user", 2), ("sequential", 5)] {
        let (addr, seen) = recorder();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cards.csv"), CARDS).unwrap();
        let text = format!(
            "name = \"members\"\ngates = [\"count(failed){{journey:member}}==0\"]\n[target]\nurl = \"http://{addr}\"\n\
             [[feeder]]\nname = \"cards\"\nfile = \"cards.csv\"\norder = \"{order}\"\n\
             [[journey]]\nname = \"member\"\nusers = 2\nfor = \"2s\"\nthink = {{ min = \"20ms\", max = \"20ms\" }}\n{}",
            charge("[[journey.step]]")
        );
        let run = passes(dir.path(), &text);
        let times = cards(&seen);
        assert_eq!(times.len(), cards_seen, "{order}: {times:?}");
        let answered = summary(&run)["journeys"][0]["steps"][0]["load"]["ok"].as_u64();
        assert!(answered.is_some_and(|n| n > 20 && n <= times.values().sum()), "{order}: {times:?}");
    }
}

#[test]
fn the_example_of_orders_pays_what_its_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let (run, ledger) = (dir.path().join("run"), dir.path().join("ledger"));
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/examples/orders.toml");
    let args =
        ["run", example, "--ui", "none", "--set", "phase.orders.duration=2s", "--out", run.to_str().unwrap()];
    let o = squall_runs(&run, args.into_iter().chain(["--data", ledger.to_str().unwrap()]));
    assert_eq!(o.status.code(), Some(0), "{}", told(&o));
    let orders = include_str!("../scenarios/examples/orders.csv");
    let orders: Vec<Vec<&str>> = orders.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let folder = RunFolder::open(&run).unwrap();
    let plan: Plan = serde_json::from_value(folder.manifest.scenario.clone()).unwrap();
    let (content, ops, again) = (Content::new(&plan), folder.ops().unwrap(), SecondLife::of(&ledger));
    assert!(ops.len() > 10, "{}", ops.len());
    for op in &ops {
        let payment =
            again.get(&format!("/v1/payments?idempotency_key={:032x}", content.values(op.index).key));
        let order = &orders[op.index as usize % orders.len()];
        let cents: i64 = order[3].parse().unwrap();
        let paid = (&payment["from"], &payment["to"], &payment["amount"]);
        assert_eq!(
            paid,
            (&order[1].into(), &order[2].into(), &cents.into()),
            "arrival {}: {payment}",
            op.index
        );
    }
}

#[test]
fn a_file_that_cannot_be_sent_ends_the_run_before_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cards.csv"), "card,holder,cents\n1,a,1\n2,b,two\n").unwrap();
    let text = format!(
        "name = \"charges\"\n[target]\nurl = \"http://127.0.0.1:9\"\n[[feeder]]\nname = \"cards\"\nfile = \"cards.csv\"\n\
         [[phase]]\nname = \"all\"\nduration = \"1s\"\nrate = \"100/s\"\n{}",
        charge("[[request]]")
    );
    let (file, run) = (scenario_file(dir.path(), &text), dir.path().join("run"));
    let o = squall_ends(["run", file.to_str().unwrap(), "--out", run.to_str().unwrap()]);
    assert_eq!(o.status.code(), Some(104), "{}", told(&o));
    assert!(stderr(&o).contains("cards.csv:3 it is no number, true, false or null"), "{}", told(&o));
    assert!(!run.exists());
}
