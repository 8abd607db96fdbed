//! Targets that say more than they are asked, or hang up in between. What the general transport does
//! with it, reqwest does not show.

use super::*;

fn plan() -> squall_scenarios::plan::Plan {
    let mut plan = super::plan(Transport::Own, 50.0, 1.0);
    plan.load.connections = 1;
    plan
}

#[test]
fn a_second_answer_ends_its_connection_and_is_counted() {
    let twice = answering(|_| Some([http(200, ""), http(500, "")].concat()));
    let seen = load(&plan(), twice);
    assert_eq!(seen.counts.ok, 50, "{:?}", seen.counts);
    assert_eq!(seen.unasked, 50);
    assert!((49..=50).contains(&seen.reopened), "{}", seen.reopened);
}

#[test]
fn a_second_answer_that_comes_later_is_counted_too() {
    let later = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while read_request(&mut reader).is_some() {
            writer.write_all(&http(200, "")).unwrap();
            thread::sleep(Duration::from_millis(3));
            if writer.write_all(&http(500, "")).is_err() {
                return;
            }
        }
    });
    let seen = load(&plan(), later);
    assert_eq!(seen.counts.planned, seen.counts.ok + seen.counts.failed_total(), "{:?}", seen.counts);
    assert!(seen.unasked > 10 && seen.reopened > 10, "{} {}", seen.unasked, seen.reopened);
}

#[test]
fn a_body_longer_than_it_said_is_counted() {
    let longer = answering(|_| Some([&http(200, "")[..], b"and more"].concat()));
    let seen = load(&plan(), longer);
    assert_eq!((seen.counts.ok, seen.unasked), (50, 50), "{:?}", seen.counts);
}

#[test]
fn a_target_that_speaks_first_is_counted_and_every_arrival_accounted_for() {
    let greeter = server(|stream| {
        stream.set_nodelay(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        if writer.write_all(&http(200, "")).is_err() {
            return;
        }
        let mut reader = BufReader::new(stream);
        while read_request(&mut reader).is_some() && writer.write_all(&http(500, "")).is_ok() {}
    });
    let seen = load(&plan(), greeter);
    // What it says on a fresh connection is taken for the answer to the first request there; the
    // answer itself is then too much, and tells.
    assert!(seen.counts.ok > 0, "{:?}", seen.counts);
    assert!(seen.unasked >= seen.counts.ok, "{} {:?}", seen.unasked, seen.counts);
}

#[test]
fn a_connection_that_was_closed_in_between_is_opened_again_and_nothing_was_unasked() {
    let closing = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        if read_request(&mut BufReader::new(stream)).is_some() {
            writer.write_all(&http(200, "")).unwrap();
        }
    });
    // Faster than a connection that is down is tried again: one that has carried an answer is opened at
    // once.
    let mut plan = super::plan(Transport::Own, 300.0, 1.0);
    plan.load.connections = 2;
    let seen = load(&plan, closing);
    // An end that comes after the next request is on its way takes that with it.
    assert!(seen.counts.ok > 250, "{:?}", seen.counts);
    assert_eq!(
        (seen.counts.ok + seen.failed(Failure::Reset), seen.counts.dropped),
        (300, 0),
        "{:?}",
        seen.counts
    );
    assert!(seen.reopened > 250, "{}", seen.reopened);
    assert_eq!(seen.unasked, 0);
}

#[test]
fn an_answer_before_its_request_is_whole_ends_the_connection() {
    let hasty = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = stream;
        // Of megabytes, which no socket takes at once. What follows is not read.
        if reader.read_exact(&mut [0; 16]).is_ok() && writer.write_all(&http(413, "")).is_ok() {
            thread::sleep(Duration::from_secs(5));
        }
    });
    // Few, because a busy machine takes tens of milliseconds to hand over a body of megabytes; those
    // that still wait for the connection at the end are dropped.
    let mut plan = super::plan(Transport::Own, 10.0, 1.0);
    plan.load.connections = 1;
    plan.requests[0].body = Some("x".repeat(16 << 20));
    plan.load.timeout_ms = 2_000;
    let seen = load(&plan, hasty);
    let counts = &seen.counts;
    // The rest of a request would be the beginning of the next one.
    assert!(counts.sent > 1, "{counts:?}");
    assert_eq!(seen.failed(Failure::UnexpectedStatus), counts.sent, "{counts:?}");
    assert_eq!(counts.planned, counts.sent + counts.dropped, "{counts:?}");
    assert_eq!(seen.unasked, 0);
}
