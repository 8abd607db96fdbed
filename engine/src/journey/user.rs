//! One iteration of one user: its steps, each after the answer to the one before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goose::prelude::{GooseRequest, GooseUser};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use squall_record::clock::{Clock, NANOS_PER_SEC};
use squall_record::journey::JourneyOp;
use squall_record::outcome::{Failure, Outcome};
use squall_scenarios::feeder::Feeders;
use squall_scenarios::journey::{Draws, Known, Script, Taken, key_text};
use squall_scenarios::plan::{JourneyPlan, StepPlan};
use tokio::sync::{Notify, watch};

use super::board::{Board, Finished};
use super::exchange;
use super::wire::Job;
use crate::tally::outcome_of;

/// What all users share. It holds secrets, and so has no `Debug`.
pub(super) struct Shared {
    pub(super) job: Job,
    /// Scheme, host and port.
    pub(super) base: String,
    pub(super) scripts: Vec<Script>,
    pub(super) draws: Draws,
    pub(super) feeders: Feeders,
    pub(super) client: Client,
    pub(super) clock: Clock,
    pub(super) board: Mutex<Board>,
    /// The number of the next user of each journey.
    pub(super) next_user: Vec<AtomicU32>,
    /// Users that have not ended.
    pub(super) left: AtomicU32,
    pub(super) all_ended: Notify,
    pub(super) stop: watch::Receiver<bool>,
}

/// What a user keeps from iteration to iteration.
#[derive(Clone, Default)]
struct Session {
    user: u32,
    iteration: u64,
    /// The values that answers gave.
    taken: Vec<Option<Taken>>,
    /// Whether the steps of a session's beginning are done.
    begun: bool,
}

/// How a step left the iteration.
#[derive(PartialEq, Eq)]
enum After {
    GoesOn,
    Abandoned,
}

impl Shared {
    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        // A user that panicked has ended, and its counts stand as they are.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, plan: &JourneyPlan) -> bool {
        *self.stop.borrow() || self.clock.now_s() >= plan.end_s
    }

    /// Waits until `at_ns` on the run's clock, or until all is to stop.
    async fn wait_until(&self, at_ns: u64) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = tokio::time::sleep(self.clock.until(at_ns)) => {}
            _ = stop.wait_for(|s| *s) => {}
        }
    }
}

/// Lets `user` go through `journey` once. goose calls it again and again; once the journey is
/// over it never comes back, and ends with the process.
pub(super) async fn iterate(user: &mut GooseUser, shared: &Shared, journey: usize) {
    let plan = &shared.job.plan.journeys[journey];
    let mut session = match user.get_session_data_mut::<Session>() {
        Some(session) => std::mem::take(session),
        None => begin(user, shared, journey).await,
    };
    if shared.is_over(plan) {
        shared.board().user_ends(journey);
        if shared.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            shared.all_ended.notify_one();
        }
        std::future::pending::<()>().await;
    }
    let now_ns = || shared.clock.now_ns();
    shared.board().iterations(journey, now_ns()).started += 1;
    let mut abandoned = false;
    let mut cut = false;
    // A session's beginning is done once; the plan's checks see to it that something is left.
    let todo: Vec<usize> =
        (0..plan.steps.len()).filter(|i| !(plan.steps[*i].once && session.begun)).collect();
    for index in &todo {
        if shared.is_over(plan) {
            cut = true;
            break;
        }
        abandoned = send(user, shared, journey, &mut session, *index).await == After::Abandoned;
        if !abandoned && Some(index) == todo.last() {
            shared.board().iterations(journey, now_ns()).completed += 1;
        }
        let think_ms = shared.draws.think_ms(plan, journey, session.user, session.iteration, *index);
        let wake_ns = now_ns() + (think_ms * 1e6) as u64;
        shared.wait_until(wake_ns.min((plan.end_s * NANOS_PER_SEC as f64) as u64)).await;
        if abandoned {
            break;
        }
    }
    if abandoned {
        shared.board().iterations(journey, now_ns()).abandoned += 1;
        // The next iteration is a new session's, as of somebody who logs in again.
        session.taken.iter_mut().for_each(|t| *t = None);
    }
    session.begun = !abandoned && !cut;
    session.iteration += 1;
    user.set_session_data(session);
}

/// A user's first moment: who it is, and the wait until it begins.
async fn begin(user: &mut GooseUser, shared: &Shared, journey: usize) -> Session {
    let index = shared.next_user[journey].fetch_add(1, Ordering::Relaxed);
    // Neither redirects nor proxies lead away from the target, which goose's own client would follow.
    user.client = shared.client.clone();
    let plan = &shared.job.plan.journeys[journey];
    shared.wait_until((plan.user_start_s(index) * NANOS_PER_SEC as f64) as u64).await;
    // The clock reads 0 before its zero.
    if shared.clock.until(0) > Duration::ZERO {
        shared.wait_until(1).await;
    }
    shared.board().user_begins(journey);
    Session { user: index, taken: vec![None; shared.scripts[journey].slots], ..Session::default() }
}

/// Sends one step and takes what its answer gives.
async fn send(
    user: &mut GooseUser,
    shared: &Shared,
    journey: usize,
    session: &mut Session,
    index: usize,
) -> After {
    let job = &shared.job;
    let (plan, script) = (&job.plan.journeys[journey], &shared.scripts[journey].steps[index]);
    let step = &plan.steps[index];
    let known = Known {
        values: shared.draws.values(journey, session.user, session.iteration, index),
        data: &job.plan.data,
        feeders: &shared.feeders,
        turn: shared.draws.turn(plan, journey, session.user, session.iteration),
        token: &job.token,
        username: &job.username,
        password: &job.password,
        taken: &session.taken,
    };
    let Some(builder) = render(user, &shared.base, step, script, &known) else { return After::Abandoned };
    let request = GooseRequest::builder().name(step.name.as_str()).set_request_builder(builder).build();
    let fired_ns = shared.clock.now_ns();
    shared.board().sent(journey, index, fired_ns);
    let (status, outcome, values) = match user.request(request).await {
        // A request that cannot be built was refused when the plan was checked.
        Err(_) => (0, Outcome::Failed(Failure::BadAnswer), BTreeMap::new()),
        Ok(answered) => match exchange::read(answered.response).await {
            Err((status, failure)) => (status, Outcome::Failed(failure), BTreeMap::new()),
            Ok(answer) => {
                let outcome = outcome_of(answer.status, answer.not_executed, &step.expect, &step.declined);
                match taken(script, outcome, &answer.body) {
                    Some(values) => (answer.status, outcome, values),
                    None => (answer.status, Outcome::Failed(Failure::CheckFailed), BTreeMap::new()),
                }
            }
        },
    };
    let now_ns = shared.clock.now_ns();
    let op = script.has_key.then(|| JourneyOp {
        journey: plan.name.clone(),
        step: step.name.clone(),
        user: session.user,
        iteration: session.iteration,
        key: key_text(known.values.key),
        account: known.account(known.values.account),
        other: known.account(known.values.other),
        amount: known.values.amount,
        fired_ns,
        took_us: now_ns.saturating_sub(fired_ns).div_ceil(1000),
        status,
        outcome,
    });
    shared.board().finish(journey, index, Finished { outcome, fired_ns, now_ns, op });
    // A declined step gave no values; without them the rest of the journey means nothing.
    let lacks_values = values.len() < script.take.len();
    for (slot, value) in values {
        session.taken[slot] = Some(value);
    }
    if outcome.is_good() && !lacks_values { After::GoesOn } else { After::Abandoned }
}

/// The request, filled; `None` when it cannot be, which the plan's checks and those of every
/// value taken exclude.
fn render(
    user: &GooseUser,
    base: &str,
    step: &StepPlan,
    script: &squall_scenarios::journey::Step,
    known: &Known<'_>,
) -> Option<reqwest::RequestBuilder> {
    let method = Method::from_bytes(step.method.as_bytes()).ok()?;
    let url = format!("{base}{}", script.path.fill(known)?);
    let mut headers = HeaderMap::new();
    for (name, value) in &script.headers {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_str(&value.fill(known)?).ok()?,
        );
    }
    let builder = user.client.request(method, url).headers(headers);
    Some(match &script.body {
        None => builder,
        Some(body) => builder.body(body.fill(known)?),
    })
}

/// What an answer gives; `None` when it is good and lacks what is to be taken.
fn taken(
    script: &squall_scenarios::journey::Step,
    outcome: Outcome,
    body: &[u8],
) -> Option<BTreeMap<usize, Taken>> {
    if outcome != Outcome::Ok || script.take.is_empty() {
        return Some(BTreeMap::new());
    }
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    script.take.iter().map(|t| Some((t.slot, t.from_answer(&answer)?))).collect()
}
