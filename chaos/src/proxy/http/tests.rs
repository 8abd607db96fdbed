//! What passes, by made-up time.

use super::*;
use crate::proxy::toxic::{Toxic, Typed};

const MS: u64 = 1_000_000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn acting(id: u64, json: &str) -> Arc<Acting> {
    let toxic: Toxic = serde_json::from_str::<Typed>(json).unwrap().create().unwrap();
    Arc::new(Acting {
        fault: format!("p/{}", toxic.name),
        id,
        seed: 7,
        armed_ns: 0,
        ends_ns: toxic.ttl.map_or(u64::MAX, |ttl| ttl * MS),
        tally: Arc::default(),
        toxic,
    })
}

fn one(json: &str) -> Vec<Arc<Acting>> {
    vec![acting(1, json)]
}

fn http(toxics: Vec<Arc<Acting>>) -> Http {
    let mut http = Http::new(Client { number: 3, source: None });
    http.arrange(toxics);
    http
}

fn request(key: &str) -> Vec<u8> {
    format!("POST /v1/payments HTTP/1.1\r\nIdempotency-Key: {key}\r\nContent-Length: 2\r\n\r\n{{}}")
        .into_bytes()
}

/// What comes out in one direction until it has to wait for more, and when it ends.
fn drain(http: &mut Http, stream: Stream, mut now_ns: u64) -> (Vec<u8>, u64, Option<End>) {
    let mut all = Vec::new();
    loop {
        match http.next(stream, now_ns) {
            Out::Piece(piece) => all.extend_from_slice(&piece.data),
            Out::Wait(at_ns) => {
                assert!(at_ns > now_ns, "it waits for what is past");
                now_ns = at_ns;
            }
            Out::Empty => return (all, now_ns, None),
            Out::End(end) => return (all, now_ns, Some(end)),
        }
    }
}

fn up(http: &mut Http, data: &[u8], now_ns: u64) -> (Vec<u8>, u64, Option<End>) {
    http.put(Stream::Upstream, data, now_ns);
    drain(http, Stream::Upstream, now_ns)
}

fn down(http: &mut Http, data: &[u8], now_ns: u64) -> (Vec<u8>, u64, Option<End>) {
    http.put(Stream::Downstream, data, now_ns);
    drain(http, Stream::Downstream, now_ns)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn without_toxics_every_byte_passes_as_it_came() {
    let mut http = http(vec![]);
    let asked = [request("a"), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()].concat();
    assert_eq!(up(&mut http, &asked, 5), (asked.clone(), 5, None));
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answered = [b"HTTP/1.1 100 Continue\r\n\r\n".as_slice(), ANSWER, chunked].concat();
    assert_eq!(down(&mut http, &answered, 7), (answered.clone(), 7, None));
    assert!(http.pending.is_empty());
    http.end(Stream::Downstream);
    assert_eq!(drain(&mut http, Stream::Downstream, 9).2, Some(End::Finished));
}

#[test]
fn an_abort_answers_in_the_upstreams_place_and_the_connection_goes_on() {
    let mut http = http(one(
        r#"{"type":"http_abort","attributes":{"status":503,"body":"no"},"match":{"method":"POST"}}"#,
    ));
    let get = b"GET / HTTP/1.1\r\n\r\n";
    // The second of three: its answer comes second too, whenever the upstream's come.
    let asked = [get.as_slice(), &request("a"), get].concat();
    assert_eq!(text(&up(&mut http, &asked, 0).0), text(&[get.as_slice(), get].concat()));
    assert_eq!(drain(&mut http, Stream::Downstream, 0).0, b"", "the first is not answered yet");
    let (answered, _, end) = down(&mut http, &[ANSWER, ANSWER].concat(), 0);
    let own = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nSquall-Fault: p/http_abort_downstream\r\n\r\nno";
    assert_eq!(text(&answered), format!("{}{own}{}", text(ANSWER), text(ANSWER)));
    assert_eq!(end, None);
}

#[test]
fn an_own_answer_is_as_old_as_its_request_and_not_as_the_answer_before() {
    let mut http = http(one(r#"{"type":"http_abort","match":{"method":"POST"}}"#));
    up(&mut http, b"GET / HTTP/1.1\r\n\r\n", 0);
    down(&mut http, ANSWER, 5);
    up(&mut http, &request("a"), 700);
    let Out::Piece(piece) = http.next(Stream::Downstream, 700) else { panic!("there is an answer") };
    assert_eq!(piece.at_ns, 700, "what delays bytes counts from here");
}

#[test]
fn an_abort_without_a_status_resets() {
    let mut http = http(one(r#"{"type":"http_abort","attributes":{"status":0}}"#));
    assert_eq!(up(&mut http, &request("a"), 0).2, Some(End::Reset));
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_answered_and_the_connection_ends() {
    let mut http = http(one(r#"{"type":"http_abort"}"#));
    let asked = b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n";
    http.put(Stream::Upstream, asked, 0);
    assert!(matches!(http.next(Stream::Upstream, 0), Out::Wait(_)));
    let (answered, _, end) = drain(&mut http, Stream::Downstream, 0);
    assert!(text(&answered).contains("503") && text(&answered).contains("Connection: close"));
    assert_eq!(end, Some(End::Finished));
    assert_eq!(drain(&mut http, Stream::Upstream, 0), (vec![], 1000 * MS, Some(End::Finished)));
}

#[test]
fn a_delay_holds_the_request_or_its_answer_and_lets_go_when_it_is_removed_or_over() {
    let slow = |stream: &str, more: &str| {
        one(&format!(
            r#"{{"type":"http_delay","stream":"{stream}","attributes":{{"shape":"fixed","ms":100}}{more}}}"#
        ))
    };
    let mut held = http(slow("upstream", ""));
    assert_eq!(up(&mut held, &request("a"), 5 * MS).1, 105 * MS);
    assert_eq!(down(&mut held, ANSWER, 200 * MS).1, 200 * MS);

    let mut held = http(slow("downstream", ""));
    assert_eq!(up(&mut held, &request("a"), 0).1, 0);
    held.put(Stream::Downstream, ANSWER, 10 * MS);
    assert_eq!(held.next(Stream::Downstream, 10 * MS), Out::Wait(110 * MS));
    held.arrange(vec![]);
    assert_eq!(drain(&mut held, Stream::Downstream, 11 * MS), (ANSWER.to_vec(), 11 * MS, None));

    let mut held = http(slow("upstream", r#","ttl":30"#));
    assert_eq!(up(&mut held, &request("a"), 10 * MS).1, 30 * MS, "no longer than it has to live");
    assert_eq!(up(&mut held, &request("b"), 40 * MS).1, 40 * MS);
}

#[test]
fn delays_add_up_and_each_ends_by_itself_or_goes_on_when_its_toxic_is_renewed() {
    let slow = |id: u64, ttl: u64| {
        acting(
            id,
            &format!(
                r#"{{"name":"{id}","type":"http_delay","stream":"upstream","ttl":{ttl},"attributes":{{"shape":"fixed","ms":100}}}}"#
            ),
        )
    };
    let held = || {
        let mut held = http(vec![slow(1, 90_000), slow(2, 150)]);
        held.put(Stream::Upstream, &request("a"), 0);
        assert_eq!(held.next(Stream::Upstream, 0), Out::Wait(150 * MS), "the second ends then");
        held
    };
    let due = |toxics: Vec<Arc<Acting>>| {
        let mut held = held();
        held.arrange(toxics);
        held.next(Stream::Upstream, 20 * MS)
    };
    assert_eq!(due(vec![slow(1, 90_000), slow(2, 90_000)]), Out::Wait(200 * MS), "renewed");
    assert_eq!(due(vec![slow(1, 90_000)]), Out::Wait(100 * MS), "the other goes on");
    assert!(matches!(due(vec![]), Out::Piece(_)));
}

#[test]
fn an_answer_that_comes_when_its_toxic_is_over_is_left_alone() {
    for toxic in [
        r#"{"type":"http_body","attributes":{"truncate":1}}"#,
        r#"{"type":"http_delay","attributes":{"shape":"fixed","ms":100}}"#,
    ] {
        let mut http = http(one(toxic));
        up(&mut http, &request("a"), 0);
        http.arrange(vec![]);
        assert_eq!(down(&mut http, ANSWER, 5 * MS), (ANSWER.to_vec(), 5 * MS, None), "{toxic}");
    }
}

#[test]
fn an_answer_without_a_body_has_none_whatever_its_length_says() {
    let mut http = http(vec![]);
    up(&mut http, b"HEAD / HTTP/1.1\r\n\r\n", 0);
    up(&mut http, b"GET / HTTP/1.1\r\nIf-None-Match: x\r\n\r\n", 0);
    up(&mut http, b"GET / HTTP/1.1\r\n\r\n", 0);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n".as_slice();
    let unchanged = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 90\r\n\r\n".as_slice();
    let answered = [head, unchanged, ANSWER].concat();
    assert_eq!(down(&mut http, &answered, 0), (answered.clone(), 0, None));
    assert!(http.pending.is_empty(), "each is an answer of its own");
}

#[test]
fn which_requests_a_share_meets_hangs_on_the_attempt_too() {
    let met = |attempt: u32| {
        let toxic = acting(1, r#"{"type":"http_abort","toxicity":0.5}"#);
        let met: Vec<bool> = (0..100).map(|request| toxic.meets_request(request, attempt)).collect();
        met
    };
    assert_eq!(met(1), met(1));
    assert_ne!(met(0), met(1), "a second attempt has a chance of its own");
}

#[test]
fn a_toxic_on_connections_meets_those_of_its_source() {
    let toxic = acting(1, r#"{"type":"latency","match":{"source":"10.0.0.0/8"}}"#);
    let from = |source: &str| toxic.meets(Client { number: 1, source: source.parse().ok() });
    assert_eq!(["10.1.2.3", "11.1.2.3", ""].map(from), [true, false, false]);
}

#[test]
fn hits_beyond_those_that_can_be_named_are_counted() {
    let toxic = acting(1, r#"{"type":"http_abort"}"#);
    let most = crate::proxy::acting::MAX_HITS as u64;
    (0..most + 3).for_each(|request| toxic.count(request, 0));
    let hits = toxic.hits();
    assert_eq!((hits.met, hits.hits.len() as u64, hits.left_out), (most + 3, most, 3));
}

#[test]
fn which_requests_a_share_meets_hangs_on_their_keys_and_not_on_the_connection() {
    let met = |number| {
        let toxics = one(r#"{"type":"http_abort","toxicity":0.3}"#);
        let mut http = Http::new(Client { number, source: None });
        http.arrange(toxics.clone());
        for n in 0..500 {
            up(&mut http, &request(&format!("key-{n}")), 0);
            while http.pending.len() > 50 {
                match http.pending.front().unwrap().answer {
                    Expected::Own { .. } => drain(&mut http, Stream::Downstream, 0),
                    Expected::Upstream { .. } => down(&mut http, ANSWER, 0),
                };
            }
        }
        toxics[0].hits()
    };
    let hits = met(1);
    assert_eq!(hits, met(2));
    assert!(hits.met.abs_diff(150) < 52, "{}: five standard deviations", hits.met);
    assert_eq!(hits.hits.len() as u64, hits.met);
}

#[test]
fn the_first_so_many_and_every_so_many_th_are_counted_among_those_that_match() {
    for (more, expected) in
        [(r#""first":2"#, "AA..."), (r#""every":2"#, ".A.A."), (r#""first":3,"every":3"#, "..A..")]
    {
        let mut http = http(one(&format!(r#"{{"type":"http_abort","match":{{"path":"/v1/*"}},{more}}}"#)));
        let mut seen = String::new();
        for n in 0..5 {
            up(&mut http, b"GET /other HTTP/1.1\r\n\r\n", 0);
            down(&mut http, ANSWER, 0);
            let passed = !up(&mut http, &request(&n.to_string()), 0).0.is_empty();
            seen.push(if passed { '.' } else { 'A' });
            down(&mut http, if passed { ANSWER } else { b"" }, 0);
        }
        assert_eq!(seen, expected, "{more}");
    }
}

#[test]
fn the_control_lane_is_met_by_nothing() {
    let mut http = http(one(r#"{"type":"http_abort"}"#));
    let asked = b"GET / HTTP/1.1\r\nSquall-Lane: control\r\n\r\n";
    assert_eq!(up(&mut http, asked, 0).0, asked);
    assert_eq!(up(&mut http, b"GET / HTTP/1.1\r\nSquall-Lane: other\r\n\r\n", 0).0, b"");
}

#[test]
fn bodies_are_cut_changed_and_replaced() {
    let through = |toxic: &str, answer: &[u8]| {
        let mut http = http(one(&format!(r#"{{"type":"http_body","attributes":{toxic}}}"#)));
        up(&mut http, &request("a"), 0);
        let (answered, _, end) = down(&mut http, answer, 0);
        (text(&answered), end)
    };
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let cut = through(r#"{"truncate":2}"#, ANSWER);
    assert_eq!(cut, ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe".to_owned(), Some(End::Closed)));
    assert!(through(r#"{"truncate":2}"#, chunked).0.ends_with("\r\n\r\n5\r\nhe"));
    assert_eq!(through(r#"{"truncate":5}"#, ANSWER), (text(ANSWER), None));
    assert_eq!(
        through(r#"{"replace":"{}"}"#, chunked),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned(), None)
    );
    let (changed, end) = through(r#"{"corrupt":1}"#, ANSWER);
    assert!(changed != text(ANSWER) && changed.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"));
    assert_eq!(end, None);
    // All of them, also in one piece.
    let long = [b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n".as_slice(), &[b'a'; 64]].concat();
    let (changed, _) = through(r#"{"corrupt":8}"#, &long);
    let differ = changed.chars().filter(|c| *c == '\u{FFFD}').count();
    assert!((4..=8).contains(&differ), "{differ} of 8, of which some may be the same: {changed}");
    let empty = b"HTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(through(r#"{"replace":"x"}"#, empty), (text(empty), None));
}

#[test]
fn what_could_be_smuggled_is_refused_and_never_passed_on() {
    let smuggled = b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n";
    let mut http = http(vec![]);
    http.put(Stream::Upstream, smuggled, 0);
    assert!(matches!(http.next(Stream::Upstream, 0), Out::Wait(_)));
    let (answered, _, end) = drain(&mut http, Stream::Downstream, 0);
    assert!(text(&answered).starts_with("HTTP/1.1 400 Bad Request\r\n"), "{}", text(&answered));
    assert!(text(&answered).contains("contradict each other"));
    assert_eq!(end, Some(End::Finished));
    assert_eq!(up(&mut http, b"GET / HTTP/1.1\r\n\r\n", 1).0, b"", "nor anything behind it");
}

#[test]
fn an_upstream_that_makes_no_sense_becomes_a_502_and_an_unasked_answer_an_end() {
    let mut asked = http(vec![]);
    up(&mut asked, &request("a"), 0);
    let (answered, _, end) = down(&mut asked, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 0);
    assert!(text(&answered).starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{}", text(&answered));
    assert_eq!(end, Some(End::Finished));
    let mut unasked = http(vec![]);
    assert_eq!(down(&mut unasked, ANSWER, 0), (vec![], 0, Some(End::Closed)));
}

#[test]
fn a_connection_that_becomes_another_passes_as_it_is() {
    let mut http = http(one(r#"{"type":"http_abort","match":{"method":"POST"}}"#));
    up(&mut http, b"CONNECT db:5432 HTTP/1.1\r\n\r\n", 0);
    assert_eq!(up(&mut http, b"POST / HTTP/1.1\r\n\r\n", 0).0, b"", "it waits for the answer");
    assert_eq!(down(&mut http, b"HTTP/1.1 200 OK\r\n\r\nPOST", 0).0, b"HTTP/1.1 200 OK\r\n\r\nPOST");
    assert!(http.is_relieved() && !http.is_relieved());
    assert_eq!(drain(&mut http, Stream::Upstream, 0).0, b"POST / HTTP/1.1\r\n\r\n");
}

#[test]
fn what_has_been_refused_does_not_come_through_when_the_connection_becomes_another() {
    let mut http = http(vec![]);
    up(&mut http, b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", 0);
    http.put(Stream::Upstream, b"\x7f", 0);
    assert!(matches!(http.next(Stream::Upstream, 0), Out::Wait(_)));
    down(&mut http, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 0);
    assert_eq!(up(&mut http, b"GET /admin HTTP/1.1\r\n\r\n", 0).0, b"");
}

#[test]
fn a_client_that_asks_and_asks_without_an_answer_waits() {
    let mut http = http(vec![]);
    let asked = request("a").repeat(MAX_PENDING + 5);
    up(&mut http, &asked, 0);
    assert_eq!(http.pending.len(), MAX_PENDING);
    assert!(!http.is_relieved());
    down(&mut http, ANSWER, 0);
    assert!(http.is_relieved());
    assert!(!drain(&mut http, Stream::Upstream, 0).0.is_empty());
}

#[test]
fn one_that_is_answered_here_meets_nothing_else_and_nothing_else_counts_it() {
    let delay = acting(
        1,
        r#"{"name": "d", "type": "http_delay", "stream": "upstream", "first": 1, "attributes": {"shape": "fixed", "ms": 5}}"#,
    );
    let body = acting(2, r#"{"name": "b", "type": "http_body", "attributes": {"truncate": 1}}"#);
    let abort =
        acting(3, r#"{"name": "a", "type": "http_abort", "first": 1, "attributes": {"status": 503}}"#);
    let mut http = http(vec![Arc::clone(&delay), Arc::clone(&body), Arc::clone(&abort)]);
    assert_eq!(up(&mut http, &request("one"), 0).0, b"");
    assert!(down(&mut http, b"", 0).0.starts_with(b"HTTP/1.1 503"));
    assert_eq!([&delay, &body, &abort].map(|acting| acting.met()), [0, 0, 1]);
    // The first that the delay could have met is the second.
    assert_eq!(up(&mut http, &request("two"), 0).1, 5 * MS);
    assert_eq!([&delay, &body, &abort].map(|acting| acting.met()), [1, 1, 1]);
}

#[test]
fn a_client_that_wants_the_end_with_its_answer_gets_it() {
    for head in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n"] {
        let mut http = http(one(r#"{"type": "http_abort", "attributes": {"status": 304}}"#));
        up(&mut http, head.as_bytes(), 0);
        let (answer, _, end) = down(&mut http, b"", 0);
        assert!(answer.starts_with(b"HTTP/1.1 304") && end == Some(End::Finished), "{head}: {end:?}");
    }
    let mut http = http(one(r#"{"type": "http_abort", "attributes": {"status": 503}}"#));
    up(&mut http, b"GET / HTTP/1.1\r\n\r\n", 0);
    assert_eq!(down(&mut http, b"", 0).2, None);
}

#[test]
fn nothing_reaches_the_upstream_behind_an_answer_that_was_refused() {
    let mut http = http(Vec::new());
    assert_ne!(up(&mut http, &request("one"), 0).0, b"");
    let (answer, _, end) = down(&mut http, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 0);
    assert!(answer.starts_with(b"HTTP/1.1 502") && end == Some(End::Finished), "{end:?}");
    assert_eq!(up(&mut http, &request("two"), 0).0, b"");
}

#[test]
fn no_length_that_an_upstream_says_costs_more_than_the_toxic_allows() {
    let many = r#"{"type": "http_body", "attributes": {"corrupt": 4097}}"#;
    assert!(serde_json::from_str::<Typed>(many).unwrap().create().is_err());
    let mut http = http(one(r#"{"type": "http_body", "attributes": {"corrupt": 4096}}"#));
    up(&mut http, &request("one"), 0);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000\r\n\r\nhello";
    assert_eq!(down(&mut http, answer, 0).0.len(), answer.len());
}
