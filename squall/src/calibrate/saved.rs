//! The result of the last calibration, kept for later runs.
//!
//! It is one file, `squall/calibration.json` below `$XDG_STATE_HOME`, or below `~/.local/state` when
//! that is not set (XDG Base Directory Specification 0.8).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use squall_scenarios::units::rate::format_rate;

use super::result::{Calibration, Fingerprint, SCHEMA};

/// The longest file that is read.
const MAX_BYTES: u64 = 256 * 1024;

/// Where it is kept; `None` for a user without a home.
#[must_use]
pub fn place() -> Option<PathBuf> {
    place_in(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

fn place_in(state: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // A relative path is to be ignored, says the specification.
    let absolute = |p: OsString| Some(PathBuf::from(p)).filter(|p| p.is_absolute());
    let state = state.and_then(absolute).or_else(|| Some(home.and_then(absolute)?.join(".local/state")))?;
    Some(state.join("squall/calibration.json"))
}

/// Keeps `calibration` at `path`.
///
/// # Errors
/// When it cannot be written; what was there is then still there.
pub fn save(path: &Path, calibration: &Calibration) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(calibration).context("write the calibration down")? + "\n";
    let folder = path.parent().unwrap_or(Path::new("/"));
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let kept = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&beside, text))
        .and_then(|()| fs::rename(&beside, path));
    if kept.is_err() {
        // What is left of the attempt is of no use.
        let _ = fs::remove_file(&beside);
    }
    kept.with_context(|| format!("keep the calibration in {}", path.display()))
}

/// The calibration at `path`; `None` when there is none.
///
/// # Errors
/// When what is there is none.
pub fn load(path: &Path) -> anyhow::Result<Option<Calibration>> {
    let mut text = String::new();
    match File::open(path).and_then(|f| f.take(MAX_BYTES + 1).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    if text.len() as u64 > MAX_BYTES {
        bail!("it is longer than {MAX_BYTES} bytes");
    }
    let calibration: Calibration = serde_json::from_str(&text)?;
    if calibration.schema != SCHEMA || calibration.limit_rps.is_some_and(|r| !(r > 0.0 && r.is_finite())) {
        bail!("it is not a calibration of this squall");
    }
    Ok(Some(calibration))
}

/// What there is to say before a run that peaks at `peak_rps` on this machine; nothing when it was
/// never calibrated, or as another machine.
#[must_use]
pub fn note(peak_rps: f64) -> Option<String> {
    let path = place()?;
    match load(&path) {
        Ok(Some(c)) => note_of(&c, &Fingerprint::this(), peak_rps),
        Ok(None) => None,
        Err(e) => Some(format!(
            "note: the calibration in {} is ignored: {e:#}; `squall calibrate` makes a new one",
            path.display()
        )),
    }
}

fn note_of(c: &Calibration, here: &Fingerprint, peak_rps: f64) -> Option<String> {
    if c.fingerprint != *here {
        return None;
    }
    let rate = |rps: f64| format_rate(rps.round());
    let found = match c.limit_rps {
        Some(limit) if peak_rps <= limit || c.at_least => return None,
        Some(limit) => format!("was punctual up to {}", rate(limit)),
        None => format!("was punctual at none of the rates from {}", rate(c.steps.first()?.rate_rps)),
    };
    Some(format!(
        "note: this machine {found} when it was calibrated ({}, {} {}), and the plan peaks at {}: the run may \
         turn out SUSPECT or INVALID",
        c.at.split('T').next().unwrap_or_default(),
        c.workers,
        if c.workers == 1 { "worker" } else { "workers" },
        rate(peak_rps),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::result::Timers;

    fn calibration() -> Calibration {
        Calibration {
            schema: SCHEMA,
            at: "2026-11-20T10:00:00.000Z".into(),
            fingerprint: Fingerprint::this(),
            workers: 1,
            connections: 64,
            seconds: 3,
            limit_rps: Some(40_000.0),
            at_least: false,
            steps: vec![],
            closed_loop: None,
            timers: Timers { sleep_us: 100, overshoot_p50_us: 1, overshoot_p99_us: 2, overshoot_max_us: 3 },
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_nothing_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/calibration.json");
        assert!(load(&path).unwrap().is_none());
        save(&path, &calibration()).unwrap();
        assert_eq!(load(&path).unwrap(), Some(calibration()));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_is_no_calibration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.json");
        let whole = serde_json::to_string(&calibration()).unwrap();
        let wrong = [
            String::new(),
            "[]".to_owned(),
            whole[..whole.len() / 2].to_owned(),
            whole.replace("\"schema\":1", "\"schema\":2"),
            whole.replace("40000.0", "-1.0"),
            whole.replace("40000.0", "1e999"),
            whole.replace("\"workers\"", "\"other\""),
            "x".repeat(MAX_BYTES as usize + 1),
        ];
        for text in wrong {
            fs::write(&path, &text).unwrap();
            assert!(load(&path).is_err(), "{}", &text[..text.len().min(200)]);
        }
        assert!(load(dir.path()).is_err(), "a folder");
    }

    #[test]
    fn only_a_peak_above_the_limit_of_this_machine_is_remarked_upon() {
        let here = Fingerprint::this();
        let note = |c: &Calibration, peak| note_of(c, &here, peak);
        let c = calibration();
        assert_eq!(note(&c, 40_000.0), None);
        let said = note(&c, 50_000.0).unwrap();
        assert!(said.contains("up to 40k/s") && said.contains("peaks at 50k/s"), "{said}");
        assert_eq!(note(&Calibration { at_least: true, ..c.clone() }, 50_000.0), None);
        let other = Fingerprint { cpu: "another".into(), ..here.clone() };
        assert_eq!(note(&Calibration { fingerprint: other, ..c }, 50_000.0), None);
    }

    #[test]
    fn the_place_is_where_the_specification_says() {
        let place = |state: &str, home: &str| {
            let set = |v: &str| (!v.is_empty()).then(|| OsString::from(v));
            place_in(set(state), set(home)).map(|p| p.display().to_string())
        };
        assert_eq!(place("/s", "/h").unwrap(), "/s/squall/calibration.json");
        assert_eq!(place("", "/h").unwrap(), "/h/.local/state/squall/calibration.json");
        assert_eq!(place("relative", "/h").unwrap(), "/h/.local/state/squall/calibration.json");
        assert_eq!(place("", ""), None);
    }
}
