//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::path::Path;

use tempfile::Builder;

use crate::error::{Error, Result};

/// Has `write` write a temporary file beside `path`, and puts it in the place of `path` when it is whole and on the
/// disk. Whatever interrupts this, also a power failure, `path` holds either what it held before or the whole new file.
///
/// The temporary file has a random name, so that several processes may write the same `path`; the last one wins. Its
/// name begins with a dot and has the extension of `path`.
///
/// # Errors
///
/// What `write` gives, and [`Error::Io`] where the folder of `path` cannot be written. The temporary file is gone then.
pub fn write_atomically(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    let (prefix, suffix) = (format!(".{name}."), extension.unwrap_or_default());
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(&suffix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As of any new file; the process's mask takes away from it. A temporary file is its owner's alone otherwise.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let temporary = builder.tempfile_in(folder).map_err(Error::io(path))?.into_temp_path();
    write(&temporary)?;
    File::options().write(true).open(&temporary).and_then(|file| file.sync_all()).map_err(Error::io(path))?;
    temporary.persist(path).map_err(|error| Error::io(path)(error.error))?;
    sync_folder(folder)
}

/// Makes the names of a folder's files survive a power failure.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))
}

/// Windows does this by itself, and has no call for it.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

/// [`write_atomically`] of bytes that are at hand.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be written.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |temporary| fs::write(temporary, bytes).map_err(Error::io(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_bytes(&path, b"old").unwrap();
        let failed = write_atomically(&path, |temporary| {
            assert_eq!(temporary.extension().unwrap(), "json");
            fs::write(temporary, b"ne").unwrap();
            Err(Error::Config("the disk is full".to_string()))
        });
        assert!(failed.is_err());
        assert_eq!(
            (fs::read(&path).unwrap(), names(folder.path())),
            (b"old".to_vec(), vec!["run.json".to_string()])
        );

        write_bytes(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), names(folder.path()).len()), (b"new".to_vec(), 1));
        let error = write_bytes(&folder.path().join("nowhere/run.json"), b"").unwrap_err();
        assert!(error.to_string().ends_with("run.json"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_bytes(&ours, b"").unwrap();
        fs::write(&plain, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
