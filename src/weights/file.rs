//! A file of named tensors, whatever its layout: safetensors, or what `torch.save` writes.
//!
//! Opening reads names, shapes and types only; the elements of a tensor are read one tensor at a time,
//! straight into the memory that they are used from. The sizes that a file claims are compared with its real
//! size before anything is allocated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::tensor::{DType, TensorData};
use safetensors::tensor::{Dtype, Metadata};

use super::layout::Layout;
use super::pytorch;
use crate::error::{Error, Result};

/// The key of the checksums in the metadata of the safetensors files written here, as JSON: the CRC-32 of
/// each tensor's bytes by its name. The format itself has none.
pub(super) const CHECKSUMS_KEY: &str = "faster_rcnn_crc32";

/// The longest header of a safetensors file that is read, in bytes. A detector's has 50 kB.
const MAX_HEADER: u64 = 16 << 20;

/// The most memory that a file's tensors may take as f32, as a multiple of the file's size. Half precision
/// doubles in size, and several views of one storage each take memory.
const MAX_GROWTH: u64 = 4;

/// Tensors of up to this many bytes are accepted from a file of any size. The largest published file has 179
/// MB.
const SMALL: u64 = 256 << 20;

/// One tensor of a file, its elements not read yet.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Type of the elements in the file.
    pub dtype: DType,
    source: Source,
}

impl StoredTensor {
    /// What it takes in memory, as f32.
    pub(super) fn f32_bytes(&self) -> u64 {
        self.shape.iter().fold(4, |bytes, &side| bytes.saturating_mul(side as u64))
    }
}

#[derive(Debug, Clone)]
enum Source {
    Pytorch(pytorch_reader::Tensor),
    /// `start` is counted from the beginning of the file, `length` in bytes.
    Safetensors {
        start: u64,
        length: usize,
        crc32: Option<u32>,
    },
}

/// An open file of named tensors.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    file: Mutex<File>,
    /// In bytes.
    length: u64,
    layout: Layout,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl WeightFile {
    /// Reads the names, shapes and types of a file's tensors. Its layout is found from its content.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, [`Error::File`] if its layout is unknown or it is damaged,
    /// [`Error::Tensor`] if the claims about one of its tensors cannot be true.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let mut start = Vec::new();
        file.by_ref().take(9).read_to_end(&mut start).map_err(Error::io(path))?;
        match start.as_slice() {
            [] => Err(Error::file(path, "the file is empty")),
            // A safetensors file begins with the length of its header, which is JSON.
            [length_of_header @ .., b'{'] if length_of_header.len() == 8 => {
                Self::open_safetensors(path, file, length)
            }
            _ => Self::open_pytorch(path, file, length),
        }
    }

    fn open_pytorch(path: &Path, file: File, length: u64) -> Result<Self> {
        let (layout, found) = pytorch::open(path, &file)?;
        let mut tensors = BTreeMap::new();
        for mut tensor in found {
            let dtype = match tensor.dtype() {
                pytorch_reader::DType::F64 => DType::F64,
                pytorch_reader::DType::F32 => DType::F32,
                pytorch_reader::DType::F16 => DType::F16,
                pytorch_reader::DType::BF16 => DType::BF16,
                pytorch_reader::DType::I64 => DType::I64,
                pytorch_reader::DType::I32 => DType::I32,
                pytorch_reader::DType::I16 => DType::I16,
                pytorch_reader::DType::I8 => DType::I8,
                pytorch_reader::DType::U64 => DType::U64,
                pytorch_reader::DType::U32 => DType::U32,
                pytorch_reader::DType::U16 => DType::U16,
                // A boolean tensor holds bytes, and is never a weight.
                pytorch_reader::DType::U8 | pytorch_reader::DType::Bool => DType::U8,
            };
            // The name is taken out of the tensor, because the library's errors would repeat it.
            let name = std::mem::take(&mut tensor.name);
            let shape = tensor.shape().to_vec();
            tensors.insert(name, StoredTensor { shape, dtype, source: Source::Pytorch(tensor) });
        }
        let metadata = BTreeMap::new();
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file), length, layout, metadata, tensors })
    }

    fn open_safetensors(path: &Path, mut file: File, length: u64) -> Result<Self> {
        const NOT_WHOLE: &str = "not a whole safetensors file";
        let fail = |what: &str| Error::file(path, format!("{NOT_WHOLE}: {what}"));
        let mut start = [0; 8];
        file.rewind().and_then(|()| file.read_exact(&mut start)).map_err(Error::io(path))?;
        let end = u64::from_le_bytes(start).saturating_add(8);
        if end > length {
            return Err(fail(&format!("its header claims to end at byte {end}, the file has {length}")));
        }
        if end > MAX_HEADER {
            return Err(fail(&format!(
                "its header has {end} bytes, more than the {MAX_HEADER} that are read"
            )));
        }
        let mut header = Vec::new();
        file.by_ref().take(end - 8).read_to_end(&mut header).map_err(Error::io(path))?;
        // Also finds tensors that overlap, leave gaps or have another length than their shape.
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|error| Error::file_because(path, NOT_WHOLE, error))?;
        let expected = end.saturating_add(header.data_len() as u64);
        if expected != length {
            return Err(fail(&format!("its header describes {expected} bytes, the file has {length}")));
        }
        let metadata: BTreeMap<String, String> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        let checksums: BTreeMap<String, u32> = match metadata.get(CHECKSUMS_KEY) {
            Some(json) => serde_json::from_str(json)
                .map_err(|error| Error::file_because(path, format!("its {CHECKSUMS_KEY}"), error))?,
            None => BTreeMap::new(),
        };
        let tensors = header
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let dtype = match info.dtype {
                    Dtype::F64 => DType::F64,
                    Dtype::F32 => DType::F32,
                    Dtype::F16 => DType::F16,
                    Dtype::BF16 => DType::BF16,
                    Dtype::I64 => DType::I64,
                    Dtype::I32 => DType::I32,
                    Dtype::I16 => DType::I16,
                    Dtype::I8 => DType::I8,
                    Dtype::U64 => DType::U64,
                    Dtype::U32 => DType::U32,
                    Dtype::U16 => DType::U16,
                    Dtype::U8 | Dtype::BOOL => DType::U8,
                    other => {
                        return Err(Error::tensor(path, name, format!("has elements of type {other:?}")));
                    }
                };
                let (start, stop) = info.data_offsets;
                let crc32 = checksums.get(&name).copied();
                let source = Source::Safetensors { start: end + start as u64, length: stop - start, crc32 };
                Ok((name, StoredTensor { shape: info.shape.clone(), dtype, source }))
            })
            .collect::<Result<_>>()?;
        let (file, layout) = (Mutex::new(file), Layout::Safetensors);
        Ok(Self { path: path.to_path_buf(), file, length, layout, metadata, tensors })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How it is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The entries of a safetensors file's metadata; none in other layouts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Its tensors by name. The tensors of a dictionary within a PyTorch file are under its key and a dot.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    /// Its size, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads a tensor, row-major, as f32; half precision and f64 are converted.
    ///
    /// # Errors
    ///
    /// [`Error::Tensor`] if there is no such tensor, or if it is not of a floating-point type, is damaged, or
    /// is far larger than the file.
    pub fn read(&self, name: &str) -> Result<TensorData> {
        let fail = |message: String| Error::tensor(&self.path, name, message);
        let tensor = self.tensors.get(name).ok_or_else(|| fail("is missing".to_string()))?;
        if !tensor.dtype.is_float() {
            return Err(fail(format!("is {}, not of a floating-point type", tensor.dtype.name())));
        }
        self.check_growth(tensor.f32_bytes()).map_err(fail)?;
        let bytes = match &tensor.source {
            Source::Pytorch(tensor) => tensor.read().map_err(|error| fail(error.to_string()))?,
            &Source::Safetensors { start, length, crc32 } => {
                let bytes = self.bytes(start, length).map_err(|error| fail(error.to_string()))?;
                if crc32.is_some_and(|crc32| crc32 != crc32fast::hash(&bytes)) {
                    return Err(fail("is damaged: its checksum differs".to_string()));
                }
                bytes
            }
        };
        TensorData::from_bytes_vec(bytes, tensor.shape.clone(), tensor.dtype)
            .try_cast(DType::F32)
            .map_err(|error| fail(error.to_string()))
    }

    /// Whether tensors of this file may take so many bytes; the error says why not.
    pub(super) fn check_growth(&self, bytes: u64) -> Result<(), String> {
        if bytes <= SMALL.max(self.length.saturating_mul(MAX_GROWTH)) {
            return Ok(());
        }
        Err(format!("claims {bytes} bytes, the whole file has {}", self.length))
    }

    fn bytes(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        // A poisoned lock is harmless: we seek before reading.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
