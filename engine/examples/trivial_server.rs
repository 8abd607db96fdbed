//! [`squall_engine::responder`] as a server of its own, for comparing load generators.
//!
//! `cargo run --release -p squall-engine --example trivial_server -- 127.0.0.1:9099`
//!
//! With two further arguments, in seconds, it stands still once: the first says how long after the
//! first request, the second for how long. It ends when its standard input closes.

use std::io::{self, Read};
use std::net::TcpListener;
use std::time::Duration;

use squall_engine::responder::{Stall, serve};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let addr = args.first().map_or("127.0.0.1:9099", String::as_str);
    let seconds = |text: &String| text.parse().map(Duration::from_secs_f64);
    let stall = match (args.get(1), args.get(2)) {
        (Some(after), Some(lasts)) => Some(Stall { after: seconds(after)?, lasts: seconds(lasts)? }),
        _ => None,
    };
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let listener = TcpListener::bind(addr)?;
    println!("listening on {}", listener.local_addr()?);
    serve(&listener, stall)?;
    Ok(())
}
