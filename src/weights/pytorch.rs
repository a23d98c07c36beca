//! Files that `torch.save` writes, opened without trusting them.
//!
//! `pytorch-reader`, the part of burn's own store that knows the zip and the legacy layout, stored strides
//! and half precision, interprets the pickle without running any of it. The store around it is not used: it
//! applies tensors to modules by pattern and silently continues if types or names do not fit.
//!
//! The reader builds an object for each instruction of a pickle and decompresses zip archives, so a small
//! file could ask for a lot of memory. [`open`] checks both before it hands a file over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use pytorch_reader::{PytorchError, PytorchReader, Tensor};
use zip::{CompressionMethod, ZipArchive};

use super::layout::Layout;
use crate::error::{Error, Result};

/// The most instructions that a file's pickles may have. A detector's state dict has 11,000, with an
/// optimizer's state beside it 20,000.
const MAX_INSTRUCTIONS: usize = 1 << 19;

/// What the first pickle of a legacy file holds, little-endian.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The magic number is within this many bytes, whatever the pickle's protocol.
const LEGACY_OPENING: usize = 64;

/// Pickles in a legacy file: magic number, version, system, content, the order of the storages.
const LEGACY_PICKLES: usize = 5;

/// Where a tar archive says that it is one; PyTorch before 0.1.10 wrote those.
const TAR_MAGIC: (usize, &[u8]) = (257, b"ustar");

/// Names, shapes and types of the tensors in a file of either layout; no element is read.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::File`] where it is of another layout, damaged, or
/// asks for more than a file of weights needs.
pub(super) fn open(path: &Path, mut file: &File) -> Result<(Layout, Vec<Tensor>)> {
    let mut start = Vec::new();
    let length = (TAR_MAGIC.0 + TAR_MAGIC.1.len()) as u64;
    file.rewind()
        .and_then(|()| file.take(length).read_to_end(&mut start))
        .and_then(|_| file.rewind())
        .map_err(Error::io(path))?;
    let fail = |error: io::Error| match error.raw_os_error() {
        Some(_) => Error::io(path)(error),
        None if error.kind() == io::ErrorKind::Unsupported => Error::file(path, error),
        None => Error::file(path, format!("not a whole PyTorch file: {error}")),
    };
    let opening = &start[..start.len().min(LEGACY_OPENING)];
    let layout = if start.starts_with(b"PK\x03\x04") {
        check_zip(file).map_err(fail)?;
        Layout::PytorchZip
    } else if opening.windows(LEGACY_MAGIC.len()).any(|bytes| bytes == LEGACY_MAGIC)
        && start.get(TAR_MAGIC.0..) != Some(TAR_MAGIC.1)
    {
        let (mut reader, mut budget) = (BufReader::new(file), MAX_INSTRUCTIONS);
        (0..LEGACY_PICKLES).try_for_each(|_| count(&mut reader, &mut budget)).map_err(fail)?;
        Layout::PytorchLegacy
    } else {
        return Err(Error::file(path, "neither a safetensors nor a PyTorch 0.1.10 or later file"));
    };

    let reader = PytorchReader::new(path).map_err(|error| match error {
        PytorchError::Io(error) => fail(error),
        error => Error::file(path, format!("not a whole PyTorch file: {error}")),
    })?;
    Ok((layout, reader.into_tensors().into_values().collect()))
}

/// The archive is one of `torch.save`'s, nothing in it is compressed, and the pickle is not too long.
fn check_zip(file: &File) -> io::Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(file))?;
    let has = |part: &str| archive.file_names().any(|name| name.is_ok_and(|name| name.ends_with(part)));
    // torch.save never writes these two; torch.jit.save and torch.export.save always do.
    let program = match () {
        () if has("/constants.pkl") => Some(("a TorchScript program", "torch.jit.load(path).state_dict()")),
        () if has("/archive_format") => Some(("an exported program", "torch.export.load(path).state_dict")),
        () => None,
    };
    if let Some((what, state)) = program {
        let message =
            format!("{what}, not weights: save them in Python with torch.save({state}, \"weights.pth\")");
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let mut budget = MAX_INSTRUCTIONS;
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index)?;
        let name = entry.name()?.into_owned();
        if entry.compression() != CompressionMethod::Stored || entry.size() != entry.compressed_size() {
            return Err(io::Error::other(format!(
                "its entry {name} is compressed, which none of PyTorch's is"
            )));
        }
        if name.ends_with("data.pkl") {
            count(&mut BufReader::new(entry), &mut budget)?;
        }
    }
    Ok(())
}

/// Reads a pickle to its end and takes its instructions from the budget. Unknown opcodes are ignored here;
/// the real reader rejects them.
fn count(pickle: &mut impl BufRead, budget: &mut usize) -> io::Result<()> {
    loop {
        *budget = budget.checked_sub(1).ok_or_else(|| {
            io::Error::other(format!("its pickle has more than {MAX_INSTRUCTIONS} instructions"))
        })?;
        let [instruction] = bytes(pickle)?;
        // What follows each instruction, after Python's `pickletools`.
        let argument = match instruction {
            b'.' => return Ok(()),
            b'K' | b'q' | b'h' | 0x80 | 0x82 => 1,
            b'M' | 0x83 => 2,
            b'J' | b'j' | b'r' | 0x84 => 4,
            b'G' | 0x95 => 8,
            b'U' | b'C' | 0x8a | 0x8c => u64::from(u8::from_le_bytes(bytes(pickle)?)),
            b'T' | b'X' | b'B' | 0x8b => u64::from(u32::from_le_bytes(bytes(pickle)?)),
            0x8d | 0x8e | 0x96 => u64::from_le_bytes(bytes(pickle)?),
            b'I' | b'L' | b'F' | b'S' | b'V' | b'P' | b'g' | b'p' => {
                pickle.skip_until(b'\n')?;
                0
            }
            b'c' | b'i' => {
                pickle.skip_until(b'\n')?;
                pickle.skip_until(b'\n')?;
                0
            }
            _ => 0,
        };
        io::copy(&mut pickle.by_ref().take(argument), &mut io::sink())?;
    }
}

fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
