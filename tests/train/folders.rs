//! A run writes over nothing that it did not write.

use std::fs;
use std::path::Path;

use faster_rcnn::data::Split;
use faster_rcnn::train::{Run, RunConfig, Start};

use super::{boards, config, with_epochs};

fn refused(data: &Split, output: &Path) -> String {
    Run::new(config(), data.clone()).prepare(output).unwrap_err().to_string()
}

#[test]
fn files_of_others_are_named_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let mut other_settings = config();
    other_settings.train.epochs = 99;
    for (name, content) in [
        ("config.toml", "# mine\n[server]\nport = 80\n".to_string()),
        ("config.toml", other_settings.to_toml()),
        ("metrics.jsonl", "{\"loss\": 1.0}\n".to_string()),
        ("curves.png", "a picture".to_string()),
        ("evaluation.json", "{}".to_string()),
        ("precision_recall.png", "a picture".to_string()),
        ("confusion_matrix.png", "a picture".to_string()),
        ("samples/1.png", "a picture".to_string()),
        ("checkpoints/epoch1.pt", "weights".to_string()),
        ("checkpoints/best.safetensors", "weights".to_string()),
    ] {
        let output = tempfile::tempdir().unwrap();
        let path = output.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &content).unwrap();
        let error = refused(&data, output.path());
        let shown = name.strip_suffix("/1.png").unwrap_or(name);
        assert!(error.starts_with(&*output.path().join(shown).to_string_lossy()), "{name}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(refused(&data, &file).contains("is a file, not a folder"));
}

#[test]
fn what_a_run_left_that_ended_in_its_first_epoch_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let output = folder.path().join("run");
    Run::new(with_epochs(1), data.clone()).fit(&output).unwrap();
    for result in ["evaluation.json", "precision_recall.png", "confusion_matrix.png"] {
        fs::remove_file(output.join(result)).unwrap();
    }
    fs::remove_dir_all(output.join("samples")).unwrap();
    // As a kill leaves it just before `last.safetensors` gets its name.
    let last = output.join("checkpoints/last.safetensors");
    fs::rename(&last, output.join("checkpoints/.last.safetensors.aBcD.safetensors")).unwrap();
    Run::new(with_epochs(1), data.clone()).prepare(&output).unwrap();
    // The settings may change; this is the program's own `config.toml`.
    Run::new(with_epochs(2), data).fit(&output).unwrap();
    let settings = RunConfig::load(output.join("config.toml"), &[]).unwrap();
    assert_eq!(settings.train.epochs, 2);
}

#[test]
fn settings_that_a_person_wrote_stay_as_they_are() {
    let output = tempfile::tempdir().unwrap();
    let data = boards(&output.path().join("boards"));
    let path = output.path().join("config.toml");
    let text = format!("# My settings.\n{}", with_epochs(1).to_toml());
    fs::write(&path, &text).unwrap();
    let load = |set: &[String]| RunConfig::load(&path, set).unwrap();
    let longer = ["train.epochs=2".to_string()];
    let error = Run::new(load(&longer), data.clone()).fit(output.path()).unwrap_err().to_string();
    assert!(error.contains("config.toml: is there already"), "{error}");
    Run::new(load(&[]), data.clone()).fit(output.path()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    for set in [&[][..], &longer] {
        let run = Run::new(load(set), data.clone()).start(Start::Resume);
        run.fit(output.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
