//! Clients that mean harm: the right status with a sentence, nothing stored, and no memory spent.

use std::fs;
use std::io::{Cursor, Write};

use faster_rcnn::image::{ImageFormat, RgbImage};
use serde_json::json;

use crate::program::Bench;
use crate::server::{Server, files, form, read_answer};

/// A PNG whose header says so many pixels, and which has none of them.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], content: &[u8]| {
        let body = [kind, content].concat();
        png.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        png.extend_from_slice(&body);
        png.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[size.as_slice(), &[8, 2, 0, 0, 0]].concat());
    // An empty stream of zlib.
    chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]);
    chunk(b"IEND", &[]);
    png
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut png = Vec::new();
    RgbImage::new(width, height).write_to(&mut Cursor::new(&mut png), ImageFormat::Png).unwrap();
    png
}

#[test]
fn what_is_no_good_image_is_refused_and_not_stored() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "--max-pixels 1");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let before = files(&bench.path("data"));
    for (body, status, word) in [
        (&b""[..], 400, "no bytes"),
        (b"this is text", 415, "no image"),
        (b"GIF89a\x01\x00\x01\x00\x00\x00\x00", 415, "no image"),
        (b"\x89PNG\r\n\x1a\n", 400, "cannot be decoded"),
        (&png(40, 40)[..50], 400, "image"),
        (&image[..image.len() / 2], 400, "image"),
        (&image[..image.len() - 2], 400, "cut off"),
        (&bomb(60_000, 60_000), 413, "3600000000 pixels"),
        (&bomb(u32::MAX, u32::MAX), 400, "cannot be decoded"),
        (&bomb(0, 0), 400, "image"),
        (&png(1001, 1000), 413, "1001000 pixels"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415, "no image"),
    ] {
        let sentence = server.detect(body).sentence(status);
        assert!(sentence.to_lowercase().contains(&word.to_lowercase()), "{sentence}");
        // A good image beside it is not stored, either.
        let (media_type, form) = form(&[("image", "a.png", &image), ("image", "b.png", body)]);
        let sentence = server.post("/v1/detect", &media_type, &form).sentence(status);
        let sentence = sentence.to_lowercase();
        assert!(sentence.contains(&word.to_lowercase()) && sentence.contains("image 2"), "{sentence}");
    }
    for media_type in ["text/html", "application/json", "application/x-www-form-urlencoded", "image", ""] {
        server.post("/v1/detect", media_type, &image).sentence(415);
    }
    for threshold in ["2", "-1", "nan", "inf", "x", "", "0.5&score_threshold=0.6", "0.5&other=1"] {
        let path = format!("/v1/detect?score_threshold={threshold}");
        server.post(&path, "image/jpeg", &image).sentence(400);
    }
    for media_type in
        ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
    {
        server.post("/v1/detect", media_type, &image).sentence(400);
    }
    assert_eq!(server.stored(), 0);
    assert_eq!(files(&bench.path("data")), before);
    assert_eq!(server.detect(&image).status, 200);
}

#[test]
fn a_bomb_and_endless_bodies_take_no_memory() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "--max-upload 8");
    assert_eq!(server.detect(&png(200, 200)).status, 200);
    let [_, before] = server.memory();
    for _ in 0..20 {
        server.detect(&bomb(60_000, 60_000)).sentence(413);
    }
    // 1 GB that is announced is refused before it is sent.
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.address,
        1 << 30
    );
    stream.write_all(head.as_bytes()).unwrap();
    let sentence = read_answer(&mut stream).unwrap().sentence(413);
    assert!(sentence.contains("8388608 bytes"), "{sentence}");
    // 1 GB that is not announced is read until it is too much; the client learns why.
    let mut stream = server.connect();
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        server.address
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![0; 1 << 20], b"\r\n"].concat();
    let sent = (0..1024).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!((8..200).contains(&sent), "{sent} MiB are taken");
    read_answer(&mut stream).unwrap().sentence(413);
    // One that lies about its length is no request.
    let mut stream = server.connect();
    let head =
        "POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 400);
    let [_, after] = server.memory();
    // A body is held three times at most, and connections have buffers.
    assert!(after - before < 64 << 20, "{} MiB", (after - before) >> 20);
    assert_eq!(server.stored(), 1);
}

#[test]
fn no_path_header_or_name_reaches_the_file_system() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    for path in [
        "/page/../server.log",
        "/page/..%2f..%2fserver.log",
        "/page/%2e%2e/tiny.safetensors",
        "/page//etc/passwd",
        "/page/index.html%00",
        "/page/%ff",
        "/docs/..%5cserver.log",
        "/etc/passwd",
        "/v1/detections/..%2f..%2frecords.db",
        "/v1/detections/%ff",
        "/v1/detections/%00/image",
        "/v1/detections/../../image",
        "/v1/detections/01900000-0000-7000-8000-000000000000/image",
        "/v1/",
        "//",
    ] {
        server.get(path).sentence(404);
    }
    for name in ["../../../escape.jpg", "/tmp/escape.jpg", "..\\\\escape.jpg", "escape.jpg", ".."] {
        let (media_type, body) = form(&[("image", name, &image), ("board", "", b"../../escape")]);
        let answer = server.post("/v1/detect", &media_type, &body).ok();
        let kept = answer["images"][0]["image"].as_str().unwrap();
        assert!(!kept.contains(['/', '\\']), "{kept}");
    }
    assert!(files(bench.folder.path()).iter().all(|name| !name.contains("escape")));
    assert!(!std::path::Path::new("/tmp/escape.jpg").exists());
}

#[test]
fn broken_texts_are_refused_and_scripts_stay_text() {
    let bench = Bench::new(1);
    let server = Server::start(&bench, "");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    for (name, content) in [
        ("line", &b"\xff\xfe"[..]),
        ("product", b"a\0b"),
        ("board", b"a\x1bb"),
        ("line", &[b'a'; 201]),
        ("other", b"a"),
        ("\u{fffd}", b"a"),
    ] {
        let (media_type, body) = form(&[("image", "", &image), (name, "", content)]);
        server.post("/v1/detect", &media_type, &body).sentence(400);
    }
    // A name that is no UTF-8, in the head of a part.
    let (media_type, mut body) = form(&[("image", "abc", &image)]);
    let at = body.windows(3).position(|window| window == b"abc").unwrap();
    body[at..at + 3].copy_from_slice(b"\xff\xfe\xfd");
    assert!([200, 400].contains(&server.post("/v1/detect", &media_type, &body).status));
    for path in ["/v1/detections?line=%ff%fe", "/v1/detections?limit=%ff", "/v1/detections?before=%ff"] {
        let status = server.get(path).status;
        assert!([200, 400].contains(&status), "{path}: {status}");
    }
    assert_eq!(server.get("/v1/detections?line=%00").ok()["items"], json!([]));
    server.post("/v1/session", "application/json", b"{\"token\":\"\xff\"}").sentence(400);
    server.post("/v1/session", "application/json", &[b'['; 4096]).sentence(400);
    let verdict = "/v1/detections/01900000-0000-7000-8000-000000000000/verdict";
    server.post(verdict, "application/json", &[b'['; 100_000]).sentence(400);
    server.post(verdict, "application/json", &vec![b' '; 2 << 20]).sentence(413);

    let script = "<img src=x onerror=alert(1)>";
    let (media_type, body) = form(&[("image", script, &image), ("line", "", script.as_bytes())]);
    assert_eq!(server.post("/v1/detect", &media_type, &body).status, 200);
    let list = server.get("/v1/detections?limit=1");
    assert_eq!(list.header("content-type"), Some("application/json"));
    assert_eq!(list.ok()["items"][0]["fields"]["line"], script);
    for (method, path) in
        [("PUT", "/v1/detect"), ("DELETE", "/v1/detections"), ("TRACE", "/"), ("PATCH", "/v1/session")]
    {
        let answer = server.request(method, path, &[], b"");
        answer.sentence(405);
        assert!(answer.header("allow").is_some());
    }
}
