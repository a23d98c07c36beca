//! Verdicts, and the numbers of an overview.

use faster_rcnn::Error;
use faster_rcnn::records::{Filter, Judged, Judgement, Missed, Verdict};

use crate::bench::{found, new, over_both};

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
            seen: None,
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
        assert_eq!(bench.judge(uuid::Uuid::nil(), &wrong[0]).unwrap(), Judged::Missing);

        let box_of_missed = [0.5, 1.5, 39.5, 30.0];
        bench.judged(first.id, &verdict(&[real; 3], vec![missed([1.0, 1.0, 2.0, 2.0], 1); 3]));
        let judged = bench.judged(first.id, &verdict(&three, vec![missed(box_of_missed, 3)]));
        assert_eq!(bench.run(async |records| records.get(first.id).await).unwrap().as_ref(), Some(&judged));
        let said: Vec<_> = judged.detections.iter().map(|found| found.verdict).collect();
        assert_eq!(said, three);
        let name = Some("Mäusebiß".to_string());
        assert_eq!(judged.missed, [Missed { xyxy: box_of_missed, label: 3, name }]);
        assert_eq!((judged.verdict_by.as_deref(), judged.verdict_time.is_some()), (Some("Ada"), true));

        let count = bench.run(async |records| records.statistics(&Filter::default(), 0.0).await).unwrap();
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
        let nothing = bench.run(async |records| records.statistics(&nothing, 0.0).await).unwrap();
        assert_eq!((nothing.boards, nothing.milliseconds, nothing.scores.len()), (0, None, 20));
    });
}

/// Yield is that of the threshold which the reader looks with, not of all that is stored.
#[test]
fn an_overview_counts_from_a_threshold() {
    over_both(|bench| {
        let first = bench.add(new(1, "1", vec![found(1, 0.97), found(2, 0.5), found(2, 0.06)]));
        bench.add(new(2, "1", vec![found(2, 0.3)]));
        let detections = vec![Some(Judgement::Real), Some(Judgement::FalseCall), Some(Judgement::FalseCall)];
        bench.judged(first.id, &Verdict { detections, ..Verdict::default() });
        let count = |threshold| {
            let count = bench.run(async |records| records.statistics(&Filter::default(), threshold).await);
            let count = count.unwrap();
            assert_eq!(count.scores.iter().map(|bin| bin.defects).sum::<u64>(), 4);
            assert_eq!((count.boards, count.days[0].with_defects), (2, count.boards_with_defects));
            let defects: u64 = count.classes.iter().map(|class| class.defects).sum();
            assert_eq!(count.classes_by_line.iter().map(|class| class.defects).sum::<u64>(), defects);
            (count.boards_with_defects, defects, count.verdicts.real, count.verdicts.false_call)
        };
        assert_eq!(count(0.0), (2, 4, 1, 2));
        // Scores are 32 bits long, and so is the threshold.
        assert_eq!(count(0.3), (2, 3, 1, 1));
        assert_eq!(count(0.5), (1, 2, 1, 1));
        assert_eq!(count(0.9), (1, 1, 1, 0));
        assert_eq!(count(1.0), (0, 0, 0, 0));
    });
}

#[test]
fn nobody_replaces_a_verdict_unseen() {
    over_both(|bench| {
        let board = bench.add(new(1, "1", vec![found(1, 0.97)]));
        let verdict = |said, by: &str, seen| Verdict {
            detections: vec![said],
            missed: vec![],
            by: Some(by.to_string()),
            seen,
        };
        let (real, false_call) = (Some(Judgement::Real), Some(Judgement::FalseCall));
        let by_ada = bench.judged(board.id, &verdict(real, "Ada", Some(None)));
        // Bob has the board open without a verdict.
        let by_bob = verdict(false_call, "Bob", Some(None));
        assert_eq!(bench.judge(board.id, &by_bob).unwrap(), Judged::Changed(by_ada.clone()));
        assert_eq!(bench.run(async |records| records.get(board.id).await).unwrap(), Some(by_ada.clone()));
        let by_bob = bench.judged(board.id, &verdict(false_call, "Bob", Some(by_ada.verdict_time)));
        assert!(by_bob.verdict_time > by_ada.verdict_time);
        let stale = verdict(real, "Ada", Some(by_ada.verdict_time));
        assert_eq!(bench.judge(board.id, &stale).unwrap(), Judged::Changed(by_bob));
        // A program that does not say what it saw replaces.
        assert_eq!(bench.judged(board.id, &verdict(real, "robot", None)).detections[0].verdict, real);

        // Of several at once, one wins.
        let id = board.id;
        let seen =
            Some(bench.run(async |records| records.get(board.id).await).unwrap().unwrap().verdict_time);
        let stored = bench.run(async |records| {
            let tasks: Vec<_> = (0..8)
                .map(|index| {
                    let (records, verdict) = (records.clone(), verdict(real, &index.to_string(), seen));
                    tokio::spawn(async move { records.set_verdict(id, &verdict).await.unwrap() })
                })
                .collect();
            let mut stored = 0;
            for task in tasks {
                stored += usize::from(matches!(task.await.unwrap(), Judged::Stored(_)));
            }
            stored
        });
        assert_eq!(stored, 1);
    });
}

#[test]
fn null_is_something_else_than_nothing() {
    let read = |json: &str| serde_json::from_str::<Verdict>(json).unwrap();
    assert_eq!(read(r#"{"detections": []}"#).seen, None);
    assert_eq!(read(r#"{"detections": [], "seen": null}"#).seen, Some(None));
    let time = "2026-11-26T10:30:00.123Z";
    let seen = Some(Some(time.parse().unwrap()));
    assert_eq!(read(&format!(r#"{{"detections": [], "seen": "{time}"}}"#)).seen, seen);
    for seen in [None, Some(None), seen] {
        let verdict = Verdict { seen, ..Verdict::default() };
        assert_eq!(read(&serde_json::to_string(&verdict).unwrap()), verdict);
    }
}
