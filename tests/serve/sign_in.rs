//! Who may ask, and which sites a browser may ask for.

use std::fs;
use std::io::Write;

use serde_json::json;

use crate::program::Bench;
use crate::server::{Server, arguments, read_answer, refused};

const TOKEN: &str = "a-token-of-the-test-0123";

fn bench() -> Bench {
    let bench = Bench::new(1);
    bench.write("tokens", format!("another-token-of-the-test\n\n{TOKEN}\n"));
    bench
}

#[test]
fn without_a_token_nothing_is_said_and_nothing_is_stored() {
    let bench = bench();
    let server = Server::start(&bench, "--token-file tokens");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let id = "01900000-0000-7000-8000-000000000000";
    let paths = [
        ("POST", "/v1/detect".to_string()),
        ("GET", "/v1/detections".to_string()),
        ("GET", format!("/v1/detections/{id}")),
        ("GET", format!("/v1/detections/{id}/image")),
        ("POST", format!("/v1/detections/{id}/verdict")),
        ("GET", "/v1/statistics".to_string()),
        ("GET", "/v1/verdicts.zip".to_string()),
        ("GET", "/v1/model".to_string()),
        ("GET", "/metrics".to_string()),
    ];
    for (method, path) in &paths {
        for header in [
            "X: y",
            "Authorization: Bearer wrong",
            &format!("Authorization: Basic {TOKEN}"),
            "Cookie: faster_rcnn_session=9999999999.00",
        ] {
            let answer = server.request(method, path, &[header], &image);
            answer.sentence(401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    for path in ["/", "/docs", "/openapi.json", "/healthz", "/readyz"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.get("/v1/session").ok(), json!({"required": true, "signed_in": false}));
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let list = server.request("GET", "/v1/detections", &[&bearer], b"").ok();
    assert_eq!(list["items"], json!([]));
    let detected = server.request("POST", "/v1/detect", &[&bearer], &image);
    assert_eq!(detected.status, 200);
}

#[test]
fn the_page_signs_in_with_a_cookie_that_other_sites_cannot_use() {
    let bench = bench();
    let server = Server::start(&bench, "--token-file tokens");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let own = format!("Origin: http://{}", server.address);
    let sign_in = |headers: &[&str], token: &str| {
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Type: application/json"]).collect();
        server.request("POST", "/v1/session", &headers, json!({"token": token}).to_string().as_bytes())
    };
    sign_in(&[&own], "wrong").sentence(401);
    sign_in(&["Origin: http://evil.example"], TOKEN).sentence(403);
    sign_in(&["Sec-Fetch-Site: cross-site"], TOKEN).sentence(403);
    server.post("/v1/session", "text/plain", b"{\"token\":\"x\"}").sentence(415);
    server.post("/v1/session", "application/json", b"{\"token\":").sentence(400);

    let answer = sign_in(&[&own], TOKEN);
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let cookie = answer.header("set-cookie").unwrap();
    for attribute in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains(TOKEN), "{cookie}");
    let behind_tls = sign_in(&[&own, "X-Forwarded-Proto: https"], TOKEN);
    assert!(behind_tls.header("set-cookie").unwrap().ends_with("; Secure"));

    let cookie = format!("Cookie: theme=dark; {}", cookie.split(';').next().unwrap());
    let with = |method: &str, path: &str, headers: &[&str]| {
        let headers: Vec<&str> = headers.iter().copied().chain([cookie.as_str()]).collect();
        let body = if method == "POST" { image.as_slice() } else { b"" };
        server.request(method, path, &headers, body)
    };
    assert_eq!(with("GET", "/v1/session", &[]).ok(), json!({"required": true, "signed_in": true}));
    assert_eq!(with("GET", "/v1/detections", &[]).status, 200);
    for foreign in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: same-site", "X: y"] {
        with("POST", "/v1/detect", &[foreign]).sentence(403);
    }
    assert_eq!(with("GET", "/v1/detections", &[]).ok()["items"], json!([]));
    assert_eq!(with("POST", "/v1/detect", &[&own]).status, 200);
    assert_eq!(with("POST", "/v1/detect", &["Sec-Fetch-Site: same-origin"]).status, 200);

    let signed_out = with("DELETE", "/v1/session", &[&own]);
    assert!(signed_out.status == 204 && signed_out.header("set-cookie").unwrap().contains("Max-Age=0"));
    // A cookie outlives the server, and ends with its token.
    drop(server);
    let server = Server::start(&bench, "--token-file tokens");
    assert_eq!(server.request("GET", "/v1/detections", &[&cookie], b"").status, 200);
    drop(server);
    bench.write("tokens", "another-token-of-the-test");
    let server = Server::start(&bench, "--token-file tokens");
    server.request("GET", "/v1/detections", &[&cookie], b"").sentence(401);
}

#[test]
fn sign_ins_that_never_end_take_almost_no_memory() {
    let bench = bench();
    let server = Server::start(&bench, "--token-file tokens --max-memory 4");
    let sentence = server.post("/v1/session", "application/json", &[b' '; 4097]).sentence(413);
    assert!(sentence.contains("4096 bytes"), "{sentence}");
    let head = format!(
        "POST /v1/session HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nConnection: close\r\n",
        server.address
    );
    // One that does not say how long it will be, and sends a byte too many.
    let mut endless = server.connect();
    endless.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n1001\r\n").as_bytes()).unwrap();
    endless.write_all(&[b' '; 4097]).unwrap();
    read_answer(&mut endless).unwrap().sentence(413);
    // As much as is taken, but for the last byte.
    let slow = || {
        let mut stream = server.connect();
        stream.write_all(format!("{head}Content-Length: 4096\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(&[b' '; 4095]).unwrap();
        stream
    };
    let _slow: Vec<_> = (0..200).map(|_| slow()).collect();
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for _ in 0..5 {
        assert_eq!(server.request("POST", "/v1/detect", &[&bearer], &image).status, 200);
    }
}

#[test]
fn without_tokens_other_sites_have_no_way_in_either() {
    let bench = bench();
    let server = Server::start(&bench, "");
    let image = fs::read(bench.path(&bench.image(0))).unwrap();
    for foreign in ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        server.request("POST", "/v1/detect", &[foreign], &image).sentence(403);
    }
    // A site whose name points at this machine.
    for method in ["GET", "POST"] {
        let sentence = server.request(method, "/v1/detections", &["Host: evil.example"], b"").sentence(403);
        assert!(sentence.contains("localhost"), "{sentence}");
    }
    assert_eq!(server.get("/v1/session").ok(), json!({"required": false, "signed_in": true}));
    assert_eq!(server.stored(), 0);
}

#[test]
fn other_machines_need_a_token() {
    let bench = bench();
    let start = |listen: &str, more: &str| {
        let command = arguments(more).replace("127.0.0.1:0", listen);
        bench.run(&command)
    };
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let message = refused(&start(listen, ""));
        assert!(message.contains("needs --token-file"), "{message}");
    }
    bench.write("short", "secret");
    let message = refused(&start("127.0.0.1:0", "--token-file short"));
    assert!(message.contains("short:1: a token has at least 16 characters"), "{message}");
    bench.write("empty", "\n");
    assert!(refused(&start("127.0.0.1:0", "--token-file empty")).contains("holds no token"));
    assert!(refused(&start("127.0.0.1:0", "--token-file nowhere")).contains("nowhere"));
    let command = arguments("--token-file tokens").replace("127.0.0.1:0", "0.0.0.0:0");
    let server = Server::start_as(&bench, &mut bench.command(&command));
    let here = server.address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(crate::server::try_request(&here, "GET", "/v1/model", &[], b"").unwrap().status, 401);
    let taken = start(&here, "");
    assert!(refused(&taken).contains("cannot listen on"), "{}", refused(&taken));
}
