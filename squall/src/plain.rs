//! A run as lines of text, for CI and logs.
//!
//! One line every [`EVERY_S`] seconds, one for each event when it happens, and at the end
//! everything that went wrong once more, because the end is what people read. No colour, no
//! cursor movement. A closed output is not an error: the run is worth more than its log.

use std::io::{self, Stderr, Write};

use squall_record::counts::Counts;
use squall_record::event::{Event, What};
use squall_record::interval::{Sink, TargetSample, Tick};
use squall_record::journey::JourneyTick;
use squall_record::latency::Latency;
use squall_reports::generator::RunVerdict;
use squall_scenarios::plan::Plan;

use crate::live::{Live, Note, Percentiles, SloState, Tone};
use crate::text::{Charset, clock, grouped, percent};

/// Seconds between two lines.
pub const EVERY_S: u32 = 5;
/// The most bad events that are repeated at the end; the first ones, for they caused the rest.
pub const MAX_REPEATED: usize = 20;
/// The width of the phase's column.
const PHASE_WIDTH: usize = 16;

/// Writes a run as lines. A [`Sink`] that never fails.
pub struct Plain<W> {
    live: Live,
    load_end_s: f64,
    out: W,
    charset: Charset,
    closed: bool,
    window: Window,
    bad: Vec<String>,
    more_bad: usize,
    /// How many notes were told.
    noted: u64,
}

/// What happened since the last line.
#[derive(Default)]
struct Window {
    /// Of the load; those after its end hold late answers only.
    seconds: u32,
    ticks: u32,
    counts: Counts,
    response: Latency,
    cpu_ns: u64,
    wall_ns: u64,
}

impl Plain<Stderr> {
    /// Lines on stderr, in the charset of the environment.
    #[must_use]
    pub fn stderr(plan: &Plan) -> Self {
        Self::new(plan, io::stderr(), Charset::of_environment())
    }
}

impl<W: Write + Send> Plain<W> {
    /// Lines on `out`.
    #[must_use]
    pub fn new(plan: &Plan, out: W, charset: Charset) -> Self {
        Self {
            live: Live::new(plan),
            load_end_s: plan.duration_s(),
            out,
            charset,
            closed: false,
            window: Window::default(),
            bad: Vec::new(),
            more_bad: 0,
            noted: 0,
        }
    }

    fn line(&mut self, text: &str) {
        if self.closed {
            return;
        }
        let shown = self.charset.show(text);
        // One write per line, so that lines of other writers do not cut it in two.
        self.closed =
            self.out.write_all(format!("{shown}\n").as_bytes()).and_then(|()| self.out.flush()).is_err();
    }

    fn window_line(&mut self) {
        let w = std::mem::take(&mut self.window);
        let ended = w.counts.completed() + w.counts.failed_total();
        // After the load, only what ended is worth a line, and a rate of it would mean nothing.
        let after = w.seconds == 0;
        if w.ticks == 0 || (after && ended == 0) {
            return;
        }
        let view = self.live.view();
        let elapsed_s = f64::from(view.elapsed_s);
        // A load's last second may not be whole.
        let at = clock(if after { elapsed_s } else { elapsed_s.min(self.load_end_s.ceil()) });
        let rate = |n: u64| grouped((n as f64 / f64::from(w.seconds.max(1))).round() as u64);
        let phase = match (view.phase, view.phase_plan()) {
            (Some(i), Some(p)) => {
                let count = format!("{}/{}", i + 1, view.phases.len());
                let room = PHASE_WIDTH.saturating_sub(count.len() + 1);
                format!("{} {count}", p.name.chars().take(room).collect::<String>())
            }
            _ => String::new(),
        };
        let (p50, p99) = Percentiles::of(&w.response)
            .map_or(("-".to_owned(), "-".to_owned()), |p| (p.p50.to_string(), p.p99.to_string()));
        if after {
            let (ended, failed) = (grouped(ended), grouped(w.counts.failed_total()));
            let text = format!(
                "{at:<5} · {ended} arrivals ended after the load  p50 {p50}  p99 {p99}  failed {failed}"
            );
            return self.line(&text);
        }
        let cpu = if w.wall_ns > 0 {
            format!("{:.0}%", w.cpu_ns as f64 / w.wall_ns as f64 * 100.0)
        } else {
            "-".to_owned()
        };
        let verdict = match view.generator.verdict {
            Some(v) => v.word(),
            None => "warm-up",
        };
        let what = if view.closed { "service " } else { "" };
        // A column for scenarios whose clients retry; others would only see zeros.
        let retried =
            if view.retries { format!("retried {:>6}  ", grouped(w.counts.retried)) } else { String::new() };
        let text = format!(
            "{at:<5} {phase:<PHASE_WIDTH$}  planned {:>8}/s  achieved {:>8}/s  {what}p50 {p50:>8}  p99 {p99:>8}  \
             failed {:>6}  shed {:>6}  dropped {:>6}  late {:>6}  {retried}gen CPU {cpu:>4}  {verdict}",
            rate(w.counts.planned),
            rate(w.counts.completed()),
            grouped(w.counts.failed_total()),
            grouped(w.counts.shed),
            grouped(w.counts.dropped),
            grouped(w.counts.late),
        );
        self.line(&text);
    }

    /// What was noted since it was last asked.
    fn note_lines(&mut self) {
        let view = self.live.view();
        let new = usize::try_from(view.noted - self.noted).unwrap_or(usize::MAX).min(view.notes.len());
        let notes = view.notes[view.notes.len() - new..].to_vec();
        self.noted = view.noted;
        notes.iter().for_each(|note| self.note_line(note));
    }

    fn note_line(&mut self, note: &Note) {
        let glyph = match note.tone {
            Tone::Info => "·",
            Tone::Good => "✔",
            Tone::Warning => "!",
            Tone::Bad => "✗",
        };
        let text = format!("{:<5} {glyph} {}", clock(note.at_s), note.text);
        if note.tone == Tone::Bad {
            if self.bad.len() < MAX_REPEATED {
                self.bad.push(text.clone());
            } else {
                self.more_bad += 1;
            }
        }
        self.line(&text);
    }

    /// What went wrong, once more.
    fn repeat_failures(&mut self) {
        let view = self.live.view();
        let mut lines = Vec::new();
        if let Some(v) = view.generator.verdict.filter(|v| *v != RunVerdict::Valid) {
            lines.push(format!("✗ {}", v.word()));
            lines.extend(view.generator.reasons.iter().map(|r| format!("  {r}")));
        }
        for slo in view.slos.iter().filter(|s| s.state == SloState::Missed) {
            lines.push(format!(
                "✗ SLO {} missed: {} of {}",
                slo.name,
                slo.actual.map_or("nothing".to_owned(), percent),
                percent(slo.objective)
            ));
        }
        for e in view.errors.iter().filter(|e| e.count > 0) {
            let last = e.last_s.map_or(String::new(), |s| format!(", the last at {}", clock(f64::from(s))));
            lines.push(format!("✗ {} {}{last}", grouped(e.count), e.kind));
        }
        for j in view.journeys.iter().filter(|j| j.shed + j.failed > 0) {
            lines.push(format!(
                "✗ journey {}: {} requests failed, {} were shed",
                j.name,
                grouped(j.failed),
                grouped(j.shed)
            ));
        }
        lines.append(&mut self.bad);
        if self.more_bad > 0 {
            lines.push(format!("✗ and {} more", self.more_bad));
        }
        if lines.is_empty() {
            self.line("✔ nothing failed, nothing was shed or dropped");
        } else {
            self.line("What went wrong:");
            for l in lines {
                self.line(&format!("  {l}"));
            }
        }
    }
}

impl<W: Write + Send> Sink for Plain<W> {
    fn tick(&mut self, tick: &Tick) -> io::Result<()> {
        self.live.tick(tick)?;
        let w = &mut self.window;
        w.ticks += 1;
        w.seconds += u32::from(f64::from(tick.second) < self.load_end_s);
        for i in &tick.intervals {
            w.counts += &i.counts;
            // A closed loop has no response time.
            w.response.merge(if self.live.view().closed { &i.service } else { &i.response });
        }
        w.cpu_ns += tick.generator.cpu_ns;
        w.wall_ns += tick.generator.wall_ns;
        if (tick.second + 1).is_multiple_of(EVERY_S) {
            self.window_line();
        }
        self.note_lines();
        Ok(())
    }

    fn journeys(&mut self, tick: &JourneyTick) -> io::Result<()> {
        self.live.journeys(tick)?;
        if (tick.second + 1).is_multiple_of(EVERY_S) {
            let at = clock(f64::from(tick.second + 1));
            let lines: Vec<String> =
                self.live.view().journeys.iter().map(|j| format!("{at:<5} {}", j.line())).collect();
            lines.iter().for_each(|l| self.line(l));
        }
        Ok(())
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.live.event(event)?;
        let ended = matches!(event.what, What::Ended { .. });
        if ended {
            self.window_line();
        }
        self.note_lines();
        if ended {
            self.repeat_failures();
        }
        Ok(())
    }

    fn target(&mut self, sample: &TargetSample) -> io::Result<()> {
        self.live.target(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::sample::{self, Step};
    use squall_record::interval::{GeneratorSample, Interval};
    use squall_scenarios::closed::closed_loop;

    fn feed<W: Write + Send>(plain: &mut Plain<W>, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Tick(t) => plain.tick(&t).unwrap(),
                Step::Event(e) => plain.event(&e).unwrap(),
                Step::Target(t) => plain.target(&t).unwrap(),
            }
        }
    }

    fn written(charset: Charset, steps: impl FnOnce(&Plan) -> Vec<Step>) -> String {
        let plan = sample::quickstart();
        let mut plain = Plain::new(&plan, Vec::new(), charset);
        feed(&mut plain, steps(&plan));
        String::from_utf8(plain.out).unwrap()
    }

    #[test]
    fn a_run_in_ci_is_a_line_every_five_seconds_and_its_failures_come_last() {
        insta::assert_snapshot!(written(Charset::Utf8, |p| sample::steps(p, 60)));
    }

    #[test]
    fn without_utf_8_every_byte_is_ascii() {
        let text = written(Charset::Ascii, |p| sample::steps(p, 60));
        assert!(text.is_ascii() && text.contains("OK fault slow-store off") && !text.contains('?'), "{text}");
    }

    #[test]
    fn no_line_moves_the_cursor_whatever_the_target_says() {
        let text = written(Charset::Utf8, |_| {
            let reason = "\u{1b}[2J\rgone".to_owned();
            vec![Step::Event(Event { at_s: 1.0, what: What::Target { up: false, reason } })]
        });
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }

    #[test]
    fn an_interrupted_run_still_tells_its_last_seconds() {
        let text = written(Charset::Utf8, |p| {
            let mut steps = sample::steps(p, 7);
            steps.push(Step::Event(Event { at_s: 7.2, what: What::Ended { interrupted: true } }));
            steps
        });
        assert!(text.contains("\n00:07 climb 2/5") && text.contains("ended by hand"), "{text}");
        assert!(text.ends_with("✔ nothing failed, nothing was shed or dropped\n"), "{text}");
    }

    #[test]
    fn a_rate_is_over_the_seconds_of_the_load_and_not_that_of_the_last_answers() {
        let (plan, _) = closed_loop(sample::quickstart(), 4.0);
        let mut plain = Plain::new(&plan, Vec::new(), Charset::Utf8);
        for second in 0..=4 {
            let mut i = Interval::new(second, 0, 0);
            (i.counts.planned, i.counts.sent, i.counts.ok) =
                if second < 4 { (100, 100, 100) } else { (0, 0, 0) };
            let generator = GeneratorSample { second, workers: 1, ..GeneratorSample::default() };
            let tick = Tick { second, intervals: vec![i], generator, pacing: Latency::new(), ops: vec![] };
            plain.tick(&tick).unwrap();
        }
        let text = String::from_utf8(plain.out).unwrap();
        assert!(text.contains("achieved      100/s"), "{text}");
    }

    #[test]
    fn answers_after_the_load_are_told_and_their_absence_is_not() {
        let written = |answers| {
            written(Charset::Utf8, |p| {
                let load_s = 60;
                assert_eq!(p.duration_s(), f64::from(load_s));
                let mut steps = sample::steps(p, load_s);
                let mut i = Interval::new(load_s, 0, 0);
                (i.counts.ok, i.counts.failed[0]) = (answers, answers);
                let generator = GeneratorSample { second: load_s, workers: 1, ..GeneratorSample::default() };
                steps.push(Step::Tick(Box::new(Tick {
                    second: load_s,
                    intervals: vec![i],
                    generator,
                    pacing: Latency::new(),
                    ops: vec![],
                })));
                steps.push(Step::Event(Event {
                    at_s: f64::from(load_s),
                    what: What::Ended { interrupted: false },
                }));
                steps
            })
        };
        let text = written(3);
        assert!(text.contains("· 6 arrivals ended after the load  p50 -  p99 -  failed 3\n"), "{text}");
        assert!(!text.contains("planned        0/s"), "{text}");
        assert!(!written(0).contains("after the load"));
    }

    #[test]
    fn what_is_repeated_is_bounded() {
        let text = written(Charset::Utf8, |_| {
            let down = |n| What::Target { up: false, reason: format!("reason {n}") };
            let mut steps: Vec<Step> =
                (0..100).map(|n| Step::Event(Event { at_s: f64::from(n), what: down(n) })).collect();
            steps.push(Step::Event(Event { at_s: 100.0, what: What::Ended { interrupted: false } }));
            steps
        });
        let (_, last) = text.split_once("What went wrong:").unwrap();
        assert_eq!(last.matches("target down").count(), MAX_REPEATED);
        assert!(last.contains("and 80 more"), "{last}");
    }

    #[test]
    fn a_closed_output_does_not_stop_the_run() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let plan = sample::quickstart();
        let mut plain = Plain::new(&plan, Closed, Charset::Utf8);
        feed(&mut plain, sample::steps(&plan, 60));
        assert!(plain.closed);
    }
}
