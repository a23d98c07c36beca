//! Settings of a run of any value: an error, or numbers that a run can calculate with.

use image::RgbImage;
use toml::Value;

use super::config::RunConfig;
use super::learning_rates::LearningRates;
use super::position::Position;
use super::schedule::Schedule;
use crate::any_number;
use crate::data::{Loader, RandomKey, Record, augment};
use crate::error::Error;
use crate::model::{FasterRcnnConfig, Tiles};
use crate::structures::{Annotation, ReferenceInput};

/// All settings that have a number, with one.
fn complete() -> RunConfig {
    let mut config = RunConfig::new(FasterRcnnConfig::tiny(3));
    config.train.norm_weight_decay = Some(0.0);
    config.train.bias_weight_decay = Some(0.0);
    config.train.clip_norm = Some(5.0);
    config.train.ema_decay = Some(0.5);
    config.train.early_stopping = Some(3);
    config.train.checkpoint_steps = Some(100);
    config.augment.crop = Some((6, 6));
    config.model.tiles = Some(Tiles { size: 32, overlap: 0 });
    config.augment.inverted_labels = vec![2, 1];
    config
}

/// Calculates what a run with 7 images on 8 devices does.
fn calculate(config: &RunConfig) {
    let records = vec![Record::new("1.jpg", (8, 8), Vec::new()); 7];
    for schedule in [config.train.schedule.clone(), Schedule::Cosine] {
        let mut train = config.train.clone();
        train.schedule = schedule;
        let loader = Loader::in_order(&records, train.batch_size, train.loader_threads).shard(0, 8);
        assert_eq!(loader.batches(), 1);
        for batches in [1, 1_000_000] {
            let rates = LearningRates::new(&train, batches);
            let all = Position::after(train.epochs).in_batches(batches);
            assert_eq!(Some(all), train.epochs.checked_mul(batches));
            for batch in [0, all / 2, all - 1] {
                let rate = rates.rate_of_batch(batch);
                assert!(rate.is_finite() && rate >= 0.0, "{rate}");
            }
        }
    }
    let key = RandomKey { seed: config.train.seed, epoch: 1, image: 0 };
    let box_of = |label| Annotation::new([1.0, 1.0, 5.0, 5.0], label);
    let boxes = [box_of(1), box_of(2)];
    let (image, _) = augment(RgbImage::new(8, 8), &boxes, &config.augment, ReferenceInput::Difference, key);
    assert!(image.width() <= 80 && image.height() <= 80);
}

#[test]
fn any_number_in_a_runs_settings_is_an_error_or_can_be_calculated_with() {
    let settings = Value::try_from(complete()).unwrap();
    let cases = any_number::cases(&settings);
    for key in [
        "epochs",
        "warmup_steps",
        "milestones",
        "clip_norm",
        "early_stopping",
        "checkpoint_steps",
        "crop",
        "invert",
        "inverted_labels",
        "scale_jitter",
    ] {
        assert!(cases.iter().any(|case| case.key() == key), "{key}");
    }
    let (mut refused, mut worked) = (0, 0);
    for case in &cases {
        let (path, value) = (&case.path, &case.value);
        let Ok(config) = case.settings.clone().try_into::<RunConfig>() else {
            refused += 1;
            continue;
        };
        match config.validate() {
            Err(Error::Config(message)) => {
                assert!(message.contains(case.key()), "{path:?} = {value}: {message}");
                refused += 1;
            }
            Err(error) => panic!("{path:?} = {value}: {error:?}"),
            Ok(()) => {
                calculate(&config);
                worked += 1;
            }
        }
    }
    println!("{refused} values refused, {worked} worked");
    assert!(refused > worked && worked > 50);
}
