//! Reading a run folder back, one second at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::Deserializer;
use serde::de::DeserializeOwned;

use super::{
    EVENTS, FolderError, GENERATOR, HLOG, INTERVALS, IntervalLine, JOURNEY_OPS, JOURNEYS, MANIFEST, OPS,
    TARGET, io_err,
};
use crate::event::Event;
use crate::interval::{GeneratorSample, Interval, TargetSample, Tick};
use crate::journey::{JourneyOp, JourneyTick};
use crate::latency::Latency;
use crate::manifest::{Manifest, SCHEMA};
use crate::ops;

/// The longest line that the reader accepts. A full three-digit histogram is under 200 KiB.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// The longest line of `journeys.jsonl`: a histogram for each of some hundred steps.
const MAX_JOURNEY_LINE_BYTES: u64 = 64 << 20;

/// The most of anything that one line of `intervals.jsonl` may count: sums over any run then fit.
const MAX_COUNT: u64 = 1_000_000_000;

/// A run folder to read.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    /// What was run.
    pub manifest: Manifest,
}

impl RunFolder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// When there is no manifest, or it is not one.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let file = path.join(MANIFEST);
        let mut text = String::new();
        File::open(&file)
            .and_then(|f| f.take(MAX_LINE_BYTES).read_to_string(&mut text))
            .map_err(io_err("read", &file))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| FolderError::Broken {
            path: file.clone(),
            line: e.line() as u64,
            problem: format!("not a run's manifest: {e}"),
        })?;
        if manifest.schema != SCHEMA {
            return Err(FolderError::Broken {
                path: file,
                line: 1,
                problem: format!(
                    "run folder schema {} is not the {SCHEMA} that this squall reads",
                    manifest.schema
                ),
            });
        }
        Ok(Self { path: path.to_owned(), manifest })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every event, in the order written. A torn last line is left out.
    ///
    /// # Errors
    /// When the file cannot be read or a line before the last is broken.
    pub fn events(&self) -> Result<Vec<Event>, FolderError> {
        self.json_lines(EVENTS)
    }

    /// Everything that the target said of itself. A torn last line is left out.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub fn target(&self) -> Result<Vec<TargetSample>, FolderError> {
        self.json_lines(TARGET)
    }

    /// Every payment attempted.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn ops(&self) -> Result<Vec<ops::Op>, FolderError> {
        let path = self.path.join(OPS);
        let file = File::open(&path).map_err(io_err("read", &path))?;
        ops::read(BufReader::new(file)).map_err(io_err("read", &path))
    }

    /// The run's seconds in order, one at a time: a long run is never held in memory.
    ///
    /// # Errors
    /// When a file cannot be opened. Each item is an error when its second is broken.
    pub fn ticks(&self) -> Result<Ticks, FolderError> {
        Ok(Ticks {
            classes: self.manifest.classes.clone(),
            generator: Lines::open(self.path.join(GENERATOR))?,
            intervals: Lines::open(self.path.join(INTERVALS))?,
            hlog: Lines::open(self.path.join(HLOG))?,
            peeked: None,
            end_s: 0,
            torn: false,
            failed: false,
        })
    }

    /// The journeys' seconds in order, one at a time; none when the run had no journeys.
    ///
    /// # Errors
    /// When the file cannot be opened. Each item is an error when its second is broken.
    pub fn journeys(&self) -> Result<JourneyTicks, FolderError> {
        let path = self.path.join(JOURNEYS);
        let lines = path.exists().then(|| Lines::open(path)).transpose()?;
        let lines = lines.map(|l| Lines { longest: MAX_JOURNEY_LINE_BYTES, ..l });
        Ok(JourneyTicks { lines, next_second: 0, torn: false })
    }

    /// Every payment that a journey attempted; none when the run had no journeys.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub fn journey_ops(&self) -> Result<Vec<JourneyOp>, FolderError> {
        if self.path.join(JOURNEY_OPS).exists() { self.json_lines(JOURNEY_OPS) } else { Ok(Vec::new()) }
    }

    fn json_lines<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, FolderError> {
        let mut lines = Lines::open(self.path.join(name))?;
        let mut all = Vec::new();
        while let Some(line) = lines.next_line()? {
            all.push(lines.json(&line)?);
        }
        Ok(all)
    }
}

/// Whole lines of a file, with their numbers. A last line without its newline is torn: left out.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
    /// In bytes.
    longest: u64,
    /// There are no more.
    ended: bool,
    /// The last one had no newline.
    torn: bool,
}

impl Lines {
    fn open(path: PathBuf) -> Result<Self, FolderError> {
        let file = File::open(&path).map_err(io_err("read", &path))?;
        let reader = BufReader::new(file);
        Ok(Self { path, reader, number: 0, longest: MAX_LINE_BYTES, ended: false, torn: false })
    }

    fn next_line(&mut self) -> Result<Option<String>, FolderError> {
        let mut bytes = Vec::new();
        let n = (&mut self.reader)
            .take(self.longest)
            .read_until(b'\n', &mut bytes)
            .map_err(io_err("read", &self.path))?;
        if n as u64 == self.longest {
            self.number += 1;
            return Err(self.broken(format!("longer than {} bytes", self.longest)));
        }
        if bytes.pop() != Some(b'\n') {
            (self.ended, self.torn) = (true, n > 0);
            return Ok(None);
        }
        self.number += 1;
        String::from_utf8(bytes).map(Some).map_err(|_| self.broken("not UTF-8".to_owned()))
    }

    fn broken(&self, problem: String) -> FolderError {
        FolderError::Broken { path: self.path.clone(), line: self.number, problem }
    }

    fn json<T: DeserializeOwned>(&self, line: &str) -> Result<T, FolderError> {
        serde_json::from_str(line).map_err(|e| self.broken(e.to_string()))
    }
}

/// The seconds of a run, read back one at a time.
pub struct Ticks {
    classes: Vec<String>,
    generator: Lines,
    intervals: Lines,
    hlog: Lines,
    peeked: Option<IntervalLine>,
    end_s: u32,
    torn: bool,
    failed: bool,
}

/// What stands where a histogram is looked for.
enum Found {
    It(Latency),
    /// Another one; a sentence that says which.
    Other(String),
    /// The end of the log.
    End,
}

impl Ticks {
    /// Whether a part of the last second, or more, is missing at the end of a file, as after a loss of
    /// power. Known when the last second has been given.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The end of the last second that was given.
    #[must_use]
    pub fn end_s(&self) -> u32 {
        self.end_s
    }

    /// Ends the seconds before one of which something is missing.
    fn tear<T>(&mut self) -> Result<Option<T>, FolderError> {
        self.torn = true;
        Ok(None)
    }

    fn next_tick(&mut self) -> Result<Option<Tick>, FolderError> {
        let Some(line) = self.generator.next_line()? else {
            // The line that says that a second is complete comes last.
            let is_left = self.peeked.is_some()
                || matches!(self.intervals.next_line(), Ok(Some(_)))
                || matches!(self.hlog.next_line(), Ok(Some(line)) if line.starts_with("Tag="));
            self.torn |= self.generator.torn || is_left;
            return Ok(None);
        };
        let generator: GeneratorSample = self.generator.json(&line)?;
        let second = generator.second;
        let mut intervals = Vec::new();
        loop {
            let line = match self.peeked.take() {
                Some(line) => line,
                None => match self.intervals.next_line()? {
                    Some(text) => self.intervals.json::<IntervalLine>(&text)?,
                    None => break,
                },
            };
            if line.second > second {
                self.peeked = Some(line);
                break;
            }
            if line.second < second {
                return Err(self
                    .intervals
                    .broken(format!("second {} comes after second {second}", line.second)));
            }
            match self.interval(&line)? {
                Some(interval) => intervals.push(interval),
                None => return self.tear(),
            }
        }
        let pacing = match self.histogram("pacing", second, 0)? {
            Found::It(pacing) => pacing,
            Found::End => return self.tear(),
            // The lines that the other histograms belong to are gone.
            Found::Other(_) if self.intervals.ended && self.peeked.is_none() => return self.tear(),
            Found::Other(other) => return Err(self.hlog.broken(other)),
        };
        self.end_s = second.saturating_add(1);
        Ok(Some(Tick { second, intervals, generator, pacing, ops: Vec::new() }))
    }

    /// The interval of `line` with its histograms; `None` when the log ends before them.
    fn interval(&mut self, line: &IntervalLine) -> Result<Option<Interval>, FolderError> {
        let class = self
            .classes
            .iter()
            .position(|c| *c == line.request)
            .and_then(|i| u16::try_from(i).ok())
            .ok_or_else(|| {
                self.intervals.broken(format!("request `{}` is not in the manifest", line.request))
            })?;
        let c = &line.counts;
        let counted = [c.planned, c.sent, c.ok, c.declined, c.shed, c.dropped, c.late];
        if let Some(n) = counted.iter().chain(&c.failed).chain(&line.clipped).find(|n| **n > MAX_COUNT) {
            return Err(self.intervals.broken(format!("{n} is more than a second can count ({MAX_COUNT})")));
        }
        let mut interval = Interval::new(line.second, class, line.phase);
        interval.counts = line.counts;
        let [response, service] = ["response", "service"].map(|clock| format!("{}.{clock}", line.request));
        let clocks = [
            (&mut interval.response, response),
            (&mut interval.service, service),
            (&mut interval.lag, "schedule_lag".to_owned()),
        ];
        for ((latency, tag), clipped) in clocks.into_iter().zip(line.clipped) {
            match self.histogram(&tag, line.second, clipped)? {
                Found::It(found) => *latency = found,
                Found::Other(other) => return Err(self.hlog.broken(other)),
                Found::End => return Ok(None),
            }
        }
        Ok(Some(interval))
    }

    fn histogram(&mut self, tag: &str, second: u32, clipped: u64) -> Result<Found, FolderError> {
        let line = loop {
            match self.hlog.next_line()? {
                None => return Ok(Found::End),
                Some(l) if l.starts_with('#') || l.starts_with('"') => {}
                Some(l) => break l,
            }
        };
        let mut fields = line.splitn(5, ',');
        let found = fields.next().and_then(|t| t.strip_prefix("Tag=")).unwrap_or("");
        let start = fields.next().and_then(|s| s.parse::<f64>().ok());
        let encoded = fields.nth(2);
        let (Some(start), Some(encoded)) = (start, encoded) else {
            return Err(self.hlog.broken("not a histogram log line".to_owned()));
        };
        if found != tag || start as u32 != second {
            return Ok(Found::Other(format!(
                "`{found}` of second {start} stands where `{tag}` of second {second} belongs"
            )));
        }
        let raw = BASE64.decode(encoded).map_err(|e| self.hlog.broken(format!("not base64: {e}")))?;
        let hist = Deserializer::new()
            .deserialize::<u64, _>(&mut &raw[..])
            .map_err(|e| self.hlog.broken(format!("not a histogram: {e}")))?;
        Latency::from_hdr(&hist, clipped)
            .map(Found::It)
            .map_err(|e| self.hlog.broken(format!("histogram out of range: {e}")))
    }
}

impl Iterator for Ticks {
    type Item = Result<Tick, FolderError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let tick = self.next_tick().transpose();
        self.failed = matches!(tick, Some(Err(_)));
        tick
    }
}

/// The seconds of a run's journeys, read back one at a time.
pub struct JourneyTicks {
    lines: Option<Lines>,
    next_second: u32,
    torn: bool,
}

impl JourneyTicks {
    /// Whether a part of the last second is missing; as [`Ticks::is_torn`].
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The end of the last second that was given.
    #[must_use]
    pub fn end_s(&self) -> u32 {
        self.next_second
    }

    fn next_tick(&mut self) -> Result<Option<JourneyTick>, FolderError> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let Some(line) = lines.next_line()? else {
            self.torn = lines.torn;
            return Ok(None);
        };
        let tick: JourneyTick = lines.json(&line)?;
        if tick.second < self.next_second {
            return Err(lines.broken(format!(
                "second {} comes after second {}",
                tick.second,
                self.next_second - 1
            )));
        }
        for step in tick.journeys.iter().flat_map(|j| &j.steps) {
            let c = &step.counts;
            let counted = [c.planned, c.sent, c.ok, c.declined, c.shed, c.dropped, c.late];
            let clipped = step.closed_service.clipped();
            if let Some(n) = counted.iter().chain(&c.failed).chain([&clipped]).find(|n| **n > MAX_COUNT) {
                return Err(lines.broken(format!("{n} is more than a second can count ({MAX_COUNT})")));
            }
        }
        self.next_second = tick.second.saturating_add(1);
        Ok(Some(tick))
    }
}

impl Iterator for JourneyTicks {
    type Item = Result<JourneyTick, FolderError>;

    fn next(&mut self) -> Option<Self::Item> {
        let tick = self.next_tick().transpose();
        if matches!(tick, Some(Err(_))) {
            self.lines = None;
        }
        tick
    }
}
