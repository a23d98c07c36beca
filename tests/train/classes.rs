//! Where the classes of a run come from, and what labels there may be.

use faster_rcnn::data::{Dataset, Split};
use faster_rcnn::structures::Annotation;
use faster_rcnn::train::{Run, RunConfig};

use super::{boards, config};

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
