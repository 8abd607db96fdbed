//! The responder as a process of its own, so that its CPU time is not the generator's.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use squall_engine::responder;

use crate::stdout::print;

/// A running responder. It ends when this is dropped, or squall ends in any way: its standard
/// input closes.
pub struct Responder {
    child: Child,
    /// Where it answers.
    pub addr: SocketAddr,
}

impl Responder {
    /// Starts one on a free port of loopback.
    ///
    /// # Errors
    /// When it cannot be started or does not say where it listens.
    pub fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("find squall's own file")?)
            .arg("responder")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start the responder")?;
        let mut line = String::new();
        let said = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        match (said, line.trim().parse()) {
            (Some(Ok(_)), Ok(addr)) => Ok(Self { child, addr }),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                bail!("start the responder: it ended before it listened");
            }
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child process does: answers until its standard input closes.
///
/// # Errors
/// When no port can be listened on.
pub fn serve() -> anyhow::Result<()> {
    std::thread::Builder::new().name("stdin".into()).spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    })?;
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    print(&format!("{}\n", listener.local_addr()?))?;
    responder::serve(&listener, None).context("answer")?;
    Ok(())
}
