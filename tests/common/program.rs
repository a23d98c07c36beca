//! The program `faster-rcnn` in a folder of its own, with small boards and a tiny detector.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use burn::tensor::Device;
use faster_rcnn::NormKind;
use faster_rcnn::ResNetDepth;
use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::data::{self, Record, SyntheticConfig, write_synthetic};
use faster_rcnn::structures::Annotation;
use faster_rcnn::{FasterRcnnConfig, weights};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const SIZE: usize = 128;

/// A folder with boards in `boards` and a detector with random weights in `tiny.safetensors`.
pub struct Bench {
    pub folder: TempDir,
}

impl Bench {
    pub fn new(boards: usize) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let config = SyntheticConfig { size: SIZE, seed: 3 };
        write_synthetic(bench.path("boards"), boards, &config).unwrap();
        weights::save(&tiny().init(&Device::flex()), bench.path("tiny.safetensors")).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The program in the folder, its arguments in one string.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_faster-rcnn"));
        command.current_dir(self.folder.path()).args(arguments.split_whitespace());
        command
    }

    pub fn run(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a run that succeeds and has nothing to complain about.
    pub fn succeed(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments}");
        text(&output.stdout)
    }

    /// The one line on standard error of a run that fails.
    pub fn fail(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {message}");
        assert_eq!(message.lines().count(), 1, "{arguments}: {message}");
        assert!(message.starts_with("error: "), "{message}");
        message
    }

    pub fn image(&self, index: usize) -> String {
        format!("boards/group00000/00000/{index:07}0_test.jpg")
    }

    /// Detections of the data set's validation list that are its annotations.
    pub fn perfect(&self) -> Value {
        let validation = data::open(self.path("boards")).unwrap().sides(0).validation;
        let image = |record: &Record| {
            let name = |a: &Annotation| CLASS_NAMES[a.label - 1];
            let found =
                |a: &Annotation| json!({"box": a.xyxy, "label": a.label, "name": name(a), "score": 0.9});
            let found: Vec<Value> = record.annotations.iter().map(found).collect();
            json!({"image": record.file_name(), "width": SIZE, "height": SIZE, "detections": found})
        };
        validation.records.iter().map(image).collect()
    }
}

/// Small enough for a step in a fraction of a second; scores of random weights are all near 1 / 7.
pub fn tiny() -> FasterRcnnConfig {
    let mut config = FasterRcnnConfig::new(ResNetDepth::ResNet18, 7)
        .with_class_names(&CLASS_NAMES)
        .with_norm(NormKind::Group)
        .with_trainable_layers(5)
        .with_image_size(SIZE, SIZE);
    config.fpn_channels = 16;
    config.roi_heads.representation_size = 32;
    config.rpn.post_nms_top_n_train = 50;
    config.rpn.post_nms_top_n_test = 50;
    config
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Fails where a temporary file is left in the folder or below it.
pub fn assert_no_temporary_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Temporary files have hidden names.
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(!name.starts_with('.'), "{path:?}");
        if path.is_dir() {
            assert_no_temporary_files(&path);
        }
    }
}
