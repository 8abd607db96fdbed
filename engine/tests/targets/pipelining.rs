//! Several requests on a connection at once: each answer must come to its own request, whatever
//! becomes of those before it.

use super::*;

/// One connection that carries up to four requests at once.
fn pipelined(rate_rps: f64) -> squall_scenarios::plan::Plan {
    let mut plan = plan(Transport::Own, rate_rps, 1.0);
    plan.load.connections = 1;
    plan.load.pipeline = 4;
    plan
}

/// The number in the path of `/pay/<number>`.
fn seq(line: &str) -> u64 {
    line.split(['/', ' ']).find_map(|word| word.parse().ok()).unwrap()
}

#[test]
fn answers_in_one_piece_come_to_their_requests() {
    // Four are read before any is answered, and all four answers leave in one write.
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            let mut answers = Vec::new();
            for _ in 0..4 {
                let Some(request) = read_request(&mut reader) else { return };
                answers.extend(match seq(&request.line) % 3 {
                    0 => http(200, ""),
                    1 => http(402, ""),
                    _ => http(503, "Not-Executed: true\r\n"),
                });
            }
            if writer.write_all(&answers).is_err() {
                return;
            }
        }
    });
    let seen = load(&pipelined(600.0), addr);
    let c = &seen.counts;
    assert_eq!((c.ok, c.declined, c.shed), (200, 200, 200), "{c:?}");
}

#[test]
fn heads_and_bodies_in_pieces_are_told_apart() {
    // Every third asks for a head, whose answer has a length and no body.
    let addr = server(|stream| {
        stream.set_nodelay(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            let mut answer = http(200, "");
            if request.line.starts_with("HEAD") {
                answer.truncate(answer.len() - 2);
            }
            for piece in answer.chunks(19) {
                if writer.write_all(piece).is_err() {
                    return;
                }
            }
        }
    });
    let mut plan = pipelined(600.0);
    let mut head = plan.requests[0].clone();
    (head.name, head.method, head.weight, head.body) = ("look".into(), "HEAD".into(), 0.5, None);
    plan.requests.push(head);
    let seen = load(&plan, addr);
    assert_eq!(seen.counts.ok, 600, "{:?}", seen.counts);
}

#[test]
fn what_is_behind_a_connection_that_ends_is_reset() {
    // Four come, one is answered, and that answer is the last.
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        for _ in 0..4 {
            if read_request(&mut reader).is_none() {
                return;
            }
        }
        writer.write_all(&http(200, "Connection: close\r\n")).unwrap();
    });
    let seen = load(&pipelined(400.0), addr);
    let (ok, reset) = (seen.counts.ok, seen.failed(Failure::Reset));
    assert_eq!(ok + reset, 400, "{:?}", seen.counts);
    assert_eq!(reset, 3 * ok);
}

#[test]
fn one_that_is_given_up_does_not_take_those_behind_it_along() {
    // The first of each four is answered long after it was given up, the others at once after it.
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            let Some(_first) = read_request(&mut reader) else { return };
            thread::sleep(Duration::from_millis(250));
            if writer.write_all(&http(503, "")).is_err() {
                return;
            }
            for _ in 1..4 {
                if read_request(&mut reader).is_none() || writer.write_all(&http(200, "")).is_err() {
                    return;
                }
            }
        }
    });
    // The four are 40 ms apart: the first is 250 ms old when it is answered, the last 130 ms.
    let mut plan = pipelined(25.0);
    plan.load.timeout_ms = 220;
    plan.load.max_in_flight = 4;
    let seen = load(&plan, addr);
    let c = &seen.counts;
    assert!(seen.failed(Failure::Timeout) >= 2, "{c:?}");
    assert!(c.ok >= 3, "those behind it are answered: {c:?}");
    assert_eq!(seen.failed(Failure::ServerError), 0, "a late answer is nobody's: {c:?}");
}

#[test]
fn nothing_is_put_behind_another_while_a_connection_is_free() {
    let behind = Arc::new(AtomicU64::new(0));
    let seen_by_server = Arc::clone(&behind);
    let addr = server(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while read_request(&mut reader).is_some() {
            thread::sleep(Duration::from_millis(5));
            seen_by_server.fetch_add(u64::from(!reader.buffer().is_empty()), Ordering::Relaxed);
            if writer.write_all(&http(200, "")).is_err() {
                return;
            }
        }
    });
    let mut plan = pipelined(100.0);
    plan.load.connections = 16;
    let seen = load(&plan, addr);
    assert_eq!(seen.counts.ok, 100);
    assert_eq!(behind.load(Ordering::Relaxed), 0);
}

#[test]
fn coalescing_holds_back_no_request_that_has_been_fired() {
    let clock = Clock::starting_in(Duration::from_millis(100));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let stamps = Arc::clone(&seen);
    let addr = answering(move |_| {
        stamps.lock().unwrap().push(clock.now_ns());
        Some(http(200, ""))
    });
    let mut plan = pipelined(200.0);
    plan.load.coalesce_us = 1_000;
    let (endpoint, stop) = (addr.into(), AtomicBool::new(false));
    let workload = Workload::new(&plan, "localhost", "").unwrap();
    let job = Job { plan: &plan, endpoint: &endpoint, host: "localhost", workload: &workload, clock };
    let mut fired = Vec::new();
    run(&job, &stop, |tick| {
        fired.extend(tick.ops.iter().map(|op| op.fired_ns));
        Ok(())
    })
    .unwrap();
    // There is one connection, so they come in the order in which they were fired.
    fired.sort_unstable();
    let seen = seen.lock().unwrap();
    assert_eq!((fired.len(), seen.len()), (200, 200));
    let mut after_ns: Vec<u64> = fired.iter().zip(seen.iter()).map(|(fired, seen)| seen - fired).collect();
    after_ns.sort_unstable();
    // A busy machine delays many of them; one that waits for the rest's end is late always.
    assert!(after_ns[20] < 1_000_000, "{after_ns:?}");
}
