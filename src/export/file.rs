//! A finished graph, and its file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use prost::Message;

use super::proto::{DataLocation, ModelProto, StringStringEntryProto, TensorProto};
use crate::error::{Error, Result};
use crate::files::{write_atomically, write_bytes};

/// The most bytes of weights in the file of the graph. Protocol buffers end at 2 GiB, and the graph takes
/// some.
const MAX_WEIGHTS: usize = (1 << 31) - (1 << 26);
/// Smaller tensors stay in the file of the graph, so that tools see shapes and axes.
const MIN_EXTERNAL: usize = 1024;
/// Weights begin at multiples of this, so that a runtime can map them into its memory.
const ALIGNMENT: usize = 4096;

/// A detector as an ONNX graph, made by [`onnx`](super::onnx()).
#[derive(Debug, Clone, PartialEq)]
pub struct OnnxModel {
    proto: ModelProto,
    external_data: bool,
}

impl OnnxModel {
    pub(super) fn new(proto: ModelProto, external_data: bool) -> Self {
        Self { proto, external_data }
    }

    /// How many nodes the graph has.
    pub fn node_count(&self) -> usize {
        self.proto.graph.as_ref().map_or(0, |graph| graph.node.len())
    }

    /// Writes the graph. The same detector and options give the same bytes.
    ///
    /// Where the weights are not in the file itself, they are beside it. That file has the name of `path`, a
    /// checksum of the weights and the extension `.data`. It is written first. Wherever writing is
    /// interrupted, `path` holds either its old content, whose weights are still there, or the whole new
    /// graph.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be written.
    pub fn save(mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let weights = |tensor: &TensorProto| tensor.raw_data.as_ref().map_or(0, Vec::len);
        let total: usize = self.proto.graph.iter().flat_map(|graph| &graph.initializer).map(weights).sum();
        if self.external_data || total > MAX_WEIGHTS {
            self.write_weights(path)?;
        }
        write_bytes(path, &self.proto.encode_to_vec())
    }

    /// Moves all larger tensors into a file of their own.
    fn write_weights(&mut self, path: &Path) -> Result<()> {
        let tensors = self.proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
        let (mut checksum, mut start, mut moved) = (crc32fast::Hasher::new(), 0, Vec::new());
        for tensor in tensors {
            let Some(raw) = tensor.raw_data.take_if(|raw| raw.len() >= MIN_EXTERNAL) else { continue };
            checksum.update(&raw);
            start = usize::next_multiple_of(start, ALIGNMENT);
            tensor.external_data = vec![entry("offset", start), entry("length", raw.len())];
            tensor.data_location = DataLocation::External as i32;
            moved.push((start, raw));
            start += moved[moved.len() - 1].1.len();
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{stem}-{:08x}.data", checksum.finalize());
        let tensors = self.proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
        for tensor in tensors.filter(|tensor| !tensor.external_data.is_empty()) {
            tensor.external_data.insert(0, entry("location", &name));
        }
        let path = path.with_file_name(name);
        write_atomically(&path, |temporary| {
            let write = || {
                let (mut file, mut written) = (BufWriter::new(File::create(temporary)?), 0);
                for (start, raw) in moved {
                    file.write_all(&vec![0; start - written])?;
                    file.write_all(&raw)?;
                    written = start + raw.len();
                }
                file.flush()
            };
            write().map_err(Error::io(&path))
        })
    }
}

/// A pair of words in a file.
pub fn entry(key: &str, value: impl ToString) -> StringStringEntryProto {
    StringStringEntryProto { key: key.to_string(), value: value.to_string() }
}
