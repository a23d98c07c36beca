//! Records: the same over SQLite and over PostgreSQL.

#[path = "common/postgres.rs"]
mod postgres;

use std::fs::{self, File};
use std::future::Future;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faster_rcnn::Error;
use faster_rcnn::data;
use faster_rcnn::records::{
    ExportFormat, Fields, Filter, Found, Inspection, Judgement, Keep, Milliseconds, Missed, Model, NewImage,
    NewInspection, Records, Verdict, VerdictState,
};
use image::{ImageFormat, RgbImage};
use parquet::record::reader::RowIter;
use postgres::Postgres;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

const CLASSES: [&str; 3] = ["open", "short", "Mäusebiß"];

/// A folder for a test's files.
struct Bench {
    folder: TempDir,
    records: Records,
    runtime: Runtime,
    /// Ends last.
    _postgres: Option<Postgres>,
}

impl Bench {
    fn new(postgres: Option<Postgres>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let url = match &postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite:{}", folder.path().join("a %3F?#.db").display()),
        };
        let records = runtime.block_on(Records::open(&url, folder.path().join("images"))).unwrap();
        Self { folder, records, runtime, _postgres: postgres }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run<T, F: Future<Output = T>>(&self, work: impl FnOnce(Records) -> F) -> T {
        self.runtime.block_on(work(self.records.clone()))
    }

    fn add(&self, new: NewInspection) -> Inspection {
        let added = self.run(async |records| records.add(new).await).unwrap();
        // Ids of the same millisecond sort, too; filters by time need another one.
        std::thread::sleep(Duration::from_millis(3));
        added
    }

    fn list(&self, filter: &Filter) -> Vec<Inspection> {
        self.run(async |records| records.list(filter, None, 1000).await).unwrap().items
    }

    fn judge(&self, id: uuid::Uuid, verdict: &Verdict) -> Result<Option<Inspection>, Error> {
        self.run(async |records| records.set_verdict(id, verdict).await)
    }

    /// The images in the folder.
    fn stored(&self) -> usize {
        let parts = fs::read_dir(self.path("images")).unwrap().map(|part| part.unwrap().path());
        parts.filter(|part| part.is_dir()).map(|part| fs::read_dir(part).unwrap().count()).sum()
    }
}

fn over_both(test: impl Fn(Bench)) {
    test(Bench::new(None));
    test(Bench::new(Some(Postgres::start())));
}

/// A picture of one colour as a PNG.
fn png(colour: u32) -> Vec<u8> {
    let [_, r, g, b] = colour.to_be_bytes();
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(40, 30, image::Rgb([r, g, b])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn new_image(colour: u32) -> NewImage {
    let (bytes, name) = (png(colour).into(), Some(format!("{colour}.png")));
    NewImage { bytes, name, width: 40, height: 30, media_type: "image/png".to_string() }
}

fn found(label: usize, score: f32) -> Found {
    let name = Some(CLASSES[label - 1].to_string());
    Found { xyxy: [1.5, 2.25, 20.1, 29.9], label, name, score, verdict: None }
}

fn new(colour: u32, line: &str, detections: Vec<Found>) -> NewInspection {
    NewInspection {
        model: Model { name: Some("pcb".to_string()), version: Some(3), sha256: "ab".repeat(32) },
        class_names: CLASSES.map(str::to_string).to_vec(),
        image: new_image(colour),
        reference: None,
        fields: Fields { line: Some(line.to_string()), product: None, board: None },
        score_threshold: 0.05,
        detections,
        milliseconds: Milliseconds { total: colour.into(), ..Milliseconds::default() },
        key: None,
    }
}

#[test]
fn what_goes_in_comes_out_and_text_is_text() {
    over_both(|bench| {
        let strange = "Robert'); DROP TABLE inspections; -- \"\u{1F980}\" \\ %_ \r\n\t\u{202e} $1 ?";
        let mut wanted = new(1, strange, vec![found(1, 0.97), found(3, 0.1)]);
        wanted.reference = Some(new_image(2));
        wanted.image.name = Some("../../etc/passwd".to_string());
        wanted.fields.product = Some("zero\0zero".to_string());
        wanted.fields.board = Some(String::new());
        let added = bench.add(wanted.clone());
        assert_eq!(added.detections, wanted.detections);
        assert_eq!(added.fields.line.as_deref(), Some(strange));
        assert_eq!(added.fields.product.as_deref(), Some("zero\u{FFFD}zero"));
        assert_eq!(added.image.name.as_deref(), Some("../../etc/passwd"));
        assert_eq!(bench.run(async |records| records.get(added.id).await).unwrap().as_ref(), Some(&added));
        assert_eq!(bench.run(async |records| records.get(uuid::Uuid::nil()).await).unwrap(), None);
        let json = serde_json::to_string(&added).unwrap();
        assert_eq!(serde_json::from_str::<Inspection>(&json).unwrap(), added);

        let image = |sha256: &str| bench.run(async |records| records.image(sha256).await).unwrap();
        assert_eq!(image(&added.image.sha256), Some(png(1)));
        assert_eq!(image(&added.reference.as_ref().unwrap().sha256), Some(png(2)));
        for nothing in ["../.lock", "", "ab", &"0".repeat(64), &format!("../{}", "a".repeat(61))] {
            assert_eq!(image(nothing), None, "{nothing}");
        }

        let other = bench.add(new(1, "2", vec![]));
        assert_eq!(bench.stored(), 2, "the same image is stored once");
        let zero = Filter { product: Some("zero\0zero".to_string()), ..Filter::default() };
        assert_eq!(bench.list(&zero), std::slice::from_ref(&added));
        let fields = bench.run(async |records| records.fields().await).unwrap();
        let mut lines = vec!["2".to_string(), strange.to_string()];
        lines.sort();
        assert_eq!(fields.line, lines);
        assert_eq!(fields.classes, ["Mäusebiß", "open", "short"]);
        assert_eq!(bench.list(&Filter::default()), [other, added]);
    });
}

#[test]
fn lists_are_filtered_and_paged() {
    over_both(|bench| {
        let mut all: Vec<Inspection> = (0..25)
            .map(|index| {
                let detections = if index % 5 == 0 { vec![found(2, 0.5)] } else { vec![] };
                bench.add(new(index % 4, if index % 2 == 0 { "even" } else { "odd" }, detections))
            })
            .collect();
        all.reverse();
        let (mut pages, mut before) = (Vec::new(), None);
        loop {
            let page = bench.run(async |records| records.list(&Filter::default(), before, 10).await).unwrap();
            pages.push(page.items.len());
            assert_eq!(page.items, all[pages.iter().sum::<usize>() - page.items.len()..][..page.items.len()]);
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(pages, [10, 10, 5]);

        let count = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            bench.list(&filter).len()
        };
        assert_eq!(count(&|f| f.line = Some("even".to_string())), 13);
        assert_eq!(count(&|f| f.line = Some("' OR 1=1 --".to_string())), 0);
        assert_eq!(count(&|f| f.class = Some("short".to_string())), 5);
        assert_eq!(count(&|f| f.class = Some("2".to_string())), 5);
        assert_eq!(count(&|f| f.class = Some("open".to_string())), 0);
        assert_eq!(count(&|f| f.model = Some("pcb".to_string())), 25);
        assert_eq!(count(&|f| f.model = Some("pcb/3".to_string())), 25);
        assert_eq!(count(&|f| f.model = Some("pcb/2".to_string())), 0);
        assert_eq!(count(&|f| f.model = Some("ab".repeat(32))), 25);
        assert_eq!(count(&|f| f.from = Some(all[4].time)), 5);
        assert_eq!(count(&|f| f.to = Some(all[4].time)), 20);
        assert_eq!(count(&|f| f.verdict = Some(VerdictState::Given)), 0);
        let verdict = Verdict { detections: vec![None; all[0].detections.len()], ..Verdict::default() };
        bench.judge(all[0].id, &verdict).unwrap().unwrap();
        assert_eq!(count(&|f| f.verdict = Some(VerdictState::Given)), 1);
        assert_eq!(count(&|f| f.verdict = Some(VerdictState::Pending)), 24);
    });
}

#[test]
fn verdicts_are_checked_replaced_and_counted() {
    over_both(|bench| {
        let first = bench.add(new(1, "1", vec![found(1, 0.97), found(1, 0.5), found(2, 0.06)]));
        bench.add(new(2, "1", vec![found(2, 1.0)]));
        bench.add(new(3, "2", vec![]));
        let missed = |xyxy, label| Missed { xyxy, label, name: None };
        let verdict = |detections: &[Option<Judgement>], missed: Vec<Missed>| Verdict {
            detections: detections.to_vec(),
            missed,
            by: Some("Ada".to_string()),
        };
        let (real, false_call) = (Some(Judgement::Real), Some(Judgement::FalseCall));
        let three = [real, false_call, None];
        let wrong = [
            verdict(&[real], vec![]),
            verdict(&three, vec![missed([0.0, 0.0, 5.0, 5.0], 4)]),
            verdict(&three, vec![missed([0.0, 0.0, 5.0, 5.0], 0)]),
            verdict(&three, vec![missed([0.0, 0.0, 41.0, 5.0], 1)]),
            verdict(&three, vec![missed([5.0, 0.0, 5.0, 5.0], 1)]),
            verdict(&three, vec![missed([0.0, f32::NAN, 5.0, 5.0], 1)]),
        ];
        for wrong in &wrong {
            let error = bench.judge(first.id, wrong).unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error:?}");
        }
        assert_eq!(bench.run(async |records| records.get(first.id).await).unwrap(), Some(first.clone()));
        assert_eq!(bench.judge(uuid::Uuid::nil(), &wrong[0]).unwrap(), None);

        let box_of_missed = [0.5, 1.5, 39.5, 30.0];
        bench
            .judge(first.id, &verdict(&[real; 3], vec![missed([1.0, 1.0, 2.0, 2.0], 1); 3]))
            .unwrap()
            .unwrap();
        let judged =
            bench.judge(first.id, &verdict(&three, vec![missed(box_of_missed, 3)])).unwrap().unwrap();
        assert_eq!(bench.run(async |records| records.get(first.id).await).unwrap().as_ref(), Some(&judged));
        let said: Vec<_> = judged.detections.iter().map(|found| found.verdict).collect();
        assert_eq!(said, three);
        let name = Some("Mäusebiß".to_string());
        assert_eq!(judged.missed, [Missed { xyxy: box_of_missed, label: 3, name }]);
        assert_eq!((judged.verdict_by.as_deref(), judged.verdict_time.is_some()), (Some("Ada"), true));

        let count = bench.run(async |records| records.statistics(&Filter::default()).await).unwrap();
        let json = serde_json::to_value(&count).unwrap();
        let day = first.time.to_string()[..10].to_string();
        let expected = serde_json::json!({
            "boards": 3,
            "boards_with_defects": 2,
            "days": [
                {"day": day, "line": "1", "boards": 2, "with_defects": 2},
                {"day": day, "line": "2", "boards": 1, "with_defects": 0},
            ],
            "classes": [
                {"name": "open", "label": 1, "defects": 2},
                {"name": "short", "label": 2, "defects": 2},
            ],
            "classes_by_line": [
                {"line": "1", "name": "open", "label": 1, "defects": 2},
                {"line": "1", "name": "short", "label": 2, "defects": 2},
            ],
            "scores": json["scores"],
            "verdicts": {"boards": 1, "real": 1, "false_call": 1, "missed": 1},
            "verdicts_by_class": [
                {"name": "Mäusebiß", "label": 3, "real": 0, "false_call": 0, "missed": 1},
                {"name": "open", "label": 1, "real": 1, "false_call": 1, "missed": 0},
            ],
            "milliseconds": {"median": 2.0, "p95": 3.0},
        });
        assert_eq!(json, expected);
        let bins: Vec<u64> = count.scores.iter().map(|bin| bin.defects).collect();
        let mut expected = [0; 20];
        (expected[1], expected[10], expected[19]) = (1, 1, 2);
        assert_eq!(bins, expected);
        let nothing = Filter { line: Some("3".to_string()), ..Filter::default() };
        let nothing = bench.run(async |records| records.statistics(&nothing).await).unwrap();
        assert_eq!((nothing.boards, nothing.milliseconds, nothing.scores.len()), (0, None, 20));
    });
}

#[test]
fn a_key_is_stored_once_also_by_several_at_once() {
    over_both(|bench| {
        let ids = bench.run(async |records| {
            let tasks: Vec<_> = (0..16)
                .map(|index| {
                    let (records, mut new) = (records.clone(), new(index, "1", vec![found(1, 0.9)]));
                    new.key = Some(format!("key {}", index % 2));
                    tokio::spawn(async move { records.add(new).await.unwrap().id })
                })
                .collect();
            let mut ids = Vec::new();
            for task in tasks {
                ids.push(task.await.unwrap());
            }
            ids.sort();
            ids.dedup();
            ids
        });
        let mut listed: Vec<_> = bench.list(&Filter::default()).iter().map(|one| one.id).collect();
        listed.sort();
        assert_eq!((ids.len(), ids), (2, listed));
    });
}

#[test]
fn the_oldest_go_and_images_in_use_stay() {
    over_both(|bench| {
        let size = |colours: &[u32]| colours.iter().map(|colour| png(*colour).len() as u64).sum();
        for index in 0..6 {
            // The first and the last share their image.
            bench.add(new(index % 5, "1", vec![found(1, 0.9)]));
        }
        let keep = |keep: &str| {
            let keep: Keep = keep.parse().unwrap();
            bench.run(async |records| records.keep(keep).await).unwrap()
        };
        assert_eq!(keep("1d,1GB").inspections, 0);
        let limit = Keep { age: None, bytes: Some(size(&[3, 4, 0])) };
        let removed = bench.run(async |records| records.keep(limit).await).unwrap();
        assert_eq!((removed.inspections, removed.images, removed.bytes), (3, 2, size(&[1, 2])));
        assert_eq!((bench.list(&Filter::default()).len(), bench.stored()), (3, 3));
        assert_eq!(keep("0h").inspections, 3);
        assert_eq!((bench.list(&Filter::default()).len(), bench.stored()), (0, 0));

        // While others add the same few images again and again, none of theirs goes.
        bench.run(async |records| {
            let adders: Vec<_> = (0..4)
                .map(|_| {
                    let records = records.clone();
                    tokio::spawn(async move {
                        for index in 0..25 {
                            records.add(new(index % 3, "1", vec![])).await.unwrap();
                        }
                    })
                })
                .collect();
            while !adders.iter().all(|adder| adder.is_finished()) {
                records.keep(Keep { age: None, bytes: Some(size(&[0])) }).await.unwrap();
            }
            for adder in adders {
                adder.await.unwrap();
            }
            for one in records.list(&Filter::default(), None, 1000).await.unwrap().items {
                assert!(records.image(&one.image.sha256).await.unwrap().is_some(), "an image is lost");
            }
        });
    });
}

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
        bench.judge(first.id, &Verdict { detections, missed, by: None }).unwrap().unwrap();
        bench.judge(second.id, &Verdict::default()).unwrap().unwrap();
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

#[test]
fn a_postgres_that_is_gone_is_an_error_soon_and_comes_back() {
    let mut bench = Bench::new(Some(Postgres::start()));
    let before = bench.add(new(1, "1", vec![found(1, 0.9)]));
    bench._postgres.as_mut().unwrap().kill();
    let started = Instant::now();
    for _ in 0..2 {
        let error = bench.run(async |records| records.add(new(2, "1", vec![])).await).unwrap_err();
        assert!(matches!(error, Error::Database { .. }), "{error:?}");
        assert!(!format!("{error:#}").contains("boards@"), "{error:#}");
    }
    assert!(bench.run(async |records| records.ping().await).is_err());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    bench._postgres.as_mut().unwrap().restart();
    bench.run(async |records| records.ping().await).unwrap();
    let after = bench.add(new(2, "1", vec![]));
    assert_eq!(bench.list(&Filter::default()), [after, before]);
}

#[test]
fn several_open_a_new_database_at_once_and_wrong_ones_are_refused() {
    over_both(|bench| {
        let url = match &bench._postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite:{}", bench.path("new.db").display()),
        };
        bench.runtime.block_on(async {
            let opens: Vec<_> =
                (0..8).map(|_| tokio::spawn(Records::open(url.clone().leak(), bench.path("new")))).collect();
            for open in opens {
                open.await.unwrap().unwrap().ping().await.unwrap();
            }
        });
    });
    let open = |url: &str, images: &Path| {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(Records::open(url, images))
    };
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["", "boards.db", "mysql://secret@host/boards", "sqlite:"] {
        let error = open(wrong, folder.path()).unwrap_err();
        assert!(matches!(error, Error::Config(_)) && !error.to_string().contains("secret"), "{error:?}");
    }
    let file = folder.path().join("text.db");
    fs::write(
        &file,
        "this is no database, but long enough to be read as the header of one, which it is not. ".repeat(9),
    )
    .unwrap();
    let error = open(&format!("sqlite:{}", file.display()), folder.path()).unwrap_err();
    assert!(matches!(error, Error::Database { .. }) && error.to_string().contains("text.db"), "{error:?}");
}
