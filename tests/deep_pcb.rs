//! The real images of DeepPCB, where `DEEPPCB_DIR` names the folder that holds them.

#[path = "common/deep_pcb.rs"]
mod images;

use std::collections::HashSet;

use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::data::{self, Dataset, Format, Report, Side, Split, check_images};

use images::folder;

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

/// Copies of a board are found, and different boards are no copies, be they of one plate.
#[cfg(feature = "data")]
#[test]
fn copies_of_real_boards_are_found_and_different_ones_are_not() {
    use std::time::Instant;

    use faster_rcnn::data::Record;
    use faster_rcnn::image::codecs::jpeg::JpegEncoder;
    use faster_rcnn::image::{self, RgbImage, imageops};

    let Some(folder) = folder() else { return };
    let data = data::open(&folder).unwrap();
    let mut report = Report::default();
    let started = Instant::now();
    check_images(&data, &mut report, || ()).unwrap();
    println!("{} boards: {:.1} s", data.records.len(), started.elapsed().as_secs_f64());
    let near = report.warnings.iter().filter(|warning| warning.to_string().contains("almost the same"));
    assert_eq!(near.count(), 0, "{:#?}", report.warnings);

    let copies = tempfile::tempdir().unwrap();
    type Change = fn(&RgbImage) -> RgbImage;
    let changes: [(&str, Change); 5] = [
        ("jpeg quality 30", |image| {
            let mut bytes = Vec::new();
            image.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 30)).unwrap();
            image::load_from_memory(&bytes).unwrap().into_rgb8()
        }),
        ("brighter", |image| {
            let mut image = image.clone();
            image.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value.saturating_add(20)));
            image
        }),
        ("darker", |image| {
            let mut image = image.clone();
            image.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|value| value / 10 * 9));
            image
        }),
        ("2 pixels cut off", |image| {
            imageops::crop_imm(image, 2, 2, image.width() - 2, image.height() - 2).to_image()
        }),
        ("half the size", |image| {
            imageops::resize(image, image.width() / 2, image.height() / 2, imageops::FilterType::Triangle)
        }),
    ];
    let boards: Vec<&Record> = data.records.iter().step_by(20).collect();
    for (name, change) in changes {
        let mut records: Vec<Record> =
            boards.iter().map(|record| (*record).clone().with_side(Side::Train)).collect();
        for (index, record) in boards.iter().enumerate() {
            let path = copies.path().join(format!("{index}.png"));
            change(&record.load().unwrap()).save(&path).unwrap();
            records.push(Record::from_image(path, vec![]).unwrap().with_side(Side::Validation));
        }
        let mut report = Report::default();
        check_images(&Dataset::new(records, CLASS_NAMES), &mut report, || ()).unwrap();
        let expected = |index: usize| {
            let copy = copies.path().join(format!("{index}.png"));
            format!(
                "{}: almost the same picture as {}: it is trained on and validated on",
                copy.display(),
                boards[index].image
            )
        };
        let warnings: Vec<String> = report.warnings.iter().map(|warning| warning.to_string()).collect();
        let found = (0..boards.len()).filter(|index| warnings.contains(&expected(*index))).count();
        println!("{name}: {found} of {} copies are found", boards.len());
        assert!(found * 100 >= 95 * boards.len(), "{name}: {found} of {}", boards.len());
        assert_eq!(found, warnings.len(), "{name}: {warnings:#?}");
    }
}

/// Held out by plate, a part has its share of images and classes; by DeepPCB's own kind of lists, plates are
/// on both sides, and `check` says so once.
#[test]
fn plates_are_held_out_whole() {
    let Some(folder) = folder() else { return };
    let data = data::open(&folder).unwrap();
    let count = |data: &Dataset, label: usize| {
        let objects = data.records.iter().flat_map(|record| &record.annotations);
        objects.filter(|object| object.label == label).count() as f64
    };
    for seed in 0..3 {
        let Split { train, validation } = data.clone().split(0.1, seed);
        let plates = |data: &Dataset| -> HashSet<String> {
            data.records.iter().map(|record| record.file_name()[..7].to_string()).collect()
        };
        let (trained, held_out) = (plates(&train), plates(&validation));
        assert!(trained.is_disjoint(&held_out));
        let share = validation.records.len() as f64 / data.records.len() as f64;
        println!("seed {seed}: {} plates of {}, {share:.3} of the images", held_out.len(), trained.len());
        assert!((0.09..=0.11).contains(&share), "{share}");
        for label in 1..=CLASS_NAMES.len() {
            let share = count(&validation, label) / count(&data, label);
            println!("  {}: {share:.3}", CLASS_NAMES[label - 1]);
            assert!((0.08..=0.12).contains(&share), "{}: {share}", CLASS_NAMES[label - 1]);
        }
    }

    // One board in three for the test, as the complete data set has it.
    let side = |index: usize| if index.is_multiple_of(3) { Side::Test } else { Side::Train };
    let records = data.records.into_iter().enumerate().map(|(index, record)| record.with_side(side(index)));
    let mut report = Report::default();
    check_images(&Dataset::new(records.collect(), CLASS_NAMES), &mut report, || ()).unwrap();
    let plates: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    let plates: Vec<&String> =
        plates.iter().filter(|warning| warning.contains("of the same group")).collect();
    assert_eq!(plates.len(), 1, "{plates:#?}");
    println!("{}", plates[0]);
}

/// What the references of real boards differ by, before and after they are brought onto their boards, by kind
/// of board; and how long that takes.
#[cfg(feature = "align")]
#[test]
fn references_of_real_boards_are_brought_onto_them() {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use faster_rcnn::ReferenceAlign;
    use faster_rcnn::data::{Record, pair};

    let Some(folder) = folder() else { return };
    let data = data::open(&folder).unwrap();
    let aligns = [ReferenceAlign::Off, ReferenceAlign::Translation, ReferenceAlign::Affine];
    // By kind, the first five digits of a name: boards, and the part of the pixels that differ by a quarter
    // of the range, summed over the boards.
    let mut kinds: BTreeMap<String, (usize, [f64; 3])> = BTreeMap::new();
    let mut seconds = [0.0; 3];
    let mut boards = 0;
    for record in data.records.iter().step_by(10) {
        let (board, reference) = (record.load().unwrap(), record.load_reference().unwrap());
        let kind = kinds.entry(record.file_name()[..5].to_string()).or_default();
        kind.0 += 1;
        boards += 1;
        for (index, align) in aligns.into_iter().enumerate() {
            let started = Instant::now();
            let pair = pair(&board, &reference, align).unwrap();
            seconds[index] += started.elapsed().as_secs_f64();
            let differ = pair.pixels().filter(|pixel| pixel[2] > 64).count();
            kind.1[index] += differ as f64 / f64::from(pair.width() * pair.height());
        }
    }
    let mean = |index: usize| kinds.values().map(|(_, parts)| parts[index]).sum::<f64>() / f64::from(boards);
    // Interpolation softens edges, so that kinds that fit lose a little; together they gain.
    assert!(mean(2) < 0.95 * mean(0), "{} {}", mean(2), mean(0));
    for (kind, (boards, parts)) in &kinds {
        let [off, shifted, mapped] = parts.map(|part| 100.0 * part / *boards as f64);
        println!(
            "{kind}, {boards} boards: {off:.2} % of the pixels differ, shifted {shifted:.2} %, mapped {mapped:.2} %"
        );
    }
    let [off, shifted, mapped] = seconds.map(|seconds| 1000.0 * seconds / f64::from(boards));
    println!("a pair takes {off:.1} ms, shifted {shifted:.1} ms, mapped {mapped:.1} ms");

    // A board of another kind is no reference.
    let others = data.records.iter().cycle().skip(data.records.len() / 2);
    let kind = |record: &Record| record.file_name()[..5].to_string();
    for (record, other) in data.records.iter().zip(others).step_by(20).filter(|(a, b)| kind(a) != kind(b)) {
        let (board, reference) = (record.load().unwrap(), other.load_reference().unwrap());
        for align in aligns {
            let error = pair(&board, &reference, align).unwrap_err();
            assert!(error.to_string().contains("correlation"), "{} and {}: {error}", record.name, other.name);
        }
    }
}
