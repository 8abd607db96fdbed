//! Whatever comes through a proxy or over its API: the entry points of the fuzz targets, with what proptest finds.

#[path = "../fuzz/entry.rs"]
mod entry;

use proptest::prelude::*;

fn asked() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(b"POST /v1/payments HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}".to_vec()),
        2 => Just(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        2 => Just(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()),
        1 => Just(b"CONNECT x:1 HTTP/1.1\r\n\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn answered() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec()),
        2 => Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_vec()),
        1 => Just(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
        1 => Just(b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

/// Toxics that nearly make sense.
fn toxic() -> impl Strategy<Value = String> {
    let names = prop::sample::select(squall_chaos::proxy::toxic::Kind::NAMES.to_vec());
    let attributes = prop::sample::select(vec![
        "{}",
        r#"{"latency":10,"jitter":20}"#,
        r#"{"rate":1}"#,
        r#"{"rate":0,"to":10,"over":100}"#,
        r#"{"average_size":3,"size_variation":2,"delay":1}"#,
        r#"{"bytes":3}"#,
        r#"{"timeout":5}"#,
        r#"{"loss":0.5,"rto":1,"size":64}"#,
        r#"{"shape":"pareto","min_ms":1,"alpha":1.1,"max_ms":300000}"#,
        r#"{"shape":"log_normal","p50_ms":1e-300,"p99_ms":300000}"#,
        r#"{"shape":"curve","points":[[0,0],[1,1]]}"#,
        r#"{"replace":""}"#,
        r#"{"delay":18446744073709551615}"#,
    ]);
    let toxicity = prop::sample::select(vec![
        "",
        r#","toxicity":0.5"#,
        r#","toxicity":1e9"#,
        r#","ttl":1"#,
        r#","every":3"#,
    ]);
    (names, attributes, toxicity).prop_map(|(name, attributes, more)| {
        format!(r#"{{"type":"{name}","attributes":{attributes}{more}}}"#)
    })
}

proptest! {
    #[test]
    fn any_bytes_pass_as_they_came_or_are_refused(
        how in any::<u8>(),
        asked in prop::collection::vec(asked(), 0..6),
        answered in prop::collection::vec(answered(), 0..6),
    ) {
        entry::http(&[&[how], asked.concat().as_slice(), &[0xFF], answered.concat().as_slice()].concat());
    }

    #[test]
    fn any_body_makes_a_toxic_that_works_or_none(toxic in toxic(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        entry::api(toxic.as_bytes());
        entry::api(&bytes);
    }
}
