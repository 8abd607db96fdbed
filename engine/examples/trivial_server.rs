//! The smallest keep-alive HTTP server: one thread, one epoll, one canned answer. Load generators
//! are compared against it, so that what is measured is the generator.
//!
//! `cargo run --release -p squall-engine --example trivial_server -- 127.0.0.1:9099`
//!
//! It assumes that a request arrives in one piece and without a body, which holds for what the
//! benchmarks send. It ends when its standard input closes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll::{self, EventData, EventFlags};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9099".to_owned());
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    println!("listening on {}", listener.local_addr()?);
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut events = Vec::with_capacity(256);
    let mut buffer = [0; 16 * 1024];
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    epoll::add(
                        &epoll,
                        &stream,
                        EventData::new_u64(connections.len() as u64),
                        EventFlags::IN,
                    )?;
                    connections.push(Some(stream));
                }
                continue;
            }
            let slot = &mut connections[id as usize];
            let Some(stream) = slot else { continue };
            let gone = match stream.read(&mut buffer) {
                Ok(0) => true,
                Ok(_) => stream.write_all(ANSWER).is_err(),
                Err(e) => e.kind() != ErrorKind::WouldBlock,
            };
            if gone {
                *slot = None;
            }
        }
    }
}
