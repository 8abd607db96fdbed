//! Clients that ask again: however often, an arrival is planned, sent and ended once.

use std::collections::HashMap;
use std::net::SocketAddr;

use squall_record::outcome::Outcome;
use squall_scenarios::plan::{Jitter, Plan, RetryCause, RetryPlan};

use super::support::Seen;
use super::*;

over_both! {
    a_request_that_fails_twice_and_then_succeeds_counts_once_whatever_the_number_of_workers
    a_reset_a_refusal_and_a_status_asked_for_are_tried_again
    what_would_not_change_is_not_tried_again
    a_target_that_always_fails_is_asked_as_often_as_allowed_and_no_more
    a_target_that_never_answers_times_out_once_an_attempt_and_once_an_arrival
    a_target_that_refuses_is_tried_again_and_then_failed_as_refused
    a_storm_of_retries_stays_within_max_in_flight
    a_retry_that_is_pending_at_the_end_ends_as_its_last_failure
    a_retry_that_is_pending_at_a_stop_ends_as_its_last_failure
}

/// [`plan`] whose client tries again after everything that may pass.
fn retrying(via: Transport, rate_rps: f64, duration_s: f64, attempts: u8, backoff_ms: f64) -> Plan {
    let mut plan = plan(via, rate_rps, duration_s);
    plan.requests[0].retry = Some(RetryPlan {
        attempts,
        backoff_ms,
        factor: 2.0,
        max_backoff_ms: 60_000.0,
        jitter: Jitter::None,
        on: vec![
            RetryCause::Timeout,
            RetryCause::Refused,
            RetryCause::Reset,
            RetryCause::ServerError,
            RetryCause::Shed,
        ],
        statuses: vec![409],
    });
    plan
}

/// Answers with what `answer` gives for the request's earlier attempts; `None` hangs up.
fn counting(
    answer: impl Fn(u32) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&texts);
    let before = Mutex::new(HashMap::<String, u32>::new());
    let addr = answering(move |r| {
        seen.lock().unwrap().push(r.text.clone());
        let n = {
            let mut before = before.lock().unwrap();
            let n = before.entry(r.text.clone()).or_default();
            *n += 1;
            *n - 1
        };
        answer(n)
    });
    (addr, texts)
}

/// The outcomes of each arrival's attempts, in their order.
fn attempts(seen: &Seen) -> BTreeMap<u64, Vec<Outcome>> {
    let mut ops: BTreeMap<u64, BTreeMap<u8, Outcome>> = BTreeMap::new();
    for op in &seen.ops {
        assert!(ops.entry(op.index).or_default().insert(op.attempt, op.outcome).is_none(), "{op:?} twice");
    }
    let listed = ops.into_iter().map(|(index, tries)| {
        assert!(tries.keys().copied().eq(1..=tries.len() as u8), "arrival {index}: {tries:?}");
        (index, tries.into_values().collect())
    });
    listed.collect()
}

fn a_request_that_fails_twice_and_then_succeeds_counts_once_whatever_the_number_of_workers(via: Transport) {
    let mut all = Vec::new();
    for workers in [1, 2, 4] {
        let (addr, texts) = counting(|n| Some(http(if n < 2 { 503 } else { 201 }, "")));
        let mut plan = retrying(via, 200.0, 1.0, 4, 20.0);
        plan.load.workers = workers;
        let seen = load(&plan, addr);
        let c = &seen.counts;
        assert_eq!((c.planned, c.sent, c.ok, c.retried, c.failed_total()), (200, 200, 200, 400, 0), "{c:?}");
        let attempts = attempts(&seen);
        assert_eq!(attempts.len(), 200);
        let unavailable = Outcome::Failed(Failure::ServerError);
        assert!(attempts.values().all(|a| a[..] == [unavailable, unavailable, Outcome::Ok]));
        // Pauses of 20 and 40 ms are in the response time, and not in the service time of the last.
        assert_eq!((seen.response.len(), seen.service.len()), (200, 200));
        assert!(seen.response.quantile(0.01).unwrap().us >= 60_000);
        assert!(
            seen.service.quantile(0.5).unwrap().us + 60_000
                <= seen.response.quantile(0.5).unwrap().us * 101 / 100
        );
        let mut texts = texts.lock().unwrap().clone();
        texts.sort();
        assert!(texts.chunks(3).all(|t| t[0] == t[2]), "every attempt carries the same bytes, key included");
        all.push(texts);
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

fn a_reset_a_refusal_and_a_status_asked_for_are_tried_again(via: Transport) {
    let (addr, _) = counting(|n| (n > 0).then(|| http(200, "")));
    let seen = load(&retrying(via, 100.0, 1.0, 2, 5.0), addr);
    assert_eq!((seen.counts.ok, seen.counts.retried), (100, 100));
    assert!(attempts(&seen).values().all(|a| a[0] == Outcome::Failed(Failure::Reset)));

    let (addr, _) =
        counting(|n| Some(if n > 0 { http(200, "") } else { http(429, "Not-Executed: true\r\n") }));
    let seen = load(&retrying(via, 100.0, 1.0, 2, 5.0), addr);
    assert_eq!((seen.counts.ok, seen.counts.shed, seen.counts.retried), (100, 0, 100));

    let (addr, _) = counting(|n| Some(http(if n > 0 { 200 } else { 409 }, "")));
    let seen = load(&retrying(via, 100.0, 1.0, 2, 5.0), addr);
    assert_eq!((seen.counts.ok, seen.counts.retried), (100, 100));
}

fn what_would_not_change_is_not_tried_again(via: Transport) {
    let (addr, _) = counting(|_| Some(http(404, "")));
    let seen = load(&retrying(via, 100.0, 1.0, 5, 5.0), addr);
    assert_eq!((seen.failed(Failure::UnexpectedStatus), seen.counts.retried), (100, 0));

    let (addr, _) = counting(|_| Some(http(402, "")));
    let seen = load(&retrying(via, 100.0, 1.0, 5, 5.0), addr);
    assert_eq!((seen.counts.declined, seen.counts.retried), (100, 0));
}

fn a_target_that_always_fails_is_asked_as_often_as_allowed_and_no_more(via: Transport) {
    let (addr, texts) = counting(|_| Some(http(500, "")));
    let seen = load(&retrying(via, 100.0, 1.0, 4, 5.0), addr);
    assert_eq!((seen.failed(Failure::ServerError), seen.counts.retried), (100, 300));
    assert_eq!((texts.lock().unwrap().len(), seen.ops.len()), (400, 400));
    assert!(seen.response.is_empty(), "errors are counted, not timed");
}

fn a_target_that_never_answers_times_out_once_an_attempt_and_once_an_arrival(via: Transport) {
    let addr = server(|mut stream| {
        let mut sink = [0; 4096];
        while matches!(stream.read(&mut sink), Ok(n) if n > 0) {}
    });
    let mut plan = retrying(via, 20.0, 1.0, 2, 50.0);
    plan.load.timeout_ms = 400;
    plan.load.connections = 64;
    // Time enough for every attempt.
    let mut calm = plan.phases[0].clone();
    (calm.name, calm.start_s, calm.end_s, calm.curve) = ("calm".into(), 1.0, 4.0, Curve::hold(3.0, 0.0));
    plan.phases.push(calm);
    let seen = load(&plan, addr);
    let c = &seen.counts;
    assert_eq!((seen.failed(Failure::Timeout), c.dropped), (20, 0), "{c:?}");
    assert_eq!(c.retried, 20, "{c:?}");
    // Two time-outs and a pause; the service time is that of the last attempt.
    assert!(seen.response.quantile(0.01).unwrap().us >= 850_000);
    assert!((400_000..850_000).contains(&seen.service.quantile(0.01).unwrap().us));
}

fn a_target_that_refuses_is_tried_again_and_then_failed_as_refused(via: Transport) {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let seen = load(&retrying(via, 100.0, 1.0, 3, 5.0), addr);
    assert_eq!((seen.failed(Failure::Refused), seen.counts.retried, seen.counts.dropped), (100, 200, 0));
}

fn a_storm_of_retries_stays_within_max_in_flight(via: Transport) {
    let (addr, _) = counting(|_| Some(http(503, "")));
    let mut plan = retrying(via, 500.0, 2.0, 10, 150.0);
    plan.load.max_in_flight = 30;
    plan.load.workers = 2;
    let seen = load(&plan, addr);
    let c = &seen.counts;
    assert!(c.dropped > 500, "arrivals that find no room are dropped, and counted: {c:?}");
    assert!(seen.most_in_flight <= 30, "{}", seen.most_in_flight);
    assert!(c.retried <= 9 * c.sent, "{c:?}");
    assert_eq!(seen.failed(Failure::ServerError), c.sent, "{c:?}");
}

fn a_retry_that_is_pending_at_the_end_ends_as_its_last_failure(via: Transport) {
    let (addr, _) = counting(|_| Some(http(503, "")));
    let mut plan = retrying(via, 100.0, 1.0, 3, 30_000.0);
    plan.load.timeout_ms = 300;
    let clock = Clock::start();
    let seen = load(&plan, addr);
    assert!(clock.now_s() < 25.0, "it did not wait for the pause");
    assert_eq!((seen.failed(Failure::ServerError), seen.counts.retried), (100, 0));
}

fn a_retry_that_is_pending_at_a_stop_ends_as_its_last_failure(via: Transport) {
    let (addr, _) = counting(|_| Some(http(503, "")));
    let stop = Arc::new(AtomicBool::new(false));
    let later = Arc::clone(&stop);
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(800));
        later.store(true, Ordering::Relaxed);
    });
    let clock = Clock::start();
    let seen = load_until(&retrying(via, 100.0, 60.0, 3, 30_000.0), addr, &stop);
    assert!(clock.now_s() < 25.0, "it did not wait for the pause");
    let c = &seen.counts;
    assert!(c.sent > 10 && c.retried == 0, "{c:?}");
    assert_eq!(seen.failed(Failure::ServerError), c.sent, "{c:?}");
}
