//! What Prometheus asks for.

use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters of this process.
#[derive(Debug)]
pub struct Metrics {
    /// Answers by path, method and status.
    requests: Family<RequestLabels, Counter>,
    /// Seconds by part of a detection.
    parts: Family<PartLabels, Histogram, fn() -> Histogram>,
    /// Boards that were looked at.
    images: Counter,
    /// Defects that were found.
    defects: Family<ClassLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    name: String,
    version: String,
    sha256: String,
}

/// A part of a detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Part {
    /// Bytes to pixels.
    Decode,
    /// Waiting for the detector.
    Queue,
    /// In the detector.
    Detect,
    /// Into the records.
    Store,
}

/// What is true now.
#[derive(Debug)]
pub struct Now {
    pub queue: usize,
    pub queue_length: usize,
    pub memory_free: usize,
    pub connections: usize,
    pub model_name: String,
    pub model_version: String,
    pub model_sha256: String,
}

impl Metrics {
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self {
            requests: Family::default(),
            parts: Family::new_with_constructor(seconds),
            images: Counter::default(),
            defects: Family::default(),
        }
    }

    /// An answer. `path` is one of the server's own, not what the client sent.
    pub fn answered(&self, path: &str, method: &str, status: u16) {
        let (path, method) = (path.to_string(), method.to_string());
        self.requests.get_or_create(&RequestLabels { path, method, status }).inc();
    }

    /// How long a part took.
    pub fn took(&self, part: Part, time: Duration) {
        self.parts.get_or_create(&PartLabels { part }).observe(time.as_secs_f64());
    }

    /// A board, with the classes of its defects.
    pub fn found(&self, classes: impl IntoIterator<Item = String>) {
        self.images.inc();
        for class in classes {
            self.defects.get_or_create(&ClassLabels { class }).inc();
        }
    }

    /// All of it as text.
    pub fn text(&self, now: &Now) -> String {
        let mut registry = Registry::with_prefix("faster_rcnn");
        registry.register("requests", "Answers, by path, method and status", self.requests.clone());
        registry.register("part_seconds", "Seconds of a detection, by part", self.parts.clone());
        registry.register("images", "Images in which was looked for objects", self.images.clone());
        registry.register("detections", "Objects that were found, by class", self.defects.clone());
        let mut gauge = |name: &str, help: &str, value: usize| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        gauge("queue", "Images that wait or are looked at", now.queue);
        gauge("queue_places", "Images that may wait", now.queue_length);
        gauge("memory_free_bytes", "What requests may still take", now.memory_free);
        gauge("connections", "Open connections", now.connections);
        let (name, version) = (now.model_name.clone(), now.model_version.clone());
        let model = Family::<ModelLabels, Gauge>::default();
        model.get_or_create(&ModelLabels { name, version, sha256: now.model_sha256.clone() }).set(1);
        registry.register("model", "The detector that is served", model);
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes all");
        text
    }
}
