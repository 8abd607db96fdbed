//! A curve from a CSV file of times and rates, such as a monitoring export.

use std::path::Path;

use super::form::Knot;
use crate::curve::MAX_CURVE_POINTS;
use crate::error::{did_you_mean, tick};
use crate::input::{read_at_most, without_mark};
use crate::units::duration::format_seconds;

/// The largest curve file, in bytes.
pub const MAX_CURVE_BYTES: usize = 4 << 20;

/// Which columns hold what, and what is refused.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    pub(super) time: Option<&'a str>,
    pub(super) rate: Option<&'a str>,
    pub(super) longest_gap_s: f64,
    /// The highest value allowed.
    pub(super) most: f64,
    /// What the highest value is called: `load.max_rate 100k/s`.
    pub(super) limit: &'a str,
}

/// The points of the file at `path`, the first at 0 s, the last at more.
///
/// # Errors
/// A sentence that names the file, the line and the value.
pub(super) fn read(path: &Path, layout: &Layout<'_>) -> Result<Vec<Knot>, String> {
    let shown = path.display();
    let bytes =
        read_at_most(path, MAX_CURVE_BYTES).map_err(|e| format!("{shown} {e}"))?.ok_or_else(|| {
            format!("{shown} is larger than {MAX_CURVE_BYTES} bytes; average it over longer intervals")
        })?;
    points(&bytes, layout).map_err(|Wrong { line, what }| match line {
        Some(line) => format!("{shown}:{line}: {what}"),
        None => format!("{shown}: {what}"),
    })
}

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: Option<u64>,
    what: String,
}

impl Wrong {
    fn file(what: impl Into<String>) -> Self {
        Self { line: None, what: what.into() }
    }

    fn line(line: u64, what: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into() }
    }
}

fn points(bytes: &[u8], layout: &Layout<'_>) -> Result<Vec<Knot>, Wrong> {
    let mut rows = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(without_mark(bytes));
    let mut columns: Option<Columns> = None;
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut row = csv::StringRecord::new();
    loop {
        let here = rows.position().line();
        match rows.read_record(&mut row) {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => {
                let line = e.position().map_or(here, csv::Position::line);
                return Err(Wrong::line(line, "it is not UTF-8 text; a curve is a CSV file of numbers"));
            }
        }
        let line = row.position().map_or(here, csv::Position::line);
        let columns = match columns {
            Some(known) => known,
            None => {
                let found = Columns::find(&row, layout, line)?;
                columns = Some(found);
                if found.is_header {
                    continue;
                }
                found
            }
        };
        if points.len() >= MAX_CURVE_POINTS {
            return Err(Wrong::line(
                line,
                format!("there are more than {MAX_CURVE_POINTS} rows; average it over longer intervals"),
            ));
        }
        points.push(point(&row, &columns, layout, line, points.last().copied())?);
    }
    let [(begin_s, _), _, ..] = points[..] else {
        let n = points.len();
        return Err(Wrong::file(format!("it has {n} rows of time and rate, and a curve needs at least 2")));
    };
    Ok(points.into_iter().map(|(t, y)| Knot::line(t - begin_s, y)).collect())
}

/// Where the two values of a row stand.
#[derive(Debug, Clone, Copy)]
struct Columns {
    time: usize,
    rate: usize,
    fields: usize,
    is_header: bool,
}

impl Columns {
    /// From the first row, which is a header when it holds no time or when columns are named.
    fn find(row: &csv::StringRecord, layout: &Layout<'_>, line: u64) -> Result<Self, Wrong> {
        let named = layout.time.is_some() || layout.rate.is_some();
        let is_header = named || row.get(0).is_none_or(|first| time_s(first).is_none());
        let place = |name: Option<&str>, default: usize| match name {
            None => Ok(default),
            Some(name) => row.iter().position(|c| c == name).ok_or_else(|| {
                let known: Vec<&str> = row.iter().collect();
                let hint = did_you_mean(name, row.iter());
                let known = tick(&known.join(", "));
                Wrong::line(line, format!("there is no column {}{hint} (the header is {known})", tick(name)))
            }),
        };
        let (time, rate) = (place(layout.time, 0)?, place(layout.rate, 1)?);
        Ok(Self { time, rate, fields: row.len(), is_header })
    }
}

fn point(
    row: &csv::StringRecord,
    columns: &Columns,
    layout: &Layout<'_>,
    line: u64,
    last: Option<(f64, f64)>,
) -> Result<(f64, f64), Wrong> {
    // A row that ends early may have lost a part of its last field as well.
    let whole = row.len() >= columns.fields;
    let (Some(time), Some(rate), true) = (row.get(columns.time), row.get(columns.rate), whole) else {
        let (has, belong) = (row.len(), columns.fields.max(2));
        return Err(Wrong::line(
            line,
            format!(
                "the row has {has} of {belong} fields; is the file truncated, or separated by something else than commas?"
            ),
        ));
    };
    let Some(t) = time_s(time) else {
        return Err(Wrong::line(
            line,
            format!("{} is not a time; write seconds, or a timestamp like 2026-11-27T08:00:00Z", tick(time)),
        ));
    };
    if rate.is_empty() {
        return Err(Wrong::line(line, "the rate is missing; fill the hole or remove the row"));
    }
    let y = match rate.parse::<f64>() {
        Ok(y) if y >= 0.0 && y.is_finite() => y,
        Ok(y) if y < 0.0 => return Err(Wrong::line(line, format!("the rate {} is negative", tick(rate)))),
        _ => {
            let what = format!("{} is not a rate; write a number of requests per second", tick(rate));
            return Err(Wrong::line(line, what));
        }
    };
    if y > layout.most {
        let what =
            format!("the rate {} is above {}; raise the limit or lower the scale", tick(rate), layout.limit);
        return Err(Wrong::line(line, what));
    }
    if let Some((before, _)) = last {
        if t <= before {
            let what =
                format!("the time {} does not come after the one before; sort the rows by time", tick(time));
            return Err(Wrong::line(line, what));
        }
        if t - before > layout.longest_gap_s {
            let (gap, most) = (format_seconds(t - before), format_seconds(layout.longest_gap_s));
            let what = format!(
                "there is a hole of {gap} before it, above longest_gap {most}; fill it or raise the limit"
            );
            return Err(Wrong::line(line, what));
        }
    }
    Ok((t, y))
}

/// A time in seconds: a number, or a timestamp's seconds since 1970.
fn time_s(text: &str) -> Option<f64> {
    if let Ok(s) = text.parse::<f64>() {
        return s.is_finite().then_some(s);
    }
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_nanosecond() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Layout<'static> = Layout {
        time: None,
        rate: None,
        longest_gap_s: f64::INFINITY,
        most: 1000.0,
        limit: "load.max_rate 1k/s",
    };

    fn read_text(text: &str, layout: &Layout<'_>) -> Result<Vec<(f64, f64)>, String> {
        points(text.as_bytes(), layout)
            .map(|k| k.iter().map(|k| (k.at_s, k.level)).collect())
            .map_err(|w| w.line.map_or(w.what.clone(), |l| format!("{l}: {}", w.what)))
    }

    #[test]
    fn times_are_seconds_or_timestamps_with_or_without_a_header() {
        let expected = Ok(vec![(0.0, 10.0), (60.0, 20.5)]);
        for text in [
            "0,10\n60,20.5\n",
            "\u{feff}time,rate\n1700000000,10\n1700000060,20.5",
            "\"Time\", \"rps\"\r\n2026-11-27T08:00:00Z, 10\r\n2026-11-27T09:01:00+01:00, 20.5\r\n",
        ] {
            assert_eq!(read_text(text, &ANY), expected, "{text}");
        }
        let named = Layout { time: Some("at"), rate: Some("rps"), ..ANY };
        assert_eq!(read_text("host,rps,at\na,10,0\nb,20.5,60\n", &named), expected);
    }

    #[test]
    fn what_is_broken_is_told_with_its_line_and_value() {
        for (text, told) in [
            ("", "it has 0 rows of time and rate, and a curve needs at least 2"),
            ("time,rate\n0,1\n", "it has 1 rows of time and rate, and a curve needs at least 2"),
            ("0,1\n60,-2\n", "2: the rate `-2` is negative"),
            ("0,1\n60,NaN\n", "2: `NaN` is not a rate; write a number of requests per second"),
            ("0,1\n60,inf\n", "2: `inf` is not a rate; write a number of requests per second"),
            ("0,1\n60,\n", "2: the rate is missing; fill the hole or remove the row"),
            (
                "0,1\n60,1\n60,2\n",
                "3: the time `60` does not come after the one before; sort the rows by time",
            ),
            (
                "0,1\n60,1\nnow,2\n",
                "3: `now` is not a time; write seconds, or a timestamp like 2026-11-27T08:00:00Z",
            ),
            (
                "0,1\n60,2000\n",
                "2: the rate `2000` is above load.max_rate 1k/s; raise the limit or lower the scale",
            ),
            (
                "0,1,5\n60,1,5\n120,1",
                "3: the row has 2 of 3 fields; is the file truncated, or separated by something else than commas?",
            ),
            (
                "0,1\n60,1\n12",
                "3: the row has 1 of 2 fields; is the file truncated, or separated by something else than commas?",
            ),
        ] {
            assert_eq!(read_text(text, &ANY), Err(told.to_owned()), "{text}");
        }
        let gap = Layout { longest_gap_s: 60.0, ..ANY };
        let told = "3: there is a hole of 2m before it, above longest_gap 1m; fill it or raise the limit";
        assert_eq!(read_text("0,1\n60,1\n180,1\n", &gap), Err(told.to_owned()));
        let named = Layout { rate: Some("rsp"), ..ANY };
        let told = "1: there is no column `rsp`; did you mean `rps`? (the header is `time, rps`)";
        assert_eq!(read_text("time,rps\n0,1\n", &named), Err(told.to_owned()));
        assert!(points(b"0,1\n60,\xff\n", &ANY).unwrap_err().what.contains("not UTF-8"));
        let many: String = (0..=MAX_CURVE_POINTS).map(|i| format!("{i},1\n")).collect();
        assert!(read_text(&many, &ANY).unwrap_err().starts_with("10001: there are more than 10000 rows"));
    }
}
