//! What must hold whatever comes through a proxy or over its API. Shared by the fuzz targets, which search for inputs that break it, and by the
//! property tests.

use std::sync::Arc;

use bytes::Bytes;
use squall_chaos::proxy::acting::{Acting, Client};
use squall_chaos::proxy::http::Http;
use squall_chaos::proxy::object::Object;
use squall_chaos::proxy::pipe::Pipe;
use squall_chaos::proxy::stage::{Out, Piece};
use squall_chaos::proxy::toxic::{Stream, Toxic, Typed};
use squall_chaos::proxy::{one, partition};

const CLIENT: Client = Client { number: 3, source: None };
/// Rounds after which a connection must have come to rest.
const ROUNDS: u64 = 4000;

fn acting(toxic: Toxic) -> Arc<Acting> {
    let fault = format!("p/{}", toxic.name);
    Arc::new(Acting { fault, id: 1, seed: 7, armed_ns: 0, ends_ns: u64::MAX, tally: Arc::default(), toxic })
}

/// The first byte says how finely it is cut and what acts; the rest are a client's bytes and, behind the last 0xFF, the upstream's.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn http(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    let at = rest.iter().rposition(|b| *b == 0xFF);
    let (asked, answered) = at.map_or((rest, &[][..]), |at| (&rest[..at], &rest[at + 1..]));
    let step = usize::from(how & 0x3F) + 1;
    let toxic = match how >> 6 {
        0 => None,
        1 => Some(r#"{"type":"http_abort","toxicity":0.5}"#),
        2 => Some(r#"{"type":"http_body","attributes":{"corrupt":3}}"#),
        _ => Some(r#"{"type":"http_body","attributes":{"truncate":3}}"#),
    };
    let toxic = toxic.map(|json| serde_json::from_str::<Typed>(json).map(Typed::create));
    let mut http = Http::new(CLIENT);
    http.arrange(toxic.into_iter().filter_map(|t| t.ok()?.ok()).map(acting).collect());
    let passed = flow(&mut http, [asked, answered], step);
    let _ = http.is_relieved();
    // What reaches the upstream is what was sent, but for line ends before requests and requests that are answered here.
    if how >> 6 != 1 {
        let plain = |bytes: &[u8]| bytes.iter().copied().filter(|b| !b"\r\n".contains(b)).collect::<Vec<_>>();
        assert!(plain(asked).starts_with(&plain(&passed[0])), "the upstream gets what nobody sent");
    }
    // An answer changes in its bytes, not in their number, but where it is cut or made here.
    if how >> 6 == 0 && passed[1].len() > answered.len() {
        let own = String::from_utf8_lossy(&passed[1]);
        assert!(own.contains("Connection: close\r\n"), "the client gets what nobody sent");
    }
}

/// What comes out in each direction when both are fed in turn, `step` bytes at a time, until neither has more or one ends.
fn flow(http: &mut Http, [asked, answered]: [&[u8]; 2], step: usize) -> [Vec<u8>; 2] {
    let mut passed = [Vec::new(), Vec::new()];
    let mut sides = [(Stream::Upstream, asked.chunks(step)), (Stream::Downstream, answered.chunks(step))];
    let mut waits = [false; 2];
    for now_ns in (0..ROUNDS).map(|ms| ms * 1_000_000) {
        for (nth, (stream, chunks)) in sides.iter_mut().enumerate() {
            match http.next(*stream, now_ns) {
                Out::Piece(piece) => passed[nth].extend_from_slice(&piece.data),
                Out::End(_) => return passed,
                Out::Wait(_) | Out::Empty if http.has_room(*stream) => match chunks.next() {
                    Some(data) => http.put(*stream, data, now_ns),
                    None => waits[nth] = true,
                },
                Out::Wait(_) | Out::Empty => {}
            }
        }
        if waits == [true; 2] {
            break;
        }
    }
    passed
}

/// A body that is sent to the API: a toxic, a proxy, a population or a partition.
#[allow(dead_code, reason = "each fuzz target uses one of these")]
pub fn api(input: &[u8]) {
    let _ = serde_json::from_slice::<Object<one::Typed>>(input);
    let _ = serde_json::from_slice::<Vec<Object<one::Typed>>>(input);
    if let Ok(Object(typed)) = serde_json::from_slice::<Object<partition::Typed>>(input) {
        let _ = typed.blocks(("a", "b"));
    }
    let Ok(Object(typed)) = serde_json::from_slice::<Object<Typed>>(input) else { return };
    let Ok(toxic) = typed.create() else { return };
    assert!((0.0..=1.0).contains(&toxic.toxicity), "{toxic:?}");
    // What is shown can be typed again, and means the same.
    let shown = serde_json::to_string(&toxic).unwrap_or_default();
    let again = serde_json::from_str::<Typed>(&shown).map(Typed::create);
    assert!(matches!(&again, Ok(Ok(again)) if *again == toxic), "{shown}");
    let mut pipe = Pipe::default();
    pipe.arrange(&[acting(toxic)], CLIENT, 0);
    pipe.put(Piece { data: Bytes::from_static(b"0123456789"), at_ns: 0 });
    let mut now_ns = 0;
    for _ in 0..100 {
        match pipe.next(now_ns) {
            Out::Piece(piece) => assert!(!piece.data.is_empty()),
            // For what only a change can end.
            Out::Wait(u64::MAX) => return,
            Out::Wait(until_ns) => {
                assert!(until_ns > now_ns, "it waits for what is past");
                now_ns = until_ns;
            }
            Out::End(_) | Out::Empty => return,
        }
    }
}
