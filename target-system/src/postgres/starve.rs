//! A fault that takes connections out of the pool: whoever needs one waits as if the others were in use.

use std::pin::pin;
use std::time::Duration;

use deadpool_postgres::Pool;
use squall_chaos::host::{Starve, Tenure};
use tokio::runtime::Handle;

/// After how long another connection is asked for when one was not given.
const AGAIN: Duration = Duration::from_millis(100);

/// Takes from each of `pools`, in tasks of the current runtime.
#[must_use]
pub fn starve(pools: Vec<Pool>) -> Starve {
    let runtime = Handle::current();
    Box::new(move |connections, tenure| {
        for pool in &pools {
            runtime.spawn(take(pool.clone(), connections as usize, tenure.clone()));
        }
    })
}

/// Takes connections of `pool` and keeps them until the fault is over.
async fn take(pool: Pool, connections: usize, tenure: Tenure) {
    let mut over = pin!(tenure.over());
    let mut taken = Vec::new();
    while taken.len() < connections.min(pool.status().max_size) {
        let one = async {
            let one = pool.get().await.ok();
            if one.is_none() {
                tokio::time::sleep(AGAIN).await;
            }
            one
        };
        tokio::select! {
            biased;
            () = &mut over => return,
            one = one => if let Some(one) = one {
                taken.push(one);
                tenure.count();
            },
        }
    }
    over.await;
}
