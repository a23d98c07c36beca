//! The weight files that torchvision publishes: `weights/manifest.toml`.

use serde::Deserialize;

use super::kind::WeightFileKind;

/// A published weight file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What it is called here, for example `fasterrcnn_resnet50_fpn`.
    pub name: String,
    /// What it holds.
    pub kind: WeightFileKind,
    /// Where it is downloaded from.
    pub url: String,
    /// Its size, in MiB to three decimals.
    pub size_mib: f64,
    /// The first eight hexadecimal digits of its SHA-256: torchvision publishes no more. They detect a
    /// damaged or a wrong file, but not a forged one. Only HTTPS protects against that.
    pub sha256: String,
    /// License of the file.
    pub license: String,
    /// How good it is, and by which measure.
    pub figures: String,
}

impl Published {
    /// The last part of its URL.
    pub fn file_name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(&self.url)
    }
}

/// All published files.
pub fn published() -> Vec<Published> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Manifest {
        file: Vec<Published>,
    }
    let manifest: Manifest =
        toml::from_str(include_str!("../../weights/manifest.toml")).expect("the manifest is well-formed");
    manifest.file
}

#[cfg(test)]
mod tests {
    use super::published;

    #[test]
    fn each_checksum_is_the_one_in_the_file_name() {
        let files = published();
        assert!(!files.is_empty());
        for file in files {
            assert!(file.file_name().ends_with(&format!("-{}.pth", file.sha256)), "{}", file.url);
        }
    }
}
