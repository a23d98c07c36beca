//! Tables and data sets.

use std::fs::{self, File};
use std::io::Read;

use faster_rcnn::Error;
use faster_rcnn::data;
use faster_rcnn::records::{ExportFormat, Filter, Judgement, Missed, Verdict};
use parquet::record::reader::RowIter;

use crate::bench::{CLASSES, found, new, new_image, over_both, png};

#[test]
fn exports_are_read_back() {
    over_both(|bench| {
        let mut first = new(1, "=1+1, \"quoted\"", vec![found(1, 0.97), found(2, 0.5), found(3, 0.25)]);
        first.reference = Some(new_image(9));
        let first = bench.add(first);
        let second = bench.add(new(2, "2", vec![]));
        bench.add(new(3, "2", vec![found(1, 0.9)]));
        let detections = vec![Some(Judgement::Real), Some(Judgement::FalseCall), None];
        let missed = vec![Missed { xyxy: [2.0, 3.0, 12.0, 13.0], label: 2, name: None }];
        bench.judged(first.id, &Verdict { detections, missed, ..Verdict::default() });
        bench.judged(second.id, &Verdict::default());
        let export = |format, name: &str| {
            let path = bench.path(name);
            let count = bench.run(async |records| records.export(&Filter::default(), format, &path).await);
            (count.unwrap(), path)
        };

        let (count, path) = export(ExportFormat::Csv, "all.csv");
        let mut table = csv::Reader::from_path(&path).unwrap();
        let headers = table.headers().unwrap().clone();
        let rows: Vec<csv::StringRecord> = table.records().collect::<Result<_, _>>().unwrap();
        assert_eq!((count, rows.len()), (3, 6));
        let column = |name: &str| {
            let index = headers.iter().position(|header| header == name).unwrap();
            rows.iter().map(|row| row[index].to_string()).collect::<Vec<_>>()
        };
        assert_eq!(column("verdict"), ["", "", "real", "false_call", "", "missed"]);
        assert_eq!(column("score"), ["0.9", "", "0.97", "0.5", "0.25", ""]);
        assert_eq!(column("line")[2], "=1+1, \"quoted\"");
        assert_eq!(column("x2")[5], "12");

        let (count, path) = export(ExportFormat::Parquet, "all.parquet");
        let reader = parquet::file::reader::SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
        let parquet: Vec<_> = RowIter::from_file_into(Box::new(reader)).collect::<Result<_, _>>().unwrap();
        assert_eq!((count, parquet.len()), (3, 6));
        let line = headers.iter().position(|header| header == "line").unwrap();
        let score = headers.iter().position(|header| header == "score").unwrap();
        use parquet::record::RowAccessor;
        assert_eq!(parquet[2].get_string(line).unwrap(), "=1+1, \"quoted\"");
        assert_eq!(parquet[2].get_double(score).unwrap() as f32, 0.97);
        assert!(parquet[1].get_double(score).is_err(), "a board without detections has no score");

        let (count, path) = export(ExportFormat::Coco, "coco");
        let data = data::open(&path).unwrap();
        assert_eq!((count, data.records.len()), (2, 2));
        assert_eq!(data.class_names, CLASSES);
        let board = data.records.iter().find(|board| !board.annotations.is_empty()).unwrap();
        let objects: Vec<_> =
            board.annotations.iter().map(|object| (object.label, object.is_ignored())).collect();
        assert_eq!(objects, [(1, false), (3, true), (2, false)]);
        assert_eq!(board.annotations[2].xyxy, [2.0, 3.0, 12.0, 13.0]);
        assert_eq!(board.image.read().unwrap(), png(1));
        assert_eq!(board.reference.as_ref().unwrap().read().unwrap(), png(9));

        let (count, archive) = export(ExportFormat::CocoZip, "coco.zip");
        let mut zip = zip::ZipArchive::new(File::open(archive).unwrap()).unwrap();
        assert_eq!((count, zip.len()), (2, 4));
        for index in 0..zip.len() {
            let mut file = zip.by_index(index).unwrap();
            let (name, mut bytes) = (file.name().unwrap().into_owned(), Vec::new());
            file.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, fs::read(path.join(&name)).unwrap(), "{name}");
        }
        let occupied =
            bench.run(async |records| records.export(&Filter::default(), ExportFormat::Coco, &path).await);
        assert!(matches!(occupied, Err(Error::File { .. })), "{occupied:?}");
    });
}
