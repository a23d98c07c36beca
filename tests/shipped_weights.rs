//! The weights that come with the crate, on the real images of DeepPCB.

#[path = "common/deep_pcb.rs"]
mod images;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::Device;
use faster_rcnn::data::{self, Dataset};
use faster_rcnn::eval::{ImageResult, Tolerances, clean_images, evaluate, operating_points};
use faster_rcnn::image::{RgbImage, imageops};
use faster_rcnn::weights::{self, DEEP_PCB_SMALL, DEEP_PCB_SMALL_REFERENCE};
use faster_rcnn::{Annotation, Detection, Predictor, Tiles};

/// Sides of a board of DeepPCB, in pixels.
const SIDE: usize = 640;
/// Boards in a row of the large one.
const ROW: usize = 5;

/// One test at a time: one of them takes the time.
static ALONE: Mutex<()> = Mutex::new(());

/// The boards of two plates that the weights were not trained on, or none with a message.
fn unseen() -> Option<Dataset> {
    let mut data = data::open(images::folder()?).unwrap();
    let is_held_out = |name: &str| ["7700008", "7700009"].iter().any(|plate| name.starts_with(plate));
    data.records.retain(|record| is_held_out(record.file_name()));
    assert_eq!(data.records.len(), 20);
    Some(data)
}

fn predictor(name: &str) -> Predictor {
    let path = weights::find(name, |_, _| ()).unwrap();
    Predictor::load(path, &Device::flex()).unwrap()
}

/// With references: DeepPCB's mAP and F-score, COCO's AP, and false calls a board at two recalls. Alone: mAP.
#[test]
fn boards_not_trained_on_are_as_well_understood_as_asked_for() {
    let Some(data) = unseen() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let results = |name| predictor(name).results(&data).collect::<Result<Vec<ImageResult>, _>>().unwrap();
    let together = results(DEEP_PCB_SMALL_REFERENCE);
    let found = evaluate(&together, &data.class_names);
    let (map, f_score) = (found.deep_pcb.map.unwrap(), found.deep_pcb.f_score.unwrap());
    let ap = found.coco.overall.ap.unwrap();
    println!("with references: mAP {map:.4}, F-score {f_score:.4}, AP {ap:.4}");
    assert!(map >= 0.985 && f_score >= 0.975 && ap >= 0.76, "{map} {f_score} {ap}");

    let clean = clean_images(&together);
    let points = operating_points(&together, &clean, &data.class_names, Tolerances::default(), 0);
    for (recall, most) in [(0.95, 0.1), (0.98, 0.3)] {
        let at = points.overall.false_calls.iter().find(|at| at.recall == recall).unwrap();
        let calls = at.per_board.unwrap();
        println!("false calls a board at a recall of {recall}: {calls:.2}");
        assert!(calls <= most, "{calls} at {recall}");
    }

    let map = evaluate(&results(DEEP_PCB_SMALL), &data.class_names).deep_pcb.map.unwrap();
    println!("alone: mAP {map:.4}");
    assert!(map >= 0.95, "{map}");
}

/// A board of 5 x 5 boards is as well understood as they are, in little more than the time of its windows.
#[test]
fn a_large_board_is_as_good_as_its_parts() {
    let Some(data) = unseen() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    faster_rcnn::keep_heap();
    let predictor = predictor(DEEP_PCB_SMALL_REFERENCE);
    // Five of them twice.
    let records = data.records.iter().cycle().take(ROW * ROW);
    let (side, mut annotations) = (ROW * SIDE, Vec::new());
    let [mut board, mut reference] = [0, 1].map(|_| RgbImage::new(side as u32, side as u32));
    let mut single = Vec::new();
    for (index, record) in records.enumerate() {
        let (left, top) = ((index % ROW * SIDE) as i64, (index / ROW * SIDE) as i64);
        let (image, good) = (record.load().unwrap(), record.load_reference().unwrap());
        imageops::replace(&mut board, &image, left, top);
        imageops::replace(&mut reference, &good, left, top);
        let detections = predictor.detect_against(&image, &good).unwrap();
        single.push(ImageResult { annotations: record.annotations.clone(), detections });
        let moved = |annotation: &Annotation| {
            let [x1, y1, x2, y2] = annotation.xyxy;
            let (x, y) = (left as f32, top as f32);
            Annotation { xyxy: [x1 + x, y1 + y, x2 + x, y2 + y], ..*annotation }
        };
        annotations.extend(record.annotations.iter().map(moved));
    }
    let tiled = predictor.with_tiles(Tiles { size: SIDE, overlap: 64 }).unwrap();
    let detections = tiled.detect_against(&board, &reference).unwrap();
    let parts = in_parts(&annotations, &detections);

    let [whole, single] = [&parts, &single].map(|results| evaluate(results, &data.class_names));
    let [of_parts, alone] = [&whole, &single].map(|all| all.deep_pcb.map.unwrap());
    println!("mAP {of_parts:.4} in the large board, {alone:.4} alone");
    println!("AP {:?} and {:?}", whole.coco.overall.ap, single.coco.overall.ap);
    assert!((of_parts - alone).abs() <= 0.005, "{of_parts} {alone}");

    // The windows alone, at the same places, as images of their own. One view of each is enough for times.
    let predictor = predictor.with_views(1).unwrap();
    let tiled = tiled.with_views(1).unwrap();
    let windows: Vec<_> = (0..36).map(|index| ((index / 6) * 512, (index % 6) * 512)).collect();
    let crop = |image: &RgbImage, (top, left): (usize, usize)| {
        imageops::crop_imm(image, left as u32, top as u32, SIDE as u32, SIDE as u32).to_image()
    };
    let windows: Vec<_> = windows.into_iter().map(|at| (crop(&board, at), crop(&reference, at))).collect();
    let mut ratios: Vec<f64> = (0..3)
        .map(|_| {
            let started = Instant::now();
            for (image, good) in &windows {
                predictor.detect_against(image, good).unwrap();
            }
            let alone = started.elapsed();
            let started = Instant::now();
            tiled.detect_against(&board, &reference).unwrap();
            started.elapsed().as_secs_f64() / alone.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!("time over that of the windows alone: {ratios:.3?}");
    assert!(ratios[1] <= 1.15, "{ratios:?}");
}

/// The objects and detections of each board of the large one, by their centres, in pixels of the large one.
fn in_parts(annotations: &[Annotation], detections: &[Detection]) -> Vec<ImageResult> {
    let part = |index: usize| {
        let from = |index: usize| -> Range<f32> { (index * SIDE) as f32..((index + 1) * SIDE) as f32 };
        let (rows, columns) = (from(index / ROW), from(index % ROW));
        let is_inside = |[x1, y1, x2, y2]: [f32; 4]| {
            columns.contains(&((x1 + x2) / 2.0)) && rows.contains(&((y1 + y2) / 2.0))
        };
        ImageResult {
            annotations: annotations.iter().filter(|object| is_inside(object.xyxy)).copied().collect(),
            detections: detections.iter().filter(|found| is_inside(found.xyxy)).cloned().collect(),
        }
    };
    (0..ROW * ROW).map(part).collect()
}
