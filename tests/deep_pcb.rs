//! The real images of DeepPCB, where `DEEPPCB_DIR` names the folder that holds them.

use std::path::PathBuf;

use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::data::{self, Format, Split};

/// The data set, or none with a message.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("DEEPPCB_DIR").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: DEEPPCB_DIR is not set");
    }
    folder
}

#[test]
fn the_real_data_set_is_read_without_a_fault() {
    let Some(folder) = folder() else { return };
    let report = Format::DeepPcb.check(&folder).unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    println!("{} warnings: {:#?}", report.warnings.len(), report.warnings);

    let Split { train, validation } = data::open(&folder).unwrap().sides(0);
    let images = train.records.len() + validation.records.len();
    assert!(images >= 1000, "{images} images");
    let mut counts = [0; CLASS_NAMES.len()];
    for record in train.records.iter().chain(&validation.records) {
        assert_eq!(record.size, (640, 640), "{}", record.file_name());
        assert!(!record.annotations.is_empty(), "{}", record.file_name());
        for object in &record.annotations {
            counts[object.label - 1] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
    let image = train.records[0].load().unwrap();
    assert_eq!(image.dimensions(), (640, 640));
    assert!(image.pixels().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
}
