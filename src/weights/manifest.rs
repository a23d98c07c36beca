//! The weight files that torchvision publishes, and our own: `weights/manifest.toml`.

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
    /// Its SHA-256 in hexadecimal digits; of torchvision's files the first eight, because it publishes no
    /// more. Those detect a damaged or a wrong file, but not a forged one. Only HTTPS protects against that.
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
    use std::fs;
    use std::path::Path;

    use super::published;
    use crate::sha256::sha256_of;

    #[test]
    fn each_checksum_is_the_one_in_the_file_name_or_of_the_file_in_the_repository() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
        let (mut torchvisions, mut own) = (0, 0);
        for file in published() {
            if file.url.starts_with("https://download.pytorch.org/") {
                assert!(file.file_name().ends_with(&format!("-{}.pth", file.sha256)), "{}", file.url);
                torchvisions += 1;
                continue;
            }
            own += 1;
            let tag = concat!("/v", env!("CARGO_PKG_VERSION"), "/weights/");
            assert!(file.url.contains(tag), "{} is not that of this release, {tag}", file.url);
            let path = folder.join(file.file_name());
            assert_eq!(sha256_of(&path).unwrap(), file.sha256, "{}", file.name);
            let mib = fs::metadata(&path).unwrap().len() as f64 / f64::from(1 << 20);
            assert!((mib - file.size_mib).abs() < 0.001, "{} has {mib} MiB", file.name);
            assert!(mib <= 30.0, "{} has {mib} MiB", file.name);
            assert!(path.with_extension("md").exists(), "{} has no model card", file.name);
        }
        assert!(torchvisions >= 8 && own >= 1, "{torchvisions} {own}");
    }
}
