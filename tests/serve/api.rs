//! What a client that means well sends and gets.

use std::fs;
use std::io::Write;

use burn::tensor::Device;
use faster_rcnn::image::{self, GenericImageView};
use faster_rcnn::{ReferenceInput, weights};
use serde_json::{Value, json};

use crate::program::{Bench, SIZE, tiny};
use crate::server::{Server, arguments, form};

/// The detections of `predict` for one image.
fn predicted(bench: &Bench, options: &str) -> Value {
    let images: Value = serde_json::from_str(&bench.succeed(&format!("predict {options}"))).unwrap();
    images[0].clone()
}

/// An entry of the server's answer with the keys of `predict`'s, but for the image's name.
fn as_predicted(image: &Value, name: &str) -> Value {
    let (width, height, detections) = (&image["width"], &image["height"], &image["detections"]);
    json!({"image": name, "width": width, "height": height, "detections": detections})
}

#[test]
fn the_numbers_are_those_of_predict() {
    let bench = Bench::new(3);
    let server = Server::start(&bench, "");
    for options in ["", "--score-threshold 0.14", "--score-threshold 0.01"] {
        let query = options.replace("--score-threshold ", "?score_threshold=");
        for index in 0..3 {
            let path = bench.image(index);
            let expected = predicted(&bench, &format!("--weights tiny.safetensors {options} {path}"));
            let bytes = fs::read(bench.path(&path)).unwrap();
            for media_type in ["image/jpeg", "application/octet-stream"] {
                let answer = server.post(&format!("/v1/detect{query}"), media_type, &bytes).ok();
                assert_eq!(as_predicted(&answer["images"][0], &path), expected, "{path} {options}");
                assert_eq!(answer["images"][0]["image"], Value::Null);
            }
        }
    }
    // With the settings that the server is started with, too.
    let server = Server::start(&bench, "--detections-per-image 3 --tile 64 --overlap 16");
    let path = bench.image(0);
    let options =
        format!("--weights tiny.safetensors --detections-per-image 3 --tile 64 --overlap 16 {path}");
    let answer = server.detect(&fs::read(bench.path(&path)).unwrap()).ok();
    assert_eq!(as_predicted(&answer["images"][0], &path), predicted(&bench, &options));
}

#[test]
fn a_form_has_several_images_and_what_belongs_to_them() {
    let bench = Bench::new(2);
    let server = Server::start(&bench, "");
    let files = [0, 1].map(|index| fs::read(bench.path(&bench.image(index))).unwrap());
    let name = "<script>alert(1)</script> \u{fc}.jpg";
    let (media_type, body) = form(&[
        ("line", "", b"L<1>"),
        ("image", name, &files[0]),
        ("image", "second.jpg", &files[1]),
        ("product", "", "Gerät".as_bytes()),
        ("board", "", b"B-17"),
    ]);
    let answer = server.post("/v1/detect", &media_type, &body).ok();
    let images = answer["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    // A name has no folders: what is before the last slash is left out.
    assert_eq!(
        [&images[0]["image"], &images[1]["image"]],
        [&json!("script> \u{fc}.jpg"), &json!("second.jpg")]
    );
    for (image, file) in images.iter().zip(&files) {
        assert_eq!(image["detections"], server.detect(file).ok()["images"][0]["detections"]);
        let id = image["id"].as_str().unwrap();
        let one = server.get(&format!("/v1/detections/{id}")).ok();
        assert_eq!(one["fields"], json!({"line": "L<1>", "product": "Gerät", "board": "B-17"}));
        assert_eq!(one["image"]["name"], image["image"]);
        assert_eq!(one["image"]["media_type"], "image/jpeg");
        assert_eq!(one["model"], answer["model"]);
        for part in ["decode", "queue", "detect", "total"] {
            assert!(image["milliseconds"][part].as_f64().unwrap() >= 0.0);
        }
        assert!(image["milliseconds"]["store"].as_f64().unwrap() > 0.0);

        let stored = server.get(&format!("/v1/detections/{id}/image"));
        assert_eq!((stored.status, &stored.body), (200, file));
        assert_eq!(stored.header("content-type"), Some("image/jpeg"));
        assert_eq!(stored.header("x-content-type-options"), Some("nosniff"));
        assert!(stored.header("content-security-policy").unwrap().starts_with("default-src 'self'"));
        server.get(&format!("/v1/detections/{id}/reference")).sentence(404);
        let drawn = server.get(&format!("/v1/detections/{id}/drawn?score_threshold=0.1"));
        assert_eq!((drawn.status, drawn.header("content-type")), (200, Some("image/png")));
        let drawn = image::load_from_memory(&drawn.body).unwrap();
        assert!(drawn.dimensions().0 >= SIZE as u32);
        let small = server.get(&format!("/v1/detections/{id}/thumbnail"));
        assert_eq!((small.status, small.header("content-type")), (200, Some("image/jpeg")));
        assert_eq!(image::load_from_memory(&small.body).unwrap().dimensions(), (SIZE as u32, SIZE as u32));
    }
    let fields = server.get("/v1/fields").ok();
    assert_eq!([&fields["line"], &fields["product"]], [&json!(["L<1>"]), &json!(["Gerät"])]);
}

#[test]
fn a_reference_goes_with_the_images() {
    let bench = Bench::new(2);
    let config = tiny().with_reference(ReferenceInput::Difference);
    weights::save(&config.init(&Device::flex()), bench.path("pairs.safetensors")).unwrap();
    let command = arguments("").replace("tiny.safetensors", "pairs.safetensors");
    let server = Server::start_as(&bench, &mut bench.command(&command));
    assert_eq!(server.get("/v1/model").ok()["reference"], "difference");

    let (path, reference) = (bench.image(0), bench.image(0).replace("_test", "_temp"));
    let expected = predicted(&bench, &format!("--weights pairs.safetensors --reference {reference} {path}"));
    let read = |path: &str| fs::read(bench.path(path)).unwrap();
    let (image, good) = (read(&path), read(&reference));
    let (media_type, body) = form(&[("reference", "good.jpg", &good), ("image", "a.jpg", &image)]);
    let answer = server.post("/v1/detect", &media_type, &body).ok();
    assert_eq!(as_predicted(&answer["images"][0], &path), expected);
    let id = answer["images"][0]["id"].as_str().unwrap();
    let stored = server.get(&format!("/v1/detections/{id}/reference"));
    assert_eq!((stored.status, &stored.body), (200, &good));

    let sentence = server.detect(&image).sentence(422);
    assert!(sentence.contains("with the field `reference`"), "{sentence}");
    let mut other = Vec::new();
    let small = image::RgbImage::new(20, 20);
    small.write_to(&mut std::io::Cursor::new(&mut other), image::ImageFormat::Png).unwrap();
    let (media_type, body) = form(&[("reference", "", &other), ("image", "a.jpg", &image)]);
    let sentence = server.post("/v1/detect", &media_type, &body).sentence(422);
    assert!(sentence.contains("20 x 20 pixels"), "{sentence}");

    let plain = Server::start(&bench, "--data other");
    let (media_type, body) = form(&[("reference", "", &good), ("image", "a.jpg", &image)]);
    assert!(plain.post("/v1/detect", &media_type, &body).sentence(422).contains("takes no reference"));
    assert_eq!((server.stored(), plain.stored()), (1, 0));
}

#[test]
fn pages_filters_and_verdicts() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let mut ids = Vec::new();
    for index in 0..7 {
        let line = ["A", "B"][index % 2];
        let (media_type, body) = form(&[("image", "", &image), ("line", "", line.as_bytes())]);
        let answer = server.post("/v1/detect", &media_type, &body).ok();
        ids.push(answer["images"][0]["id"].as_str().unwrap().to_string());
    }
    ids.reverse();
    let ids_of = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|item| item["id"].as_str().unwrap().to_string()).collect()
    };
    let first = server.get("/v1/detections?limit=3").ok();
    assert_eq!((ids_of(&first), &first["next"]), (ids[..3].to_vec(), &json!(ids[2])));
    let second = server.get(&format!("/v1/detections?limit=4&before={}", ids[2])).ok();
    assert_eq!((ids_of(&second), &second["next"]), (ids[3..].to_vec(), &Value::Null));
    assert_eq!(ids_of(&server.get("/v1/detections?line=B").ok()).len(), 3);
    assert_eq!(ids_of(&server.get("/v1/detections?from=2001-01-01&to=2002-01-01").ok()).len(), 0);
    assert_eq!(ids_of(&server.get("/v1/detections?from=2001-01-01T00:00:00Z&class=open").ok()).len(), 7);
    for wrong in ["limit=0", "limit=201", "limit=x", "before=x", "from=yesterday", "verdict=maybe", "lines=A"]
    {
        server.get(&format!("/v1/detections?{wrong}")).sentence(400);
    }

    let one = server.get(&format!("/v1/detections/{}", ids[0])).ok();
    let count = one["detections"].as_array().unwrap().len();
    assert!(count > 1);
    let mut said = vec![Value::Null; count];
    (said[0], said[1]) = (json!("real"), json!("false_call"));
    let missed = json!([{"box": [1.5, 2.0, 20.0, 30.0], "label": 2}]);
    let verdict = json!({"detections": said, "missed": missed, "by": "Eve <b>"});
    let path = format!("/v1/detections/{}/verdict", ids[0]);
    let given = server.post_json(&path, &verdict).ok();
    assert_eq!(given, server.get(&format!("/v1/detections/{}", ids[0])).ok());
    assert_eq!(
        [&given["detections"][0]["verdict"], &given["detections"][1]["verdict"]],
        ["real", "false_call"]
    );
    assert_eq!((&given["missed"][0]["name"], &given["verdict_by"]), (&json!("short"), &json!("Eve <b>")));
    // Somebody who has not seen this verdict does not replace it; who has seen it does.
    let unseen = json!({"detections": said, "missed": [], "seen": null});
    server.post_json(&path, &unseen).sentence(409);
    let mut seen = verdict.clone();
    seen["seen"] = given["verdict_time"].clone();
    assert_ne!(server.post_json(&path, &seen).ok()["verdict_time"], given["verdict_time"]);
    server.post_json(&path, &seen).sentence(409);
    assert_eq!(ids_of(&server.get("/v1/detections?verdict=given").ok()), ids[..1].to_vec());
    assert_eq!(ids_of(&server.get("/v1/detections?verdict=pending").ok()), ids[1..].to_vec());

    server.post_json(&path, &json!({"detections": []})).sentence(422);
    server
        .post_json(&path, &json!({"detections": said, "missed": [{"box": [0, 0, 5, 5], "label": 9}]}))
        .sentence(422);
    server.post_json(&path, &json!({"detections": ["fake"]})).sentence(400);
    server.post_json(&path, &json!({"detection": []})).sentence(400);
    server.post(&path, "text/plain", b"{}").sentence(415);
    let other = format!("/v1/detections/{}/verdict", "01900000-0000-7000-8000-000000000000");
    server.post_json(&other, &verdict).sentence(404);

    let statistics = server.get("/v1/statistics").ok();
    assert_eq!(statistics["boards"], 7);
    let verdicts = json!({"boards": 1, "real": 1, "false_call": 1, "missed": 1});
    assert_eq!(statistics["verdicts"], verdicts);
    assert_eq!(server.get("/v1/statistics?line=B").ok()["boards"], 3);
    assert_eq!(statistics["boards_with_defects"], 7);
    assert_eq!(server.get("/v1/statistics?score_threshold=0.99").ok()["boards_with_defects"], 0);
    server.get("/v1/statistics?score_threshold=1.1").sentence(400);

    let zip = server.get("/v1/verdicts.zip");
    assert_eq!((zip.status, zip.header("content-type")), (200, Some("application/zip")));
    fs::File::create(bench.path("verdicts.zip")).unwrap().write_all(&zip.body).unwrap();
    let mut archive = zip::ZipArchive::new(fs::File::open(bench.path("verdicts.zip")).unwrap()).unwrap();
    let annotations: Value = serde_json::from_reader(archive.by_name("annotations.json").unwrap()).unwrap();
    assert_eq!(annotations["images"].as_array().unwrap().len(), 1);
    // What nobody judged is there to be ignored.
    let is_judged = |annotation: &&Value| annotation["ignore"] != 1;
    assert_eq!(annotations["annotations"].as_array().unwrap().iter().filter(is_judged).count(), 2);
}

#[test]
fn the_server_says_what_it_is_and_how_it_is() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "--score-threshold 0.1");
    let model = server.get("/v1/model").ok();
    let sha256 = model["sha256"].as_str().unwrap();
    assert_eq!((sha256.len(), &model["name"], &model["version"]), (64, &Value::Null, &Value::Null));
    assert_eq!(
        (&model["classes"][1], &model["reference"], &model["device"]),
        (&json!("short"), &json!("none"), &json!("cpu"))
    );
    assert_eq!(
        (&model["score_threshold"], &model["program"]),
        (&json!(0.1), &json!(env!("CARGO_PKG_VERSION")))
    );
    for path in ["/healthz", "/readyz"] {
        assert_eq!(server.get(path).ok(), json!({"status": "ok"}));
    }
    let answer = server.detect(&fs::read(bench.path(&bench.image(0))).unwrap()).ok();
    let found = answer["images"][0]["detections"].as_array().unwrap().len();
    let metrics = server.get("/metrics");
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.headers.iter().any(|(_, value)| value.starts_with("application/openmetrics-text")));
    let sum = |start: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    assert_eq!(sum("faster_rcnn_detections_total{"), found as f64, "{text}");
    assert_eq!(sum("faster_rcnn_images_total"), 1.0);
    assert_eq!(sum("faster_rcnn_part_seconds_count{part=\"Detect\"}"), 1.0);
    let detected = "faster_rcnn_requests_total{path=\"/v1/detect\",method=\"POST\",status=\"200\"} 1";
    assert!(text.contains(detected) && text.contains(sha256) && text.ends_with("# EOF\n"), "{text}");

    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/docs.js", "text/javascript; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(media_type)), "{path}");
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert!(!text.contains("https://") || path == "/openapi.json", "{path} uses another host");
        if let Some(tag) = answer.header("etag") {
            let again = server.request("GET", path, &[&format!("If-None-Match: {tag}")], b"");
            assert_eq!((again.status, again.body.len()), (304, 0));
        }
    }
}
