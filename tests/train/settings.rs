//! Settings that do not work, and the files of `configs/`.

use std::fs;
use std::path::Path;

use faster_rcnn::NormKind;
use faster_rcnn::train::{Run, RunConfig};

use super::{boards, config};

#[test]
fn random_weights_need_a_norm_that_learns_and_all_stages() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let mut frozen_norm = config();
    frozen_norm.model.norm = NormKind::FrozenBatch;
    let mut frozen_stage = config();
    frozen_stage.model.trainable_layers = 4;
    for config in [frozen_norm, frozen_stage] {
        let output = folder.path().join("run");
        let error = Run::new(config, data.clone()).fit(&output).unwrap_err();
        assert!(error.to_string().contains("model.trainable_layers=5"), "{error}");
        assert!(!output.exists());
    }
}

#[test]
fn the_files_in_configs_are_complete_and_their_commented_keys_can_be_set() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for path in files {
        let config = RunConfig::load(&path, &[]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let keys = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
                .map(str::to_string)
                .collect()
        };
        assert_eq!(keys(&text), keys(&config.to_toml()), "{}", path.display());

        let uncommented: String = text
            .lines()
            .map(|line| {
                let setting = line.strip_prefix("# ").filter(|rest| {
                    rest.split_once(" = ")
                        .is_some_and(|(key, _)| key.chars().all(|c| c.is_lowercase() || c == '_'))
                });
                setting.unwrap_or(line).to_string() + "\n"
            })
            .collect();
        assert_ne!(uncommented, text);
        let temporary = tempfile::tempdir().unwrap();
        let changed = temporary.path().join("changed.toml");
        fs::write(&changed, &uncommented).unwrap();
        assert_ne!(RunConfig::load(&changed, &[]).unwrap(), config);
    }
}
