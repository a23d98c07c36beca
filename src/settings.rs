//! Settings as TOML files and as single `key.of.table=value`, for any type that serde knows.
//!
//! Settings are changed as JSON values and not as TOML's own, whose integers have a sign: a seed may be any
//! `u64`.
#![cfg_attr(
    not(feature = "train"),
    allow(dead_code, reason = "files of settings are those of training runs")
)]

#[cfg(feature = "registry")]
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::text::read_text;

/// Reads a TOML file.
///
/// # Errors
///
/// As [`read_text`], and [`Error::File`] with line and column where it does not hold such settings.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    // Keeps only message and position.
    toml::from_str(&text).map_err(|error| Error::file(path, one_line(&error)))
}

/// The same settings as a TOML file.
pub fn to_toml<T: Serialize>(settings: &T) -> String {
    toml::to_string(settings).expect("settings are made of TOML's types")
}

/// The same settings with other values for some keys, such as `train.epochs=3` or `anchors.sizes=[8, 16]`. A
/// value that is not TOML is taken as a string.
///
/// # Errors
///
/// [`Error::Config`] names the key that does not exist, or whose value has the wrong type.
pub fn with<T, S>(settings: &T, overrides: &[S]) -> Result<T>
where
    T: Serialize + DeserializeOwned,
    S: AsRef<str>,
{
    let before = tree(settings);
    let mut after = before.clone();
    for setting in overrides {
        set(&mut after, setting.as_ref())?;
    }
    serde_json::from_value(after).map_err(|error| {
        // Tries each override alone to find the faulty one; some are only valid together.
        let alone = overrides.iter().find_map(|setting| {
            let mut tree = before.clone();
            set(&mut tree, setting.as_ref()).ok()?;
            let error = serde_json::from_value::<T>(tree).err()?;
            Some(format!("{}: {error}", setting.as_ref()))
        });
        let together = || {
            let overrides: Vec<&str> = overrides.iter().map(AsRef::as_ref).collect();
            format!("{}: {error}", overrides.join(" "))
        };
        Error::Config(alone.unwrap_or_else(together))
    })
}

/// Names of the settings that differ, such as `train.epochs`, in alphabetical order.
pub fn differences<T: Serialize>(one: &T, other: &T) -> Vec<String> {
    let mut names = Vec::new();
    collect_differences(&tree(one), &tree(other), "", &mut names);
    names
}

/// The values of settings, by names such as `train.epochs`.
#[cfg(feature = "registry")]
pub fn by_name(settings: &Value) -> BTreeMap<String, Value> {
    fn collect(settings: &Value, name: &str, values: &mut BTreeMap<String, Value>) {
        let Value::Object(fields) = settings else {
            values.insert(name.to_string(), settings.clone());
            return;
        };
        for (key, value) in fields {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            collect(value, &name, values);
        }
    }
    let mut values = BTreeMap::new();
    collect(settings, "", &mut values);
    values
}

fn tree<T: Serialize>(settings: &T) -> Value {
    serde_json::to_value(settings).expect("settings have named fields")
}

/// The error's message with its place, on one line.
fn one_line(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let place = text.lines().next().unwrap_or_default().trim_start_matches("TOML parse error ");
    format!("{place}: {}", error.message().lines().collect::<Vec<_>>().join(", "))
}

fn set(tree: &mut Value, setting: &str) -> Result<()> {
    let fail = |what: &str| Error::Config(format!("{setting}: {what}"));
    let (key, text) = setting.split_once('=').ok_or_else(|| fail("expected key=value"))?;
    let (tables, last) = match key.trim().rsplit_once('.') {
        Some((tables, last)) => (Some(tables), last),
        None => (None, key.trim()),
    };
    if last.is_empty() {
        return Err(fail("expected key=value"));
    }
    let mut table = tree;
    for name in tables.into_iter().flat_map(|tables| tables.split('.')) {
        let inner = table.get_mut(name).filter(|inner| inner.is_object());
        table = inner.ok_or_else(|| fail(&format!("there is no table `{name}`")))?;
    }
    let table = table.as_object_mut().ok_or_else(|| fail("these settings have no names"))?;
    table.insert(last.to_string(), value(text));
    Ok(())
}

fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Map<String, Value>>(&format!("value = {text}"));
    // Text with a line break could hold more keys.
    let only = parsed.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    only.unwrap_or_else(|| Value::String(text.to_string()))
}

fn collect_differences(one: &Value, other: &Value, name: &str, names: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let mut keys: Vec<&String> = one.keys().chain(other.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let value = |table: &Map<String, Value>| table.get(key).cloned().unwrap_or_default();
                collect_differences(&value(one), &value(other), &name, names);
            }
        }
        _ if one == other => {}
        _ => names.push(name.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        seed: u64,
        names: Vec<String>,
        inner: Inner,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        factor: f32,
        limit: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        clip: Option<f64>,
        kind: Kind,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Kind {
        Plain,
        Steps { gamma: f64 },
    }

    fn settings() -> Settings {
        let inner = Inner { factor: 0.7, limit: 3, clip: None, kind: Kind::Plain };
        Settings { seed: 1, names: vec!["open".to_string()], inner }
    }

    fn read_text(text: &str) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn what_is_written_is_read_and_single_keys_can_be_set() {
        let settings = settings();
        // Windows' editors begin a file with a byte order mark.
        for start in ["", "\u{feff}"] {
            assert_eq!(read_text(&format!("{start}{}", to_toml(&settings))).unwrap(), settings);
        }
        let overrides = [
            "inner.clip=1",
            "names=[\"a\", \"b\"]",
            "inner.kind.kind=steps",
            "inner.kind.gamma=0.5",
            " inner.limit = 1_000",
        ];
        let changed = with(&settings, &overrides).unwrap();
        let inner = Inner { factor: 0.7, limit: 1000, clip: Some(1.0), kind: Kind::Steps { gamma: 0.5 } };
        assert_eq!(changed, Settings { seed: 1, names: vec!["a".to_string(), "b".to_string()], inner });
        let names = ["inner.clip", "inner.kind.gamma", "inner.kind.kind", "inner.limit", "names"];
        assert_eq!(differences(&settings, &changed), names);
        assert_eq!(differences(&changed, &changed), [""; 0]);
        assert_eq!(with(&settings, &[""; 0]).unwrap(), settings);
    }

    #[test]
    fn numbers_above_the_largest_signed_one_are_numbers() {
        for seed in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            let large = Settings { seed, ..settings() };
            assert_eq!(read_text(&to_toml(&large)).unwrap(), large);
            assert_eq!(with(&large, &["inner.limit=4"]).unwrap().seed, seed);
            assert_eq!(with(&settings(), &[format!("seed={seed}")]).unwrap(), large);
            assert_eq!(differences(&large, &settings()), ["seed"]);
            assert_eq!(differences(&large, &large), [""; 0]);
        }
        let all = with(&settings(), &[format!("inner.limit={}", usize::MAX)]).unwrap();
        assert_eq!(all.inner.limit, usize::MAX);
        for seed in ["18446744073709551616", "-1", "1.5"] {
            let error = with(&settings(), &[format!("seed={seed}")]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("seed={seed}: invalid ")), "{error}");
            let error = read_text(&to_toml(&settings()).replace("seed = 1", &format!("seed = {seed}")));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("run.toml: at line 1, column 8: "), "{error}");
        }
    }

    #[test]
    fn faults_are_named() {
        let error = read_text(&to_toml(&settings()).replace("limit", "limits")).unwrap_err().to_string();
        assert!(error.contains("run.toml: at line 6, column 1: unknown field `limits`"), "{error}");
        assert_eq!(error.lines().count(), 1);
        for (setting, expected) in [
            ("seeds=3", "unknown field `seeds`"),
            ("inners.limit=3", "there is no table `inners`"),
            ("seed.limit=3", "there is no table `seed`"),
            ("seed=many", "invalid type: string \"many\", expected u64"),
            ("inner.factor=nan", "invalid type"),
            ("seed", "expected key=value"),
            ("inner.=1", "expected key=value"),
            ("=1", "expected key=value"),
            ("inner.kind={kind=\"step\"}", "unknown variant `step`"),
        ] {
            let error = with(&settings(), &["inner.limit=4", setting]).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Config(_)), "{text}");
            assert!(text.starts_with(&format!("{setting}: ")) && text.contains(expected), "{text}");
        }
    }
}
