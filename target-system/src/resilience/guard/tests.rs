use std::cell::Cell;
use std::future::pending;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::*;
use crate::resilience::figures::Families;

const MS: Duration = Duration::from_millis(1);

const SETTINGS: GuardSettings = GuardSettings {
    attempt: Duration::from_millis(200),
    call: Duration::from_millis(1000),
    attempts: 3,
    backoff: BackoffSettings { first: Duration::from_millis(10), most: Duration::from_millis(100) },
    budget: BudgetSettings { percent: 20, floor_per_s: 10 },
    breaker: BreakerSettings { failures: u32::MAX, open_ns: 60_000_000_000, probes: 1 },
    bulkhead: BulkheadSettings { at_once: 2, waiting: 0 },
};

fn guard(settings: GuardSettings) -> Guard {
    Guard::new(settings, Families::register(&mut Registry::default()).of("test"))
}

fn later() -> Instant {
    timer::now() + Duration::from_secs(3600)
}

/// Asks something that fails `failures` times; what came of it, and how often it was asked.
async fn flaky(guard: &Guard, failures: u32, how: Failure) -> (Result<u32, CallError>, u32) {
    let asked = Cell::new(0);
    let called = guard.call(later(), || {
        asked.set(asked.get() + 1);
        let nth = asked.get();
        async move { if nth <= failures { Err(how) } else { Ok(nth) } }
    });
    (called.await, asked.get())
}

async fn hang(guard: &Guard, deadline: Instant) -> (CallError, u32, Duration) {
    let (asked, began) = (Cell::new(0), timer::now());
    let called = guard.call(deadline, || {
        asked.set(asked.get() + 1);
        pending::<Result<(), Failure>>()
    });
    (called.await.unwrap_err(), asked.get(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_asked_again_as_often_as_may_be_and_a_no_is_not() {
    let guard = guard(SETTINGS);
    assert_eq!(flaky(&guard, 0, Failure::Failed).await, (Ok(1), 1));
    assert_eq!(flaky(&guard, 2, Failure::Failed).await, (Ok(3), 3));
    assert_eq!(flaky(&guard, 3, Failure::Failed).await, (Err(CallError::Failed), 3));
    assert_eq!(flaky(&guard, 9, Failure::Refused(422)).await, (Err(CallError::Refused(422)), 1));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_at_its_limit_and_a_call_at_its_own_or_its_requests() {
    let tested = guard(SETTINGS);
    let (error, asked, took) = hang(&tested, later()).await;
    assert_eq!((error, asked), (CallError::Timeout, 3));
    assert!((600 * MS..=630 * MS + 3 * MS).contains(&took), "{took:?}");
    let short = guard(GuardSettings { call: 450 * MS, ..SETTINGS });
    let (_, asked, took) = hang(&short, later()).await;
    // The third attempt would have had less than half of its time.
    assert!(asked == 2 && took <= 411 * MS, "{asked} {took:?}");
    let (_, asked, took) = hang(&tested, timer::now() + 150 * MS).await;
    assert_eq!((asked, took.as_millis()), (1, 150));
    let (error, asked, _) = hang(&tested, timer::now() + 99 * MS).await;
    assert_eq!((error, asked), (CallError::Timeout, 0), "no attempt that cannot succeed");
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_failures_is_retried_no_more_than_the_budget_allows() {
    let guard = guard(SETTINGS);
    let mut asked = 0;
    for _ in 0..1000 {
        asked += flaky(&guard, 9, Failure::Failed).await.1;
    }
    // 100 that it holds, a fifth of the calls, and ten a second of what the pauses took.
    let seconds = guard.now_ns() as f64 / 1e9;
    let most = 1000.0 + 100.0 + 200.0 + 10.0 * seconds;
    assert!(f64::from(asked) <= most && asked > 1250, "{asked} of {most}");
    assert!(guard.figures.budget_refusals.get() > 500);
    assert_eq!(guard.figures.retries.get(), u64::from(asked) - 1000);
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_is_left_alone_until_a_probe_finds_it_well() {
    let breaker = BreakerSettings { failures: 5, ..SETTINGS.breaker };
    let guard = guard(GuardSettings { breaker, ..SETTINGS });
    hang(&guard, later()).await;
    let (error, asked, _) = hang(&guard, later()).await;
    assert_eq!(
        (error, asked),
        (CallError::Timeout, 2),
        "it has opened in between: it was asked all the same"
    );
    assert_eq!(hang(&guard, later()).await, (CallError::Open, 0, Duration::ZERO));
    assert!(CallError::Open.not_asked() && !error.not_asked());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(hang(&guard, later()).await.0, CallError::Timeout, "the probe");
    assert_eq!(hang(&guard, later()).await.0, CallError::Open);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(flaky(&guard, 0, Failure::Failed).await, (Ok(1), 1));
    assert_eq!(guard.health().breaker, "closed");
}

#[tokio::test(start_paused = true)]
async fn a_probe_whose_caller_goes_away_does_not_keep_the_breaker_waiting() {
    let breaker = BreakerSettings { failures: 1, ..SETTINGS.breaker };
    let guard = guard(GuardSettings { breaker, attempts: 1, ..SETTINGS });
    hang(&guard, later()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(tokio::time::timeout(10 * MS, hang(&guard, later())).await.is_err());
    assert_eq!(guard.health().breaker, "half_open");
    assert_eq!(flaky(&guard, 0, Failure::Failed).await, (Ok(1), 1));
}

#[tokio::test(start_paused = true)]
async fn a_no_is_an_answer_and_opens_nothing() {
    let breaker = BreakerSettings { failures: 2, ..SETTINGS.breaker };
    let guard = guard(GuardSettings { breaker, ..SETTINGS });
    for _ in 0..10 {
        assert_eq!(flaky(&guard, 9, Failure::Refused(404)).await.0, Err(CallError::Refused(404)));
    }
    assert_eq!(guard.health().breaker, "closed");
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_refuses_at_once_and_is_no_failure_of_the_dependency() {
    let breaker = BreakerSettings { failures: 1, ..SETTINGS.breaker };
    let guard = Arc::new(guard(GuardSettings { breaker, attempts: 1, ..SETTINGS }));
    let slow = |guard: Arc<Guard>| async move {
        let asked = || async {
            tokio::time::sleep(100 * MS).await;
            Ok(())
        };
        guard.call(later(), asked).await
    };
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(slow(Arc::clone(&guard)))).collect();
    tokio::time::sleep(MS).await;
    assert_eq!(hang(&guard, later()).await, (CallError::Full, 0, Duration::ZERO));
    assert_eq!(guard.figures.bulkhead_refusals.get(), 1);
    assert_eq!((guard.health().calls_under_way, guard.health().breaker), (2, "closed"));
    for call in held {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert_eq!(flaky(&guard, 0, Failure::Failed).await, (Ok(1), 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_stood_still_holds_no_time_limit_against_the_dependency() {
    let breaker = BreakerSettings { failures: 1, ..SETTINGS.breaker };
    let guard = guard(GuardSettings { attempts: 1, breaker, ..SETTINGS });
    let stands_still = tokio::time::advance(Duration::from_secs(5));
    let ((error, _, took), ()) = tokio::join!(hang(&guard, later()), stands_still);
    assert_eq!((error, took.as_secs()), (CallError::Timeout, 5));
    assert_eq!(guard.health().breaker, "closed");
    let (error, _, took) = hang(&guard, later()).await;
    assert_eq!((error, took.as_millis() < 300), (CallError::Timeout, true));
    assert_eq!(guard.health().breaker, "open");
}
