//! The oldest records go.

use std::fs::File;
use std::time::{Duration, SystemTime};

use faster_rcnn::records::{Filter, Keep, Records};

use crate::bench::{Bench, found, new, over_both, png};

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
                            records.add(new(index % 3, "1", vec![found(1, 0.9)])).await.unwrap();
                        }
                    })
                })
                .collect();
            let reader = records.clone();
            let reader = tokio::spawn(async move {
                for _ in 0..200 {
                    let listed = reader.list(&Filter::default(), None, 1000).await.unwrap().items;
                    let is_whole = listed.iter().all(|one| one.detections.len() == 1);
                    assert!(is_whole, "a board that is just removed looks like one without defects");
                }
            });
            while !(reader.is_finished() && adders.iter().all(|adder| adder.is_finished())) {
                records.keep(Keep { age: None, bytes: Some(size(&[0])) }).await.unwrap();
            }
            for task in adders.into_iter().chain([reader]) {
                task.await.unwrap();
            }
            for one in records.list(&Filter::default(), None, 1000).await.unwrap().items {
                assert!(records.image(&one.image.sha256).await.unwrap().is_some(), "an image is lost");
            }
        });
    });
}

/// Looking for what killed processes left reads the whole folder: once a day is enough.
#[test]
fn images_left_behind_go_at_the_first_call() {
    let bench = Bench::new(None);
    let kept = bench.add(new(1, "1", vec![]));
    let leave = || {
        let path = bench.path(&format!("images/ab/{}", "ab".repeat(32)));
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * 3600)).unwrap();
        path
    };
    let keep =
        |records: Records| bench.runtime.block_on(records.keep("1d".parse::<Keep>().unwrap())).unwrap();
    let left = leave();
    assert_eq!((keep(bench.records.clone()).images, left.exists()), (1, false));
    leave();
    assert_eq!((keep(bench.records.clone()).images, left.exists()), (0, true));
    let url = format!("sqlite:{}", bench.path("a %3F?#.db").display());
    let other = bench.runtime.block_on(Records::open(&url, bench.path("images"))).unwrap();
    assert_eq!((keep(other).images, left.exists()), (1, false));
    assert!(bench.run(async |records| records.image(&kept.image.sha256).await).unwrap().is_some());
}
