//! What the best weights do on the validation images: numbers, charts and sample pictures.

use std::fs;
use std::path::Path;

use super::config::RunConfig;
use crate::data::Dataset;
use crate::draw;
use crate::draw::{draw_annotations, draw_detections, side_by_side};
use crate::error::{Error, Result};
use crate::eval::{Evaluation, ImageResult, Tolerances, clean_images, evaluate, operating_points};
use crate::files::{write_atomically, write_bytes};
use crate::model::FasterRcnn;
use crate::predict::Predictor;
use crate::structures::Detection;

/// Detections below this score are not drawn, unless the evaluation has found a better threshold.
const DEFAULT_THRESHOLD: f32 = 0.5;

/// Evaluates `model` and writes what is found into the folder `output`.
pub(super) fn write(
    model: &FasterRcnn,
    validation: &Dataset,
    config: &RunConfig,
    output: &Path,
) -> Result<Evaluation> {
    let names = &config.model.class_names;
    let predictor = Predictor::new(model.clone());
    let results: Vec<ImageResult> = predictor.results(validation).collect::<Result<_>>()?;
    let thresholds =
        operating_points(&results, &clean_images(&results), names, Tolerances::default(), config.train.seed);
    let evaluation = evaluate(&results, names).with_thresholds(thresholds);

    let json = serde_json::to_string_pretty(&evaluation).expect("an evaluation is JSON") + "\n";
    write_bytes(&output.join("evaluation.json"), json.as_bytes())?;
    let threshold = evaluation.deep_pcb.threshold.unwrap_or(DEFAULT_THRESHOLD);
    draw::plot_evaluation(output, &results, threshold, names)?;

    let samples = output.join("samples");
    fs::create_dir_all(&samples).map_err(Error::io(&samples))?;
    for (record, result) in validation.records.iter().zip(&results).take(config.train.sample_pictures) {
        let image = record.load()?;
        let shown: Vec<Detection> =
            result.detections.iter().filter(|found| found.score >= threshold).copied().collect();
        let picture = side_by_side(&[
            ("ground truth", &draw_annotations(&image, &result.annotations, names)),
            ("predictions", &draw_detections(&image, &shown, names)),
        ]);
        let path = samples.join(record.file_name()).with_extension("png");
        write_atomically(&path, |temporary| picture.save(temporary).map_err(Error::image(&path)))?;
    }
    Ok(evaluation)
}
