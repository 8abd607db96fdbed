//! Whatever a target sends is read to the same end: bytes of any kind, and answers with random
//! damage.

#[path = "../fuzz/entry.rs"]
mod entry;

use proptest::prelude::*;

/// Pieces that answers are made of, and what breaks them.
const PIECES: [&str; 28] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.0 503 x\r\n",
    "HTTP/1.1 204 \r\n",
    "HTTP/1.1 99999 \r\n",
    "HTTP/1.1 007 \r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length: -1\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x\r\n",
    "Not-Executed: true\r\n",
    "X: y\r\n",
    "\r\n",
    "\r",
    "\n",
    "5\r\nhello\r\n",
    "5;a=b\r\n",
    "0\r\n",
    "fffffffffffffff\r\n",
    "0000000000000000\r\n",
    "hello",
    ":",
    " ",
    "\0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn any_answer_reads_the_same_however_it_is_cut(
        how in any::<u8>(),
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..14),
        junk in prop::collection::vec(any::<u8>(), 0..6),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes = pieces.concat().into_bytes();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, junk);
        bytes.insert(0, how);
        entry::answer(&bytes);
    }

    #[test]
    fn a_head_or_a_line_near_its_limit_reads_the_same_however_it_is_cut(
        length in prop::sample::select(vec![1000usize, 1022, 1023, 1024, 1025, 1026, 65_500, 65_536, 65_540]),
        in_head in any::<bool>(),
    ) {
        let long = "x".repeat(length);
        let answer = if in_head {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {long}\r\n\r\n")
        } else {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0;{long}\r\n\r\n")
        };
        // Byte by byte, a long head would be read over and over.
        entry::in_steps(false, answer.as_bytes(), &[127, 1460, 4096]);
    }
}
