//! Settings of any value: an error, or a detector that works.

use burn::tensor::Device;
use image::RgbImage;
use toml::Value;

use crate::any_number;
use crate::error::Error;
use crate::model::{FasterRcnnConfig, Tiles};
use crate::predict::Predictor;

/// The smallest and fastest detector there is, with something to find.
fn smallest() -> FasterRcnnConfig {
    let mut config = FasterRcnnConfig::tiny(3).with_image_size(32, 32).with_score_thresh(0.0);
    config.rpn.pre_nms_top_n_test = 20;
    config.tiles = Some(Tiles { size: 32, overlap: 0 });
    config
}

#[test]
fn any_number_in_the_settings_is_an_error_or_works() {
    let settings = Value::try_from(smallest()).unwrap();
    let cases = any_number::cases(&settings);
    assert!(cases.len() > 500, "{}", cases.len());
    let (mut refused, mut worked) = (0, 0);
    let board = RgbImage::from_fn(20, 20, |x, y| image::Rgb([(x * 12) as u8, (y * 12) as u8, 128]));
    for case in &cases {
        let (path, value) = (&case.path, &case.value);
        let Ok(config) = case.settings.clone().try_into::<FasterRcnnConfig>() else {
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
                // Image values of any scale may lead to infinities, which is an error of its own.
                match Predictor::new(config.init(&Device::flex())).detect(&board) {
                    Ok(_) | Err(Error::NonFinite(_)) => worked += 1,
                    Err(error) => panic!("{path:?} = {value}: {error}"),
                }
            }
        }
    }
    println!("{refused} values refused, {worked} worked");
    assert!(refused > worked && worked > 40);
}

#[test]
fn all_of_something_is_an_error_that_says_the_most() {
    let mut config = smallest();
    config.rpn.pre_nms_top_n_train = usize::MAX;
    let message = config.validate().unwrap_err().to_string();
    assert_eq!(message, "rpn.pre_nms_top_n_train must be in 1..=65536, is 18446744073709551615");

    // The weights of a layer have these numbers of channels on both sides.
    let message = smallest().with_fpn_channels(4097).validate().unwrap_err().to_string();
    assert_eq!(message, "fpn_channels must be in 1..=4096, is 4097");
    let message = smallest().with_representation_size(16_385).validate().unwrap_err().to_string();
    assert_eq!(message, "roi_heads.representation_size must be in 1..=16384, is 16385");
}

#[test]
fn classes_come_from_the_data_where_the_settings_do_not_say_them() {
    let names = ["open", "short"];
    let of = |num_classes, class_names: &[&str]| {
        let mut config = FasterRcnnConfig::tiny(num_classes);
        config.class_names = class_names.iter().map(ToString::to_string).collect();
        config.for_classes(&names)
    };
    for config in [of(0, &[]), of(3, &[]), of(0, &names), of(3, &names)] {
        let config = config.unwrap();
        assert_eq!((config.num_classes, config.class_names.as_slice()), (3, &names.map(String::from)[..]));
        config.validate().unwrap();
    }
    for config in [of(2, &[]), of(4, &[]), of(3, &["short", "open"]), of(0, &["open"]), of(4, &names)] {
        assert!(matches!(config, Err(Error::Config(_))));
    }
    let message = of(2, &["hole"]).unwrap_err().to_string();
    assert_eq!(
        message,
        "num_classes is 2 with the background and class_names are hole, but the data set has the 2 classes \
         open, short"
    );
}
