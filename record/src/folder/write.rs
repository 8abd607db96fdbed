//! Writing a run folder as the run goes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde::Serialize;

use super::{
    EVENTS, FolderError, GENERATOR, HLOG, INTERVALS, IntervalLine, JOURNEY_OPS, JOURNEYS, MANIFEST, OPS,
    TARGET, io_err,
};
use crate::event::Event;
use crate::interval::{Sink, TargetSample, Tick};
use crate::journey::JourneyTick;
use crate::latency::Latency;
use crate::manifest::Manifest;
use crate::ops;

/// Writes a run folder as the run goes. It is a [`Sink`].
pub struct FolderWriter {
    path: PathBuf,
    classes: Vec<String>,
    intervals: File,
    hlog: File,
    events: File,
    target: File,
    generator: File,
    ops: File,
    /// `journeys.jsonl` and `journey_ops.jsonl`, from the first second of a journey on.
    journeys: Option<(File, File)>,
    serializer: V2DeflateSerializer,
    hlog_text: Vec<u8>,
    raw: Vec<u8>,
    lines: Vec<u8>,
}

impl FolderWriter {
    /// Creates the folder with its manifest and empty files, so that a full disk or a missing
    /// permission shows before the first request.
    ///
    /// # Errors
    /// [`FolderError::Occupied`] when a run is there already, [`FolderError::Io`] otherwise.
    pub fn create(path: &Path, manifest: &Manifest) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(io_err("create the run folder", path))?;
        let manifest_path = path.join(MANIFEST);
        if manifest_path.exists() {
            return Err(FolderError::Occupied(path.to_owned()));
        }
        let mut text = serde_json::to_vec_pretty(manifest).map_err(|e| FolderError::Io {
            action: "write",
            path: manifest_path.clone(),
            source: io::Error::other(e),
        })?;
        text.push(b'\n');
        let mut file = File::create_new(&manifest_path).map_err(io_err("create", &manifest_path))?;
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(io_err("write", &manifest_path))?;

        let open = |name: &str| {
            let p = path.join(name);
            OpenOptions::new().create_new(true).append(true).open(&p).map_err(io_err("create", &p))
        };
        let mut hlog = open(HLOG)?;
        let mut ops_file = open(OPS)?;
        let hlog_path = path.join(HLOG);
        write!(
            hlog,
            "#[Logged with squall {}; values are microseconds]\n#[Histogram log format version 1.3]\n\
             #[StartTime: {} (seconds since epoch), {}]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
            manifest.squall_version,
            started_epoch_s(&manifest.started_at),
            manifest.started_at,
        )
        .map_err(io_err("write", &hlog_path))?;
        ops::write_header(&mut ops_file).map_err(io_err("write", &path.join(OPS)))?;
        Ok(Self {
            classes: manifest.classes.clone(),
            intervals: open(INTERVALS)?,
            hlog,
            events: open(EVENTS)?,
            target: open(TARGET)?,
            generator: open(GENERATOR)?,
            ops: ops_file,
            journeys: None,
            serializer: V2DeflateSerializer::new(),
            hlog_text: Vec::new(),
            raw: Vec::new(),
            lines: Vec::new(),
            path: path.to_owned(),
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn log_histogram(&mut self, tag: &str, second: u32, latency: &Latency) -> io::Result<()> {
        self.raw.clear();
        self.serializer.serialize(latency.as_hdr(), &mut self.raw).map_err(io::Error::other)?;
        let max_ms = latency.max().map_or(0.0, crate::latency::Quantile::ms);
        write!(self.hlog_text, "Tag={tag},{second}.000,1.000,{max_ms:.3},")?;
        self.hlog_text.extend_from_slice(BASE64.encode(&self.raw).as_bytes());
        self.hlog_text.push(b'\n');
        Ok(())
    }

    fn named(&self, file: &str) -> impl Fn(io::Error) -> io::Error + use<> {
        let path = self.path.join(file);
        move |e| io::Error::new(e.kind(), format!("write {}: {e}", path.display()))
    }
}

fn started_epoch_s(rfc3339: &str) -> String {
    let ms = rfc3339.parse::<jiff::Timestamp>().map_or(0, jiff::Timestamp::as_millisecond);
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn append_json(file: &mut File, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    file.write_all(&line)
}

impl Sink for FolderWriter {
    fn tick(&mut self, tick: &Tick) -> io::Result<()> {
        self.hlog_text.clear();
        self.lines.clear();
        for i in &tick.intervals {
            let class = self.classes.get(usize::from(i.class)).cloned().ok_or_else(|| {
                io::Error::other(format!("request class {} is not in the manifest", i.class))
            })?;
            self.log_histogram(&format!("{class}.response"), tick.second, &i.response)?;
            self.log_histogram(&format!("{class}.service"), tick.second, &i.service)?;
            self.log_histogram("schedule_lag", tick.second, &i.lag)?;
            let line = IntervalLine {
                second: tick.second,
                request: class,
                phase: i.phase,
                counts: i.counts,
                clipped: [i.response.clipped(), i.service.clipped(), i.lag.clipped()],
            };
            serde_json::to_writer(&mut self.lines, &line).map_err(io::Error::other)?;
            self.lines.push(b'\n');
        }
        self.log_histogram("pacing", tick.second, &tick.pacing)?;
        self.hlog.write_all(&self.hlog_text).map_err(self.named(HLOG))?;
        self.intervals.write_all(&self.lines).map_err(self.named(INTERVALS))?;
        if !tick.ops.is_empty() {
            let bytes: Vec<u8> = tick.ops.iter().flat_map(ops::Op::to_bytes).collect();
            self.ops.write_all(&bytes).map_err(self.named(OPS))?;
        }
        append_json(&mut self.generator, &tick.generator).map_err(self.named(GENERATOR))
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        append_json(&mut self.events, event).map_err(self.named(EVENTS))
    }

    fn target(&mut self, sample: &TargetSample) -> io::Result<()> {
        append_json(&mut self.target, sample).map_err(self.named(TARGET))
    }

    fn journeys(&mut self, tick: &JourneyTick) -> io::Result<()> {
        let (path, named, named_ops) = (self.path.clone(), self.named(JOURNEYS), self.named(JOURNEY_OPS));
        let open = |name: &str| OpenOptions::new().create_new(true).append(true).open(path.join(name));
        let (seconds, ops) = match &mut self.journeys {
            Some(files) => files,
            none => none.insert((open(JOURNEYS).map_err(&named)?, open(JOURNEY_OPS).map_err(&named_ops)?)),
        };
        self.lines.clear();
        for op in &tick.ops {
            serde_json::to_writer(&mut self.lines, op).map_err(io::Error::other)?;
            self.lines.push(b'\n');
        }
        ops.write_all(&self.lines).map_err(named_ops)?;
        append_json(seconds, tick).map_err(named)
    }
}
