//! A coordinate system over a run's time, with warm-ups and faults shaded and named.

use plotters::style::text_anchor::HPos;
use squall_record::event::What;

use crate::charts::axis::Axis;
use crate::charts::palette::{Dash, FAULT, MUTED, Pen, WARM_UP};
use crate::charts::plot::{Drawn, LEFT, Plot, RIGHT, Sheet, WIDTH, text_width};
use crate::report::Report;
use crate::series::Slot;

/// Lines of names above a plot at most; a name that fits in none of them is left to the table of
/// faults.
const MAX_BANDS: usize = 3;
/// Marks drawn at most; the table of events has all of them.
const MAX_MARKS: usize = 20;
/// A mark: a line upwards.
const MARK: Pen = Pen::new(MUTED, Dash::Dotted, 1);
/// Characters of a name above a plot at most.
const MAX_NAME: usize = 28;

/// A stretch of time with a name above it.
struct Stretch {
    from_s: f64,
    to_s: f64,
    name: String,
    fault: bool,
    /// The line its name stands on; `None` when there is no room.
    band: Option<usize>,
}

/// A plot over time. The horizontal axis is the same on every chart of a run.
pub(crate) fn timeline<'p, 's>(sheet: &'p Sheet<'_, 's>, report: &Report, y: Axis) -> Drawn<Plot<'p, 's>> {
    let end_s = end_s(report);
    let mut stretches = stretches(report);
    let bands = assign_bands(&mut stretches, end_s);
    let x = Axis::linear("time since the first planned arrival (s)", 0.0, end_s, 12, |s| format!("{s:.0}"));
    let mut plot = sheet.plot(x, y, bands as i32)?;
    for s in &stretches {
        let (colour, alpha) = if s.fault { (FAULT, 0.13) } else { (WARM_UP, 0.15) };
        plot.shade(s.from_s, s.to_s, colour, alpha)?;
        if let Some(band) = s.band {
            let (left, right) = extent(s, |t| plot.column(t));
            let at = ((left + right) / 2, sheet.band_y(band as i32, bands as i32));
            sheet.write(at, &s.name, if s.fault { FAULT } else { MUTED }, HPos::Center)?;
        }
    }
    for (at_s, words) in marks(report).into_iter().filter(|(at_s, _)| (0.0..=end_s).contains(at_s)) {
        plot.mark(at_s, &short(&words), MARK)?;
    }
    Ok(plot)
}

/// What a person did to the run or wanted to find again, with its words.
fn marks(report: &Report) -> Vec<(f64, String)> {
    let told = report.events.iter().filter_map(|e| match &e.what {
        What::Mark { text } => Some((e.at_s, text.clone())),
        What::Steered { steer } => Some((e.at_s, format!("load: {steer}"))),
        _ => None,
    });
    told.take(MAX_MARKS).collect()
}

/// Where the time axis ends: with the last recorded second or the planned load.
pub(crate) fn end_s(report: &Report) -> f64 {
    let recorded = report.series.slots.last().map_or(0.0, |s| f64::from(s.start_s + report.series.slot_s));
    recorded.max(report.summary.duration_s).max(1.0)
}

/// The middle of a slot, where its value is drawn.
pub(crate) fn middle(report: &Report, slot: &Slot) -> f64 {
    f64::from(slot.start_s) + f64::from(report.series.slot_s) / 2.0
}

/// The values of `of` over time, with a hole wherever a slot is missing from the record.
pub(crate) fn values<'r>(
    report: &'r Report,
    of: impl Fn(&Slot) -> Option<f64> + 'r,
) -> impl Iterator<Item = (f64, Option<f64>)> + 'r {
    let mut expected = 0;
    report.series.slots.iter().flat_map(move |slot| {
        let hole = (slot.start_s > expected).then(|| (f64::from(expected), None));
        expected = slot.start_s + report.series.slot_s;
        hole.into_iter().chain([(middle(report, slot), of(slot))])
    })
}

/// The same, each value held from its slot's beginning to its end.
pub(crate) fn held<'r>(
    report: &'r Report,
    of: impl Fn(&Slot) -> Option<f64> + 'r,
) -> impl Iterator<Item = (f64, Option<f64>)> + 'r {
    let half = f64::from(report.series.slot_s) / 2.0;
    values(report, of).flat_map(move |(t, value)| match value {
        Some(_) => vec![(t - half, value), (t + half, value)],
        None => vec![(t, None)],
    })
}

fn stretches(report: &Report) -> Vec<Stretch> {
    let end_s = end_s(report);
    let warm_ups = report.plan.phases.iter().filter(|p| p.warmup && p.start_s < end_s).map(|p| Stretch {
        from_s: p.start_s,
        to_s: p.end_s.min(end_s),
        name: "warm-up".to_owned(),
        fault: false,
        band: None,
    });
    let faults = report.faults.iter().filter(|f| f.armed).map(|f| Stretch {
        from_s: f.start_s.clamp(0.0, end_s),
        to_s: f.end_s.clamp(0.0, end_s),
        name: short(&f.spec.name),
        fault: true,
        band: None,
    });
    let mut all: Vec<Stretch> = warm_ups.chain(faults).collect();
    all.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    all
}

fn short(name: &str) -> String {
    if name.chars().count() <= MAX_NAME {
        return name.to_owned();
    }
    name.chars().take(MAX_NAME - 1).chain(['…']).collect()
}

/// The pixels that a stretch's name takes, kept within the plot.
fn extent(s: &Stretch, column: impl Fn(f64) -> i32) -> (i32, i32) {
    let half = text_width(&s.name) / 2 + 4;
    let middle = (column(s.from_s) + column(s.to_s)) / 2;
    let middle = middle.clamp(LEFT + half, (WIDTH as i32 - RIGHT - half).max(LEFT + half));
    (middle - half, middle + half)
}

/// Gives each name the lowest line on which it touches no other; returns how many lines there are.
fn assign_bands(stretches: &mut [Stretch], end_s: f64) -> usize {
    let pixels = f64::from(WIDTH as i32 - LEFT - RIGHT);
    let column = |t: f64| LEFT + (t / end_s * pixels) as i32;
    let mut taken: Vec<Vec<(i32, i32)>> = Vec::new();
    for s in stretches {
        let (left, right) = extent(s, column);
        let free = |line: &Vec<(i32, i32)>| line.iter().all(|(l, r)| right < *l || left > *r);
        let band = taken.iter().position(free).unwrap_or(taken.len());
        if band == taken.len() {
            if band == MAX_BANDS {
                continue;
            }
            taken.push(Vec::new());
        }
        taken[band].push((left, right));
        s.band = Some(band);
    }
    taken.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from_s: f64, to_s: f64, name: &str) -> Stretch {
        Stretch { from_s, to_s, name: name.into(), fault: true, band: None }
    }

    #[test]
    fn names_of_neighbours_stand_on_different_lines() {
        let mut s = [
            stretch(0.0, 2.0, "a rather long name"),
            stretch(2.0, 3.0, "another name"),
            stretch(50.0, 52.0, "c"),
        ];
        assert_eq!(assign_bands(&mut s, 60.0), 2);
        assert_eq!(s.map(|s| s.band), [Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn a_crowd_of_names_is_cut_at_the_limit() {
        let mut s: Vec<Stretch> =
            (0..10).map(|i| stretch(f64::from(i), 20.0, "a rather long name")).collect();
        assert_eq!(assign_bands(&mut s, 600.0), MAX_BANDS);
        assert_eq!(s.iter().filter(|s| s.band.is_none()).count(), 10 - MAX_BANDS);
    }
}
