//! TensorBoard's event files: a run's numbers by training step and by epoch, and its pictures.
//!
//! A file is a list of records: the length, its checksum, an `Event` in protobuf, its checksum.
//!
//! Source: tensorflow `core/lib/io/record_writer.h`, `core/util/event.proto`, `core/framework/summary.proto`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use super::observer::Observer;
use super::rows::Row;
use crate::error::{Error, Result};

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<SummaryValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryValue {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<SummaryImage>,
}

#[derive(Clone, PartialEq, Message)]
struct SummaryImage {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 3 for RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1 for a start: TensorBoard forgets later steps of earlier files.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event file of a run.
pub(super) struct EventFile {
    folder: PathBuf,
    file: File,
    step: usize,
    /// The first fault. Nothing is written after it.
    fault: Option<String>,
}

impl EventFile {
    /// A new file in the run's folder; the run goes on after `step` steps.
    pub fn create(folder: &Path, step: usize) -> Result<Self> {
        let seconds = now();
        // A resumed run adds a file. TensorBoard reads them in the order of their names.
        let path = folder.join(format!("events.out.tfevents.{:010}.faster-rcnn.{step}", seconds as u64));
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let mut events = Self { folder: folder.to_path_buf(), file, step, fault: None };
        let version = Some("brain.Event:2".to_string());
        events.add(Event { wall_time: seconds, file_version: version, ..Event::default() });
        if step > 0 {
            let session_log = Some(SessionLog { status: 1 });
            let step = step as i64 + 1;
            events.add(Event { wall_time: seconds, step, session_log, ..Event::default() });
        }
        match events.fault {
            Some(fault) => Err(Error::file(path, fault)),
            None => Ok(events),
        }
    }

    fn add(&mut self, event: Event) {
        if self.fault.is_none() {
            // One call, so that a kill leaves whole records.
            self.fault = self.file.write_all(&record(&event.encode_to_vec())).err().map(|e| e.to_string());
        }
    }

    fn values(&mut self, step: usize, value: Vec<SummaryValue>) {
        let summary = Some(Summary { value });
        self.add(Event { wall_time: now(), step: step as i64, summary, ..Event::default() });
    }
}

impl Observer for EventFile {
    /// Training steps are counted through; what an epoch gives is shown over epochs.
    fn row(&mut self, row: &Row, step: usize) {
        self.step = step;
        let (prefix, step) = match row.step {
            Some(_) => (row.split.clone(), step),
            None => (format!("epoch/{}", row.split), row.epoch),
        };
        let value = |(name, value): (&String, &Option<f64>)| {
            let tag = format!("{prefix}/{name}");
            Some(SummaryValue { tag, simple_value: Some((*value)? as f32), image: None })
        };
        let values = row.values.iter().filter_map(value).collect();
        self.values(step, values);
    }

    fn file(&mut self, name: &str) {
        let Some(tag) = name.strip_suffix(".png") else { return };
        let size = image::image_dimensions(self.folder.join(name));
        let (Ok((width, height)), Ok(bytes)) = (size, fs::read(self.folder.join(name))) else { return };
        let (width, height) = (width as i32, height as i32);
        let image = SummaryImage { height, width, colorspace: 3, encoded_image_string: bytes };
        let value = SummaryValue { tag: tag.to_string(), simple_value: None, image: Some(image) };
        self.values(self.step, vec![value]);
    }

    fn end(&mut self, _: bool) -> Vec<String> {
        let fault = self.fault.take();
        fault.map(|fault| format!("TensorBoard's events end early: {fault}")).into_iter().collect()
    }
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked_checksum(&length), event, &masked_checksum(event)].concat()
}

/// TensorFlow's masked CRC-32C: the checksum, rotated by 15 bits, plus a constant.
fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8).to_le_bytes()
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
