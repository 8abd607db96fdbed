//! The API on a socket, with its limits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::{Proxies, api};

/// Connections to the API; further ones are closed.
const MAX_CONNECTIONS: usize = 256;
/// How long a client may take to send a request's head, idling included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head of a request.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long nothing is accepted when there are no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// Answers for `proxies` on `listener` until `over` is ready. Requests under way are given up then.
///
/// # Errors
/// None but those of the socket itself, in its beginning.
pub async fn serve(
    listener: TcpListener,
    proxies: Arc<Proxies>,
    over: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.local_addr()?;
    let router = api::router(proxies);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let accept = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
            // An answer that waits for another packet's receipt takes 40 ms.
            let _ = stream.set_nodelay(true);
            let connection =
                http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                // Whoever hangs up, sends no HTTP or is too slow goes without.
                let _ = connection.await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = over => Ok(()),
        never = accept => never,
    }
}
