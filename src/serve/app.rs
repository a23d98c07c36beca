//! What all requests share.

use super::exports::Exports;
use super::limits::{Limits, Memory};
use super::listen::Connections;
use super::metrics::{Metrics, Now};
use super::pictures::Studio;
use super::queue::Queue;
use super::served_model::Current;
use super::sign_in::SignIn;
use crate::records::Records;

/// What all requests share.
#[derive(Debug)]
pub struct App {
    pub model: Current,
    pub queue: Queue,
    pub studio: Studio,
    pub memory: Memory,
    pub limits: Limits,
    pub sign_in: SignIn,
    pub records: Records,
    pub exports: Exports,
    pub metrics: Metrics,
    pub connections: Connections,
}

impl App {
    /// What is true now, for the metrics.
    pub fn now(&self) -> Now {
        let weights = self.model.get().weights.clone();
        Now {
            queue: self.queue.taken(),
            queue_length: self.queue.length(),
            memory_free: self.memory.free(),
            connections: self.connections.count(),
            model_name: weights.name.unwrap_or_default(),
            model_version: weights.version.map(|version| version.to_string()).unwrap_or_default(),
            model_sha256: weights.sha256,
        }
    }
}
