//! A closed loop of goose users that ask for `/` without a pause; goose's own options say how
//! many users and for how long: `bench-goose --host http://127.0.0.1:9099 -u 50 -t 4s`.
//! Prints one JSON line with the requests that were answered.

use goose::prelude::*;

async fn root(user: &mut GooseUser) -> TransactionResult {
    let answer = user.get("").await?;
    // A connection carries its next request only once this answer is read.
    if let Ok(body) = answer.response {
        let _ = body.bytes().await;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), GooseError> {
    let metrics = GooseAttack::initialize()?
        .register_scenario(scenario!("root").register_transaction(transaction!(root)))
        .execute()
        .await?;
    let (ok, failed) = metrics
        .requests
        .values()
        .fold((0, 0), |(ok, failed), r| (ok + r.success_count, failed + r.fail_count));
    println!("{{\"requests\":{ok},\"failed\":{failed}}}");
    Ok(())
}
