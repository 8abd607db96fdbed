//! Bytes out on the short way: answers as hyper writes them.

use std::cell::RefCell;
use std::io::Write as _;

use axum::response::Response;
use http_body_util::BodyExt as _;
use squall_chaos::slow_body::Pace;
use squall_record::clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::accounts::Balance;
use super::super::render::{self, Wanted};
use super::Answer;
use crate::record::Record;
use crate::trace::RequestId;
use crate::wall;

/// Writes `answer` to the request `id`, which is the connection's `last` or not; returns its status and how long its body is, which
/// is the end of `out`.
pub async fn write(out: &mut Vec<u8>, answer: Answer, id: RequestId, last: bool) -> (u16, usize) {
    match answer {
        Answer::Paid(record) => paid(out, &record, id, last),
        Answer::Holds(balance) => holds(out, &balance, id, last),
        Answer::Other(response) => other(out, response, id, last).await,
        Answer::Slowly(slowly) => Box::pin(write(out, slowly.0, id, last)).await,
    }
}

/// Sends `out`, of which the last `body` bytes are a body that goes at `pace`.
///
/// # Errors
/// When the client has gone.
pub async fn trickle(stream: &mut TcpStream, out: &[u8], body: usize, pace: &Pace) -> std::io::Result<()> {
    let (before, mut body) = out.split_at(out.len() - body);
    stream.write_all(before).await?;
    while !body.is_empty() {
        let (piece, rest) = body.split_at(pace.piece(body.len()));
        stream.write_all(piece).await?;
        body = rest;
        if !body.is_empty() {
            pace.wait(piece.len()).await;
        }
    }
    Ok(())
}

/// A payment that was made.
fn paid(out: &mut Vec<u8>, record: &Record, id: RequestId, last: bool) -> (u16, usize) {
    thread_local! {
        static BODY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BODY.with_borrow_mut(|body| {
        body.clear();
        render::payment(body, record, Wanted::ALL);
        out.extend_from_slice(b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\n");
        finish(out, body, id, last);
        (201, body.len())
    })
}

/// What an account holds.
fn holds(out: &mut Vec<u8>, balance: &Balance, id: RequestId, last: bool) -> (u16, usize) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    let body = render::bytes(balance);
    finish(out, &body, id, last);
    (200, body.len())
}

/// Any other answer.
async fn other(out: &mut Vec<u8>, response: Response, id: RequestId, last: bool) -> (u16, usize) {
    let (parts, body) = response.into_parts();
    // It is in memory: there is nothing to wait for, and nothing that could fail.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let _ = write!(out, "HTTP/1.1 {}\r\n", parts.status);
    for (name, value) in &parts.headers {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(piece);
        }
    }
    finish(out, &body, id, last);
    (parts.status.as_u16(), body.len())
}

/// Writes the headers that every answer has, and its body.
fn finish(out: &mut Vec<u8>, body: &[u8], id: RequestId, last: bool) {
    let close: &[u8] = if last { b"connection: close\r\n" } else { b"" };
    out.extend_from_slice(b"request-id: ");
    out.extend_from_slice(&id.text());
    out.extend_from_slice(b"\r\ncontent-length: ");
    render::decimal(out, body.len() as u64, 1);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(close);
    out.extend_from_slice(b"date: ");
    date(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Writes the time as HTTP has it. It has seconds, so the last one is remembered.
fn date(out: &mut Vec<u8>) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let now = wall::now();
    let now_s = clock::unix_ms(now) / 1000;
    LAST.with_borrow_mut(|(second, text)| {
        if *second != now_s {
            (*second, *text) = (now_s, httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
}
