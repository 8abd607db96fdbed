//! [`squall_engine::responder`] as a server of its own, for comparing load generators.
//!
//! `cargo run --release -p squall-engine --example trivial_server -- 127.0.0.1:9099`
//!
//! It ends when its standard input closes.

use std::io::{self, Read};
use std::net::TcpListener;

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9099".to_owned());
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind(addr)?;
    println!("listening on {}", listener.local_addr()?);
    squall_engine::responder::serve(&listener).map(|_| ())
}
