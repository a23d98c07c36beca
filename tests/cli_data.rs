//! The command line about data sets: splits, checks and statistics.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;

use faster_rcnn::image::{self, RgbImage, imageops};
use faster_rcnn::train::RunConfig;

use program::{Bench, assert_no_temporary_files, text, tiny};

/// The names in a list of a split.
fn names(bench: &Bench, list: &str) -> BTreeSet<String> {
    fs::read_to_string(bench.path(list)).unwrap().lines().map(str::to_string).collect()
}

/// Without its own lists, so that boards are divided.
fn without_lists(boards: usize) -> Bench {
    let bench = Bench::new(boards);
    for list in ["boards/trainval.txt", "boards/test.txt"] {
        fs::remove_file(bench.path(list)).unwrap();
    }
    bench
}

#[test]
fn a_split_is_kept_and_training_and_evaluation_use_it() {
    let bench = Bench::new(10);
    let split = "split --data boards --held-out 0.2 --test 0.2 --seed 5 --output";
    let said = bench.succeed(&format!("{split} splits/a"));
    assert_eq!(said, "splits/a: 6 images to train on, 2 to validate on, 2 to test with\n");
    let [train, validation, test] =
        ["train", "val", "test"].map(|list| names(&bench, &format!("splits/a/{list}.txt")));
    let all: BTreeSet<&String> = train.iter().chain(&validation).chain(&test).collect();
    assert_eq!((train.len(), validation.len(), test.len(), all.len()), (6, 2, 2, 10));
    assert_no_temporary_files(&bench.path("splits"));

    // The same seed, the same split; nothing is overwritten.
    bench.succeed(&format!("{split} splits/b"));
    assert_eq!(names(&bench, "splits/b/train.txt"), train);
    assert!(bench.fail(&format!("{split} splits/a")).contains("splits/a: the folder is not empty"));

    bench.write("tiny.toml", RunConfig::new(tiny()).to_toml());
    let set = "--set train.epochs=1 --set train.warmup_steps=2 --set train.sample_pictures=0";
    let trained =
        bench.succeed(&format!("train --config tiny.toml --data boards --split splits/a --output run {set}"));
    assert!(trained.contains("6 images to train on, 2 held out"), "{trained}");
    let evaluate = "evaluate --weights run/checkpoints/best.safetensors --data boards";
    // The weights know what the run held out, although the data set's own lists say something else.
    for sides in ["", "--split splits/a", "--split splits/a --side val"] {
        assert!(trained.contains(&bench.succeed(&format!("{evaluate} {sides}"))), "{sides}");
    }
    assert!(!trained.contains(&bench.succeed(&format!("{evaluate} --split splits/a --side test"))));
    let output = bench.run(&format!("{evaluate} --seed 0"));
    let own = "boards/group00000/00000/00000090_test.jpg";
    let expected = match train.contains(&own["boards/".len()..]) {
        true => "warning: the weights were trained on 1 of these 1 images\n",
        false => "",
    };
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), expected.to_string()));
    assert!(
        bench.fail(&format!("{evaluate} --side val")).contains("no image of the data set is for --side val")
    );
}

#[test]
fn a_split_that_does_not_fit_is_named() {
    let bench = Bench::new(4);
    bench.write("tiny.toml", RunConfig::new(tiny()).to_toml());
    fs::create_dir(bench.path("split")).unwrap();
    let image = |index: usize| format!("group00000/00000/{index:07}0_test.jpg\n");
    let train = "train --config tiny.toml --data boards --split split --output run";
    assert!(bench.fail(train).contains("split: no split is here"));
    assert!(bench.fail(&train.replace("--split split", "--split none")).contains("none: No such file"));
    for (train_list, expected) in [
        (image(0) + "gone.jpg\n", "split/train.txt:2: the data set has no image `gone.jpg`"),
        (
            image(0) + &image(1) + &image(0),
            "split/train.txt:3: `group00000/00000/00000000_test.jpg` is listed in line 1",
        ),
        (
            image(3),
            "split/val.txt:1: `group00000/00000/00000030_test.jpg` is listed at split/train.txt:1, too",
        ),
    ] {
        bench.write("split/train.txt", train_list);
        bench.write("split/val.txt", image(3));
        let message = bench.fail(train);
        assert!(message.contains(expected), "{message}");
    }
    assert!(!bench.path("run").exists());

    // An image that came later is left out, and that is said.
    bench.write("split/train.txt", image(0) + &image(1));
    let output = bench.run("stats --data boards --split split --json");
    let warning = "warning: split: names no side for 1 of 4 images, which are left out\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), warning));

    for (wrong, expected) in
        [("--held-out 0.5 --test 0.5", "leave nothing to train on"), ("--group-by (", "unclosed group")]
    {
        let message = bench.fail(&format!("split --data boards --output other {wrong}"));
        assert!(message.contains(expected), "{message}");
    }
    for wrong in ["--held-out 1", "--held-out -1", "--test much"] {
        let output = bench.run(&format!("split --data boards --output other {wrong}"));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    assert!(!bench.path("other").exists());
}

/// Boards 0 to 9 belong together, and so do 10 and 11.
#[test]
fn groups_by_name_stay_together() {
    let bench = without_lists(12);
    // Without the pattern each board is a plate of its own.
    assert!(
        bench
            .succeed("split --data boards --output plain --held-out 0.25")
            .contains("9 images to train on, 3")
    );
    let split = bench.run("split --data boards --output few --group-by (0[012]0)_test --held-out 0.25");
    let warning = "warning: --group-by (0[012]0)_test: 9 of 12 names do not match; each of them is a group of \
                   its own\n";
    assert_eq!(text(&split.stderr), warning);
    let tens = "split --data boards --output tens --group-by ([01])[0-9]0_test --held-out 0.25";
    assert!(bench.succeed(tens).contains("10 images to train on, 2 to validate on"));
    let one = bench.run("split --data boards --output one --group-by ^group --held-out 0.25");
    assert!(
        text(&one.stderr).contains("warning: all images are of one group, `group`"),
        "{}",
        text(&one.stderr)
    );
    assert!(text(&one.stdout).contains("9 images to train on, 3 to validate on"));

    bench.write("tiny.toml", RunConfig::new(tiny()).to_toml());
    let set = "--set train.epochs=1 --set train.warmup_steps=2 --set train.sample_pictures=0";
    let train =
        format!("train --config tiny.toml --data boards --output run --group-by ([01])[0-9]0_test {set}");
    let trained = bench.succeed(&train);
    assert!(trained.contains("10 images to train on, 2 held out"), "{trained}");
    assert!(
        trained.contains(&bench.succeed("evaluate --weights run/checkpoints/best.safetensors --data boards"))
    );
    let grouped =
        "evaluate --weights run/checkpoints/best.safetensors --data boards --group-by ([01])[0-9]0_test";
    assert!(trained.contains(&bench.succeed(grouped)));

    let evaluate = "evaluate --weights run/checkpoints/best.safetensors --data boards --json out.json";
    let said = bench.succeed(&format!("{evaluate} --by ([01])[0-9]0_test"));
    assert!(said.contains("\ngroup images objects "), "{said}");
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(bench.path("out.json")).unwrap()).unwrap();
    let tens = &json["groups"]["1"];
    assert_eq!((&tens["images"], &tens["coco"]), (&2.into(), &json["coco"]));
    let one = text(&bench.run(&format!("{evaluate} --by (100)_test")).stderr);
    assert_eq!(one, "warning: --by (100)_test: 1 of 2 names do not match, and are in no group\n");
    for (wrong, expected) in
        [("(", "unclosed group"), ("camera[0-9]", "matches no name of an image, such as ")]
    {
        let message = bench.fail(&format!("{evaluate} --by {wrong}"));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn check_names_what_is_trained_on_and_held_out() {
    let bench = Bench::new(20);
    let file = |index: usize| bench.path(&bench.image(index));
    let open = |index: usize| image::open(file(index)).unwrap().into_rgb8();
    let said = bench.succeed("check --data boards");
    assert_eq!(said, "boards: no faults\n", "boards of their own are no duplicates");

    // Boards 9 and 19 are held out.
    fs::copy(file(0), file(9)).unwrap();
    let mut brighter: RgbImage = open(1);
    brighter.pixels_mut().for_each(|pixel| pixel.0 = pixel.0.map(|channel| channel.saturating_add(20)));
    brighter.save(file(19)).unwrap();
    fs::copy(file(2), file(3)).unwrap();
    let (width, height) = open(4).dimensions();
    let cropped = imageops::crop_imm(&open(4), 2, 2, width - 2, height - 2).to_image();
    imageops::resize(&cropped, width, height, imageops::FilterType::Triangle).save(file(5)).unwrap();
    let said = bench.succeed("check --data boards");
    let place = |index: usize| bench.image(index);
    let expected = [
        format!("warning: {}: the file has the same content as {}", place(3), place(2)),
        format!("warning: {}: almost the same picture as {}", place(5), place(4)),
        format!(
            "warning: {}: the file has the same content as {}: it is trained on and tested on",
            place(9),
            place(0)
        ),
        format!(
            "warning: {}: almost the same picture as {}: it is trained on and tested on",
            place(19),
            place(1)
        ),
        "boards: no faults, 4 warnings".to_string(),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);

    // Another split has none of it, but other groups.
    fs::create_dir(bench.path("split")).unwrap();
    let names = |range: std::ops::Range<usize>| range.map(|index| place(index) + "\n").collect::<String>();
    let names = |range| names(range).replace("boards/", "");
    bench.write("split/train.txt", names(0..1) + &names(9..19));
    bench.write("split/val.txt", names(6..9));
    let output = bench.run("check --data boards --split split --group-by ([01])[0-9]0_test");
    let said = text(&output.stdout);
    assert!(
        said.contains(&format!(
            "{}: is validated on, and {} of the same group `0` is trained on\n",
            place(6),
            place(0)
        )),
        "{said}"
    );
    // The other one: board 9 is still a copy of board 0, and both are trained on now.
    assert!(said.contains("no faults, 2 warnings"), "{said}");
}

#[test]
fn stats_are_a_table_json_and_pictures() {
    let bench = Bench::new(11);
    let said = bench.succeed("stats --data boards");
    for expected in ["images without boxes", "aspect ratio", "No anchor has an IoU of 0.5", "resized to 800"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let json = |arguments: &str| -> serde_json::Value {
        serde_json::from_str(&bench.succeed(&format!("stats --data boards --json {arguments}"))).unwrap()
    };
    let plain = json("");
    assert_eq!((&plain["images"], &plain["sides"][0]["side"]), (&11.into(), &"train".into()));
    let boxes = plain["boxes"].as_u64().unwrap();
    let classes = plain["classes"].as_array().unwrap();
    assert_eq!(classes.iter().map(|class| class["boxes"].as_u64().unwrap()).sum::<u64>(), boxes);
    // Anchors of 400 pixels cover no box of 20 on images of 128, and those of 20 cover many.
    let uncovered = |arguments: &str| json(arguments)["anchors"]["uncovered"].as_u64().unwrap();
    assert_eq!(uncovered("--image-size 128 --anchors 400,400,400,400,400"), boxes);
    assert!(uncovered("--image-size 128 --anchors 16,20,24,28,40") < boxes / 2);
    bench.write("tiny.toml", RunConfig::new(tiny()).to_toml());
    assert_eq!(uncovered("--config tiny.toml"), uncovered("--image-size 128,128"));

    bench.succeed("stats --data boards --plots charts");
    for file in ["classes", "box_sizes", "aspect_ratios", "anchor_iou", "box_shapes"] {
        assert!(bench.path(&format!("charts/{file}.png")).is_file(), "{file}");
    }
    for (wrong, expected) in [
        ("--anchors 1,2", "--anchors takes 5 sizes, one a level, not 2"),
        ("--anchors 0,1,2,3,4", "anchors.sizes must be"),
        ("--aspect-ratios 0", "anchors.aspect_ratios must be"),
        ("--image-size 100,50", "transform.min_size must not be above max_size"),
    ] {
        let message = bench.fail(&format!("stats --data boards {wrong}"));
        assert!(message.contains(expected), "{message}");
    }
}
