//! What must hold whatever a target sends, and however its bytes are cut. Shared by the fuzz
//! target, which searches for bytes that break it, and by the property tests.

use squall_engine::answer::{Answer, BadAnswer, Scan, Scanner};

/// An answer; the first byte says what it answers and how the rest is cut.
pub fn answer(input: &[u8]) {
    let (how, bytes) = input.split_first().unwrap_or((&0, &[]));
    let to_head = how & 1 == 1;
    in_steps(to_head, bytes, &[1, 2, 1 + usize::from(how >> 1)]);
    // As sockets cut, irregularly: by what is in the bytes themselves.
    let cuts = bytes.iter().map(|b| 1 + usize::from(*b)).chain(std::iter::repeat(1));
    let whole = read(to_head, bytes, std::iter::once(bytes.len()));
    assert_eq!(read(to_head, bytes, cuts), whole, "cut irregularly, an answer reads differently");
}

/// `bytes`, an answer to a HEAD or another request, cut every so many bytes.
pub fn in_steps(to_head: bool, bytes: &[u8], steps: &[usize]) {
    let whole = read(to_head, bytes, std::iter::once(bytes.len()));
    for step in steps {
        let cut = read(to_head, bytes, std::iter::repeat(*step));
        assert_eq!(cut, whole, "cut every {step} bytes, an answer reads differently");
    }
}

/// Reads one answer from `bytes` in pieces of `cuts`, keeping what is not used up, as a connection
/// does. Gives the answer and how many bytes are its own.
fn read(
    to_head: bool,
    bytes: &[u8],
    cuts: impl Iterator<Item = usize>,
) -> Result<(Option<Answer>, usize), BadAnswer> {
    let mut scanner = Scanner::default();
    scanner.reset(to_head);
    let (mut used, mut given) = (0, 0);
    for cut in cuts {
        if given == bytes.len() {
            break;
        }
        given = (given + cut).min(bytes.len());
        match scanner.scan(&bytes[used..given])? {
            Scan::Complete(answer, n) => {
                assert!(n <= given - used, "{n} bytes used of {}", given - used);
                assert!((200..1000).contains(&answer.status), "{answer:?}");
                return Ok((Some(answer), used + n));
            }
            Scan::Partial(n) => {
                assert!(n <= given - used, "{n} bytes used of {}", given - used);
                used += n;
            }
        }
    }
    // What an incomplete answer has used up depends on the cuts; the connection ends with it.
    Ok((scanner.closed(), bytes.len()))
}
