//! Inspections go in, come out, and are listed.

use faster_rcnn::records::{Filter, Inspection, Verdict, VerdictState};

use crate::bench::{found, new, new_image, over_both, png};

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
        bench.judged(all[0].id, &verdict);
        assert_eq!(count(&|f| f.verdict = Some(VerdictState::Given)), 1);
        assert_eq!(count(&|f| f.verdict = Some(VerdictState::Pending)), 24);
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
