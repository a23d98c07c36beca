//! A registry in a folder:
//!
//! ```text
//! ROOT/NAME/N/             a version: model.safetensors, version.json, sample.png, sample_reference.png
//! ROOT/NAME/aliases/ALIAS  the number of a version
//! ROOT/NAME/deleted/N/     empty: this number was given once
//! ROOT/NAME/.lock          locked by the process that changes something
//! ```
//!
//! A change is one rename of a whole file or folder, so a process that is killed leaves the old state or the
//! new one, and readers need no lock. What a killed process leaves in hidden folders, the next change
//! removes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::card::{ModelCard, ModelVersion};
use super::interface::Registry;
use super::names::{check_alias, check_model_name};
use super::new_version::{CARD, NewVersion};
use crate::error::{Error, Result};
use crate::files::{sync_folder, write_bytes, write_folder_atomically};
use crate::text::read_text;

const ALIASES: &str = "aliases";
const DELETED: &str = "deleted";
const LOCK: &str = ".lock";

/// A registry in a folder. Any number of processes may use it at once.
#[derive(Debug, Clone)]
pub struct FolderRegistry {
    root: PathBuf,
}

impl FolderRegistry {
    /// The registry in a folder, which need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder of a model, whose name is checked: nothing outside the registry is touched.
    fn model(&self, model: &str) -> Result<PathBuf> {
        check_model_name(model)?;
        Ok(self.root.join(model))
    }

    /// The folder of a version that is there.
    fn existing(&self, model: &str, number: u32) -> Result<PathBuf> {
        let folder = self.model(model)?.join(number.to_string());
        if number == 0 || !folder.is_dir() {
            return Err(Error::file(&folder, format!("there is no version {number} of a model {model}")));
        }
        Ok(folder)
    }

    /// Keeps other processes from changing a model until the result is dropped. If this one is killed, the
    /// system unlocks the file.
    fn lock(&self, model: &str) -> Result<File> {
        let folder = self.model(model)?;
        make(&self.root)?;
        make(&folder)?;
        let path = folder.join(LOCK);
        let open = || {
            let file = File::options().create(true).write(true).truncate(false).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        let lock = open().map_err(Error::io(&path))?;
        remove_leftovers(&folder)?;
        Ok(lock)
    }
}

impl Registry for FolderRegistry {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    fn models(&self) -> Result<Vec<String>> {
        let mut models = Vec::new();
        for name in names_in(&self.root)? {
            if check_model_name(&name).is_ok() && !self.numbers(&name)?.is_empty() {
                models.push(name);
            }
        }
        models.sort_unstable();
        Ok(models)
    }

    fn numbers(&self, model: &str) -> Result<Vec<u32>> {
        numbers_in(&self.model(model)?)
    }

    fn aliases(&self, model: &str) -> Result<BTreeMap<String, u32>> {
        let folder = self.model(model)?.join(ALIASES);
        let mut aliases = BTreeMap::new();
        for alias in names_in(&folder)?.into_iter().filter(|alias| check_alias(alias).is_ok()) {
            let path = folder.join(&alias);
            let text = match fs::read_to_string(&path) {
                // Somebody took it away just now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                text => text.map_err(Error::io(&path))?,
            };
            let number = text
                .trim()
                .parse()
                .map_err(|error| Error::file_because(&path, "is not the number of a version", error))?;
            aliases.insert(alias, number);
        }
        Ok(aliases)
    }

    fn show(&self, model: &str, number: u32) -> Result<ModelVersion> {
        let path = self.existing(model, number)?.join(CARD);
        let card: ModelCard = serde_json::from_str(&read_text(&path)?)
            .map_err(|error| Error::file_because(&path, "does not describe a version", error))?;
        let pointing = self.aliases(model)?.into_iter().filter(|(_, version)| *version == number);
        let aliases = pointing.map(|(alias, _)| alias).collect();
        Ok(ModelVersion { model: model.to_string(), version: number, aliases, card })
    }

    fn register(&self, model: &str, new: &NewVersion) -> Result<u32> {
        let folder = self.model(model)?;
        let new = new.examine()?;
        let _lock = self.lock(model)?;
        let given = numbers_in(&folder)?.into_iter().chain(numbers_in(&folder.join(DELETED))?);
        let number = given.max().unwrap_or(0) + 1;
        write_folder_atomically(&folder.join(number.to_string()), |temporary| new.write(temporary))?;
        Ok(number)
    }

    fn set_alias(&self, model: &str, alias: &str, number: u32) -> Result<()> {
        check_alias(alias)?;
        self.existing(model, number)?;
        let _lock = self.lock(model)?;
        // Nobody deletes it from here on.
        self.existing(model, number)?;
        let folder = self.model(model)?.join(ALIASES);
        make(&folder)?;
        write_bytes(&folder.join(alias), format!("{number}\n").as_bytes())
    }

    fn remove_alias(&self, model: &str, alias: &str) -> Result<()> {
        check_alias(alias)?;
        let folder = self.model(model)?.join(ALIASES);
        let path = folder.join(alias);
        if !path.exists() {
            return Err(Error::file(&path, format!("there is no alias {alias} of a model {model}")));
        }
        let _lock = self.lock(model)?;
        fs::remove_file(&path).map_err(Error::io(&path))?;
        sync_folder(&folder)
    }

    fn delete(&self, model: &str, number: u32) -> Result<()> {
        self.existing(model, number)?;
        let _lock = self.lock(model)?;
        let folder = self.existing(model, number)?;
        let aliases = self.aliases(model)?;
        if let Some((alias, _)) = aliases.iter().find(|(_, version)| **version == number) {
            let message = format!("the alias {alias} points at this version: let it point at another first");
            return Err(Error::file(folder, message));
        }
        let above = self.model(model)?;
        let deleted = above.join(DELETED);
        make(&deleted)?;
        let gone = deleted.join(number.to_string());
        fs::rename(&folder, &gone).map_err(Error::io(&folder))?;
        // The new place first, so that a power failure never lets the number be given again.
        sync_folder(&deleted)?;
        sync_folder(&above)?;
        empty(&gone)
    }

    fn files(&self, model: &str, number: u32) -> Result<PathBuf> {
        self.existing(model, number)
    }
}

/// Makes a folder, if it is not there yet, that survives a power failure.
fn make(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    match folder.parent() {
        Some(above) if above != Path::new("") => sync_folder(above),
        _ => sync_folder(Path::new(".")),
    }
}

/// Removes what killed processes left: hidden files and folders that were never renamed, and files of deleted
/// versions. Only for the one that holds the lock.
fn remove_leftovers(model: &Path) -> Result<()> {
    for folder in [model, &model.join(ALIASES)] {
        for name in names_in(folder)?.into_iter().filter(|name| name.starts_with('.') && name != LOCK) {
            let path = folder.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io(&path))?;
        }
    }
    let deleted = model.join(DELETED);
    numbers_in(&deleted)?.into_iter().try_for_each(|number| empty(&deleted.join(number.to_string())))
}

/// Removes the files in the folder of a version.
fn empty(folder: &Path) -> Result<()> {
    for name in names_in(folder)? {
        let path = folder.join(name);
        fs::remove_file(&path).map_err(Error::io(&path))?;
    }
    Ok(())
}

/// The names in a folder that are numbers of versions, rising.
fn numbers_in(folder: &Path) -> Result<Vec<u32>> {
    let number = |name: String| name.parse().ok().filter(|number: &u32| number.to_string() == name);
    let mut numbers: Vec<u32> = names_in(folder)?.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The names in a folder; none where it is not there. Names that are no UTF-8 are none of a registry.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(folder))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
    let names: io::Result<Vec<Option<String>>> = names.collect();
    Ok(names.map_err(Error::io(folder))?.into_iter().flatten().collect())
}
