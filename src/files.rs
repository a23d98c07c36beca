//! Files and folders that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, absolute};

use tempfile::Builder;

use crate::error::{Error, Result};

/// Calls `write` with a temporary file beside `path`, which replaces `path` when it is complete and on the
/// disk. After any interruption, even a power failure, `path` holds either its old content or the whole new
/// file.
///
/// The temporary file has a random name, so that several processes may write the same `path`; the last one
/// wins. Its name begins with a dot and has the extension of `path`.
///
/// # Errors
///
/// What `write` gives, and [`Error::Io`] where the folder of `path` cannot be written. The temporary file is
/// gone then.
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
    // Without this, only the owner could read and write the file.
    #[cfg(unix)]
    builder.permissions(as_of_any_new(0o666));
    let temporary = builder.tempfile_in(folder).map_err(Error::io(path))?.into_temp_path();
    write(&temporary)?;
    File::options().write(true).open(&temporary).and_then(|file| file.sync_all()).map_err(Error::io(path))?;
    temporary.persist(path).map_err(|error| Error::io(path)(error.error))?;
    sync_folder(folder)
}

/// Calls `write` to fill a temporary folder beside `path`, which is renamed to `path` when it is complete.
/// After any interruption, even a kill, `path` is never a partial folder. Files of others are left alone.
///
/// `path` is new, or an empty folder, which is replaced. Folders above it are made. The temporary folder's
/// name is random and begins with a dot; if the process is killed, the folder stays. `write` must make each
/// file with [`write_new`], so that the files survive a power failure.
///
/// # Errors
///
/// [`Error::File`] where `path` is a folder that is not empty, what `write` gives, and [`Error::Io`] where
/// the folder above `path` cannot be written.
pub fn write_folder_atomically(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let occupied = || Error::file(path, "the folder is not empty; a new or an empty one is written to");
    let exists = match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            Some(_) => return Err(occupied()),
            None => true,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io(path)(error)),
    };
    // `.` says neither what the folder is called nor where it is.
    let full = if exists { fs::canonicalize(path) } else { absolute(path) }.map_err(Error::io(path))?;
    let (Some(above), Some(name)) = (full.parent(), full.file_name()) else { return Err(occupied()) };
    fs::create_dir_all(above).map_err(Error::io(above))?;

    let prefix = format!(".{}.", name.to_string_lossy());
    let mut builder = Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    builder.permissions(as_of_any_new(0o777));
    let temporary = builder.tempdir_in(above).map_err(Error::io(above))?;
    write(temporary.path())?;
    if exists {
        // Fails where somebody has put something into it.
        fs::remove_dir(&full).map_err(|error| {
            Error::file_because(path, "the folder cannot be replaced; name one that is not there yet", error)
        })?;
    }
    fs::rename(temporary.path(), &full).map_err(Error::io(path))?;
    // Under its old name there is nothing to remove.
    let _ = temporary.keep();
    sync_folder(above)
}

/// Writes a file that is not there yet, down to the disk.
///
/// # Errors
///
/// [`Error::Io`] where it exists or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io(path))
}

/// The permissions of a new file or folder; the process's mask takes away from them.
#[cfg(unix)]
fn as_of_any_new(mode: u32) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(mode)
}

/// Makes the names of a folder's files survive a power failure.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(folder))
}

/// Windows does this by itself, and has no call for it.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> Result<()> {
    Ok(())
}

/// [`write_atomically`] with given bytes.
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

    #[test]
    fn a_folder_appears_whole_or_not_at_all_and_nothing_of_others_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("above/boards");
        let write = |temporary: &Path| write_new(&temporary.join("a.txt"), b"a");
        let failed = write_folder_atomically(&path, |temporary| {
            write(temporary)?;
            Err(Error::Config("the disk is full".to_string()))
        });
        assert!(failed.is_err());
        assert!(names(&folder.path().join("above")).is_empty());

        write_folder_atomically(&path, write).unwrap();
        assert_eq!(names(&path), ["a.txt"]);
        assert_eq!(names(&folder.path().join("above")), ["boards"]);
        let error = write_folder_atomically(&path, write).unwrap_err().to_string();
        assert!(
            error.ends_with("above/boards: the folder is not empty; a new or an empty one is written to")
        );

        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        write_folder_atomically(&empty, write).unwrap();
        assert_eq!(names(&empty), ["a.txt"]);

        // Files that appear during the writing stay, too.
        let contested = folder.path().join("contested");
        fs::create_dir(&contested).unwrap();
        let result = write_folder_atomically(&contested, |temporary| {
            fs::write(contested.join("theirs"), "").unwrap();
            write(temporary)
        });
        assert!(result.is_err());
        assert_eq!(names(&contested), ["theirs"]);
        assert!(write_folder_atomically(&contested.join("theirs"), write).is_err(), "a file is no folder");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain, our_folder, plain_folder] =
            ["ours", "plain", "our folder", "plain folder"].map(|name| folder.path().join(name));
        write_bytes(&ours, b"").unwrap();
        fs::write(&plain, b"").unwrap();
        write_folder_atomically(&our_folder, |_| Ok(())).unwrap();
        fs::create_dir(&plain_folder).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!((mode(&ours), mode(&our_folder)), (mode(&plain), mode(&plain_folder)));
    }
}
