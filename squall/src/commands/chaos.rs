//! `squall chaos`.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use squall_chaos::proxy::object::Object;
use squall_chaos::proxy::one::Typed;
use squall_chaos::proxy::{Proxies, Workers, server};
use squall_reports::exit;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{Stop, faults, guard};
use crate::cli::{ChaosCommand, ProxyArgs};
use crate::stdout::{print, remark};

/// The largest configuration of proxies.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Carries out `command`.
///
/// # Errors
/// When it cannot be.
pub fn chaos(command: &ChaosCommand) -> Result<u8, Stop> {
    match command {
        ChaosCommand::Proxy(args) => proxy(args),
        ChaosCommand::List => faults::list(),
        ChaosCommand::Guard => guard::guard(),
        ChaosCommand::Heal { dry_run } => guard::chaos_heal(*dry_run),
    }
}

/// Proxies connections until it is told to end.
fn proxy(args: &ProxyArgs) -> Result<u8, Stop> {
    let typed = args.config.as_deref().map(read).transpose().map_err(Stop::asked)?;
    let seed = match args.seed {
        Some(seed) => seed,
        // One that is easily typed again.
        None => u64::from(getrandom::u32().context("draw a seed")?),
    };
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = args.workers.map_or_else(cores, |n| usize::from(n.get()));
    let workers = Workers::start(threads).context("start the proxy's threads")?;
    let control =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the proxy")?;
    control.block_on(async {
        let proxies = Arc::new(Proxies::new(&workers, seed));
        let at = (args.host.as_str(), args.port);
        let listener = TcpListener::bind(at).await.with_context(|| {
            let (host, port) = at;
            format!("listen on {host}:{port}; name another port with --port, or 0 for a free one")
        });
        let listener = listener.map_err(Stop::asked)?;
        if let (Some(path), Some(typed)) = (&args.config, typed) {
            let populated = proxies.populate(typed).await;
            let shown = populated.map_err(|(e, _)| {
                Stop::asked(anyhow!("make the proxies of {}: {}", path.display(), e.message))
            })?;
            for proxy in shown {
                let off = if proxy.enabled { "" } else { ", disabled" };
                remark(&format!("{}: {} → {}{off}", proxy.name, proxy.listen, proxy.upstream));
            }
        }
        let addr = listener.local_addr().context("listen")?;
        remark(&format!("proxy API at http://{addr}, seed {seed}, {threads} threads; Ctrl-C ends it"));
        if args.announce {
            print(&format!("{{\"api\":\"{addr}\"}}\n")).context("say where the API listens")?;
        }
        if !addr.ip().is_loopback() {
            remark("everybody who reaches this machine reaches the API");
        }
        let mut signals = Vec::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            signals.push(signal(kind).context("wait for signals")?);
        }
        let (holder, gone) = tokio::sync::oneshot::channel::<()>();
        if args.exit_on_stdin_eof {
            // Whoever holds the other end is gone when nothing can be read any more.
            std::thread::Builder::new().name("stdin".into()).spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                drop(holder);
            })?;
        } else {
            std::mem::forget(holder);
        }
        let mut gone = std::pin::pin!(gone);
        let over = std::future::poll_fn(|cx| {
            if gone.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(());
            }
            let any = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
            if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        server::serve(listener, proxies, over).await.context("serve the proxy's API")?;
        Ok(exit::PASSED)
    })
}

/// The proxies in the file at `path`.
fn read(path: &Path) -> anyhow::Result<Vec<Object<Typed>>> {
    let shown = path.display();
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("read {shown}"))?;
    file.take(MAX_CONFIG_BYTES + 1).read_to_string(&mut text).with_context(|| format!("read {shown}"))?;
    ensure!(text.len() as u64 <= MAX_CONFIG_BYTES, "read {shown}: it has more than {MAX_CONFIG_BYTES} bytes");
    serde_json::from_str(&text).map_err(|e| {
        let line = text.lines().nth(e.line().saturating_sub(1)).unwrap_or_default();
        anyhow!("read {shown}: {e}\n  {}", line.trim())
    })
}
