//! `squall chaos guard`, in which faults outside the service act, and `squall chaos heal`, which undoes what one that was
//! killed has left.

use std::io::{Write as _, stdin, stdout};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use squall_chaos::acts::guard::serve;
use squall_chaos::acts::heal::{Healed, heal};
use squall_chaos::acts::journal::{Journal, state_folder};
use squall_chaos::acts::order::Answer;
use squall_chaos::acts::undo::Undone;
use squall_chaos::acts::who::ProcessId;
use squall_reports::exit;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};

use super::Stop;
use crate::stdout::{print, remark};

/// Holds faults until standard input ends.
///
/// # Errors
/// When there is nowhere to keep a journal; that is also said on standard output.
pub fn guard() -> Result<u8, Stop> {
    // A signal to squall's group, a Ctrl-C among them, is not for the guard: it ends when squall is gone, having undone
    // everything. The leader of a group cannot leave it, and is alone in it anyway.
    let _ = rustix::process::setsid();
    let begun = runtime().and_then(|runtime| Ok((runtime, journal()?)));
    let (runtime, journal) = match begun {
        Ok(begun) => begun,
        Err(e) => {
            let reason = format!("{e:#}");
            let answer = serde_json::to_string(&Answer::Refused { name: String::new(), reason });
            let _ = writeln!(stdout(), "{}", answer.context("say why")?);
            return Err(e.into());
        }
    };
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
        let over = async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        serve(stdin(), stdout(), journal, over).await;
        anyhow::Ok(())
    })?;
    // Its thread may still wait for a line that never comes.
    runtime.shutdown_background();
    Ok(exit::PASSED)
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().context("start the guard")
}

fn state() -> anyhow::Result<PathBuf> {
    state_folder().context("find a folder for what must be undone; name one in SQUALL_STATE_DIR")
}

fn journal() -> anyhow::Result<Arc<Journal>> {
    let state = state()?;
    let journal = Journal::create(&state, ProcessId::this()?).with_context(|| {
        format!("keep a journal in {}; name another folder in SQUALL_STATE_DIR", state.display())
    })?;
    Ok(Arc::new(journal))
}

/// What the journals of guards that are gone still held, undone.
///
/// # Errors
/// When they cannot be read.
pub fn healed(dry: bool) -> anyhow::Result<Vec<Healed>> {
    let state = state()?;
    let folder = state.display();
    runtime()?.block_on(heal(&state, dry)).with_context(|| format!("read the journals in {folder}"))
}

/// `squall chaos heal`.
///
/// # Errors
/// When the journals cannot be read, or something could not be undone.
pub fn chaos_heal(dry: bool) -> Result<u8, Stop> {
    let all = healed(dry)?;
    let text: String = all.iter().map(|one| said(one) + "\n").collect();
    print(if all.is_empty() { "nothing is left of any fault\n" } else { &text })?;
    match all.iter().filter(|one| one.is_failure()).count() {
        0 => Ok(exit::PASSED),
        n => Err(anyhow!("undo everything: {n} above failed; `squall chaos heal` can be tried again").into()),
    }
}

/// One line about it.
#[must_use]
pub fn said(healed: &Healed) -> String {
    match healed {
        Healed::Lives { guard, open } => {
            format!("· guard {} lives and has {open} to undo, which it does itself at the end", guard.pid)
        }
        Healed::Would(what) => format!("· would undo: {what}"),
        Healed::Undone { what, undone: Undone::Now } => format!("✔ {what}"),
        Healed::Undone { what, undone: Undone::Before } => {
            format!("✔ {what} (there was nothing left to undo)")
        }
        Healed::Failed { what, why, by_hand } => format!("✗ {what}: {why}; by hand: {by_hand}"),
        Healed::Unreadable { path, why } => format!("✗ {}: {why}", path.display()),
    }
}

/// Tells what was healed after a guard was lost in the middle of a run, and gives whether all was.
#[must_use]
pub fn heal_after_loss() -> bool {
    match healed(false) {
        Ok(all) => {
            all.iter().for_each(|one| remark(&said(one)));
            !all.iter().any(Healed::is_failure)
        }
        Err(e) => {
            remark(&format!("what it has left could not be undone: {e:#}; try `squall chaos heal`"));
            false
        }
    }
}
