//! What a run takes from the data set: classes, corners of boxes; and what labels there may be.

use faster_rcnn::data::{Dataset, Split};
use faster_rcnn::structures::{Annotation, Corners};
use faster_rcnn::train::{Run, RunConfig};

use super::{boards, config, metrics, with_epochs};

fn renamed(data: &Split, names: &[&str]) -> Split {
    let named = |data: &Dataset| Dataset {
        class_names: names.iter().map(ToString::to_string).collect(),
        ..data.clone()
    };
    Split { train: named(&data.train), validation: named(&data.validation) }
}

fn error(config: RunConfig, data: Split) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let error = Run::new(config, data).prepare(&output).unwrap_err().to_string();
    assert!(!output.exists());
    error
}

#[test]
fn classes_come_from_the_data_where_the_settings_say_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let six = ["a", "b", "c", "d", "e", "f"];
    let run = Run::new(config(), renamed(&data, &six)).prepare(folder.path().join("run")).unwrap();
    assert_eq!(
        (run.config().model.num_classes, run.config().model.class_names.as_slice()),
        (7, &six.map(String::from)[..])
    );

    let mut named = config();
    named.model = named.model.with_class_names(&["a", "b"]);
    let message = error(named, renamed(&data, &six));
    assert!(message.contains("are a, b, but") && message.contains("6 classes a, b, c, d, e, f"), "{message}");
    let mut numbered = config();
    numbered.model.num_classes = 5;
    let message = error(numbered, renamed(&data, &six));
    assert!(
        message.contains("num_classes is 5") && message.contains("6 classes a, b, c, d, e, f"),
        "{message}"
    );
    let mut other = renamed(&data, &six);
    other.validation.class_names[2] = "z".to_string();
    let message = error(config(), other);
    assert!(message.contains("a, b, c, d, e, f") && message.contains("a, b, z, d, e, f"), "{message}");
    assert!(error(config(), renamed(&data, &[])).contains("names no classes"));
}

#[test]
fn images_and_labels_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    let mut empty = data.clone();
    empty.validation.records.clear();
    assert!(error(config(), empty).contains("there are no validation images"));
    for label in [0, 7] {
        let mut other = data.clone();
        other.train.records[2].annotations.push(Annotation::new([1.0, 1.0, 9.0, 9.0], label));
        let message = error(config(), other);
        let name = data.train.records[2].name.clone();
        assert!(message.contains(&name) && message.contains(&label.to_string()), "{message}");
    }
}

/// Mirrored boards, and so the loss of a step, depend on what corners are. The data set says it, or a
/// setting.
#[test]
fn corners_of_boxes_come_from_the_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let data = boards(&folder.path().join("boards"));
    assert_eq!(data.train.corners, Corners::Pixels, "the boards are in DeepPCB's format");
    let run = |name: &str, setting: Option<Corners>| {
        let mut config = with_epochs(1);
        config.augment.horizontal_flip = 1.0;
        config.model.corners = setting;
        let output = folder.path().join(name);
        Run::new(config, data.clone()).fit(&output).unwrap();
        let corners = RunConfig::load(output.join("config.toml"), &[]).unwrap().model.corners;
        (corners, metrics(&output)[0]["loss_box_reg"].as_f64().unwrap())
    };
    let (corners, loss) = run("unset", None);
    assert_eq!((corners, loss), run("pixels", Some(Corners::Pixels)));
    let (corners, other) = run("edges", Some(Corners::Edges));
    assert!(corners == Some(Corners::Edges) && other != loss);

    let validation = Dataset { corners: Corners::Edges, ..data.validation.clone() };
    let error =
        Run::new(with_epochs(1), Split { validation, ..data }).fit(folder.path().join("two")).unwrap_err();
    assert!(error.to_string().contains("corners are edges in one"), "{error}");
}
