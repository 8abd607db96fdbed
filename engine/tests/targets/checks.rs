//! Answers with the right status that do or do not say what is expected.

use squall_scenarios::check::MAX_CHECKED_BYTES;
use squall_scenarios::plan::{CheckPlan, Expected, Plan};

use super::*;

over_both! {
    an_answer_that_does_not_say_what_is_expected_has_failed
    a_body_is_whole_however_it_is_cut_and_never_that_of_the_answer_before
    a_body_that_ends_with_its_connection_is_checked_too
}

fn checking(via: Transport, rate_rps: f64) -> Plan {
    let mut plan = plan(via, rate_rps, 1.0);
    let value = "succeeded".into();
    plan.requests[0].check =
        vec![CheckPlan { pointer: "/payment/status".into(), expected: Expected::Equals { value } }];
    plan
}

const GOOD: &str = r#"{"payment":{"status":"succeeded"}}"#;

fn with_body(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    let (a, b) = body.split_at(9);
    format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n",
        a.len(),
        b.len()
    )
    .into_bytes()
}

fn an_answer_that_does_not_say_what_is_expected_has_failed(via: Transport) {
    let addr = answering(|r| {
        let n: u64 = r.line.split(['/', ' ']).find_map(|w| w.parse().ok()).unwrap();
        Some(match n % 6 {
            0 => with_body(GOOD),
            1 => chunked(GOOD),
            2 => with_body(r#"{"payment":{"status":"pending"}}"#),
            3 => with_body("<html>succeeded</html>"),
            4 => with_body(&format!("{GOOD}{}", " ".repeat(MAX_CHECKED_BYTES))),
            _ => http(402, ""),
        })
    });
    let seen = load(&checking(via, 300.0), addr);
    let c = &seen.counts;
    assert_eq!((c.ok, c.declined, seen.failed(Failure::CheckFailed)), (100, 50, 150), "{c:?}");
    assert_eq!(seen.response.len(), 150, "a failed check is counted, not timed");
}

fn a_body_is_whole_however_it_is_cut_and_never_that_of_the_answer_before(via: Transport) {
    let addr = server(|stream| {
        stream.set_nodelay(true).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        for n in 0.. {
            if read_request(&mut reader).is_none() {
                return;
            }
            // Every second answer lacks what the one before it had.
            let bytes = if n % 2 == 0 { chunked(GOOD) } else { with_body("{}") };
            for piece in bytes.chunks(7) {
                if writer.write_all(piece).is_err() {
                    return;
                }
                thread::sleep(Duration::from_micros(300));
            }
        }
    });
    let mut plan = checking(via, 50.0);
    plan.load.connections = 1;
    let seen = load(&plan, addr);
    assert_eq!((seen.counts.ok, seen.failed(Failure::CheckFailed)), (25, 25), "{:?}", seen.counts);
}

fn a_body_that_ends_with_its_connection_is_checked_too(via: Transport) {
    let addr = server(|stream| {
        let mut writer = stream.try_clone().unwrap();
        if read_request(&mut BufReader::new(stream)).is_some() {
            writer.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{GOOD}").as_bytes()).unwrap();
        }
    });
    assert_eq!(load(&checking(via, 50.0), addr).counts.ok, 50);
}
