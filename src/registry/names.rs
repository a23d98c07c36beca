//! Which names models and aliases may have. A name is that of a folder or a file on any system, and a part of
//! a URL.

use crate::error::{Error, Result};

/// The most characters of a name.
const LONGEST: usize = 100;

/// Files that Windows does not let anyone make, whatever their extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Checks the name of a model: letters, digits, `.`, `_` and `-`, the first a letter or a digit.
///
/// # Errors
///
/// [`Error::Config`] says what is wrong with it.
pub fn check_model_name(name: &str) -> Result<()> {
    check("a model's name", name)
}

/// Checks an alias: as a model's name, but not a number, and none of `latest` and `v1`, `v2`, ..., which
/// MLflow keeps for itself.
///
/// # Errors
///
/// [`Error::Config`] says what is wrong with it.
pub fn check_alias(alias: &str) -> Result<()> {
    check("an alias", alias)?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let lower = alias.to_ascii_lowercase();
    if is_number(&lower) || lower.strip_prefix('v').is_some_and(is_number) || lower == "latest" {
        let message = format!("an alias is no number, no `v1` and not `latest`, got {alias:?}");
        return Err(Error::Config(message));
    }
    Ok(())
}

fn check(what: &str, name: &str) -> Result<()> {
    let fail = |rule: &str| {
        // A hostile name may be long.
        let shown: String = name.chars().take(LONGEST + 1).collect();
        Err(Error::Config(format!("{what} {rule}, got {shown:?}")))
    };
    if name.is_empty() || name.len() > LONGEST {
        return fail(&format!("has 1 to {LONGEST} characters"));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return fail("has letters, digits, `.`, `_` and `-` only");
    }
    if !name.starts_with(|first: char| first.is_ascii_alphanumeric()) || name.ends_with('.') {
        return fail("begins with a letter or a digit and does not end with `.`");
    }
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    if DEVICES.contains(&stem.as_str()) || numbered("com") || numbered("lpt") {
        return fail("must not be one that Windows keeps for a device");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files_on_any_system() {
        let long = "a".repeat(LONGEST);
        for name in ["pcb", "PCB-2.v3_b", "0", &long, "console", "com10"] {
            check_model_name(name).unwrap();
        }
        let too_long = "a".repeat(LONGEST + 1);
        for name in [
            "", ".", "..", "../pcb", "a/b", "a\\b", ".pcb", "-pcb", "pcb.", "pcb ", "p cb", "pcb\0", "löt",
            "a@b", "a:b", "nul", "NUL.txt", "com1", "Lpt9.x", &too_long,
        ] {
            let error = check_model_name(name).unwrap_err().to_string();
            assert!(error.starts_with("a model's name "), "{name}: {error}");
            assert!(check_alias(name).is_err(), "{name}");
        }
        for alias in ["champion", "line-2", "vega", "v", "v1b"] {
            check_alias(alias).unwrap();
        }
        for alias in ["3", "v3", "V12", "latest", "Latest"] {
            assert!(check_alias(alias).is_err(), "{alias}");
        }
    }
}
