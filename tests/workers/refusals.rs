//! Workers that refuse a trainer, or that a trainer refuses.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use burn::backend::Flex;
use burn::server::{RemoteServer, WebSocketTransport};
use burn::tensor::{Device, Tensor, TensorData};
use faster_rcnn::Error;
use faster_rcnn::train::Team;
use faster_rcnn::workers::{Address, connect};

use super::PROGRAM;
use super::bench::{Bench, Worker};
use super::training::values;

#[test]
fn a_wrong_token_another_version_and_other_operations_are_refused() {
    let bench = Bench::new();
    let worker = bench.worker();
    fs::write(bench.path("wrong"), "guess\n").unwrap();
    let since = Instant::now();
    let trainer = bench.train("wrong", &worker.address, &["--token-file", "wrong"]);
    bench.assert_ends(trainer, since, &worker.address, &["refuses the token"]);

    let nobody = "ws://127.0.0.1:9";
    let trainer = bench.train("nobody", nobody, &[]);
    bench.assert_ends(trainer, Instant::now(), nobody, &["is not running: Connection refused"]);

    let serve = |server: RemoteServer| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        thread::spawn(move || server.serve(WebSocketTransport::from_listener(listener)).unwrap());
        address
    };
    let server = || RemoteServer::new([Device::flex()]);
    let other_operations = serve(server());
    let trainer = bench.train("other", &other_operations, &[]);
    bench.assert_ends(
        trainer,
        Instant::now(),
        &other_operations,
        &["does not know the operations of faster-rcnn"],
    );

    let other_version =
        serve(server().with_custom_op::<Flex, _>("faster_rcnn::identity", |handles, call, device| {
            let mut name = b"faster-rcnn 9.9.9, operations 0".to_vec();
            name.resize(64, b' ');
            let values: Vec<f32> = name.into_iter().map(f32::from).collect();
            let answer = <Flex as burn::backend::ops::FloatTensorOps<Flex>>::float_from_data(
                TensorData::new(values, [64]),
                device,
            );
            handles.register_float_tensor::<Flex>(&call.outputs[0].id, answer);
        }));
    let trainer = bench.train("version", &other_version, &[]);
    bench.assert_ends(
        trainer,
        Instant::now(),
        &other_version,
        &["is faster-rcnn 9.9.9, operations 0, this is"],
    );

    let twice = format!("{0},{0}", worker.address);
    let trainer = bench.train("twice", &twice, &[]);
    bench.assert_ends(trainer, Instant::now(), &worker.address, &["is given twice"]);

    let taken = worker.address.strip_prefix("ws://").unwrap();
    fs::write(bench.path("empty"), "\n").unwrap();
    for (arguments, expected) in [
        (
            &["--listen", "0.0.0.0:0"][..],
            "error: 0.0.0.0:0 can be reached from other machines: it needs --token-file",
        ),
        (&["--iroh", "key"], "error: 0.0.0.0:3000 can be reached from other machines: it needs --token-file"),
        (&["--token-file", "nothing"], "error: nothing: No such file or directory"),
        (&["--token-file", "empty"], "error: empty: holds no token"),
        (&["--listen", taken], &format!("error: worker ws://{taken}: cannot listen: Address already in use")),
    ] {
        let mut command = Command::new(PROGRAM);
        let ended = command.current_dir(bench.folder.path()).arg("worker").args(arguments).output().unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        assert!(!ended.status.success() && text.starts_with(expected) && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn a_worker_with_iroh_is_reached_by_its_key() {
    let bench = Bench::new();
    let worker = Worker::iroh(bench.folder.path());
    let address: Address = worker.address.parse().unwrap();
    let start = Instant::now();
    let team: Team = loop {
        match connect(std::slice::from_ref(&address), Some("secret")) {
            Ok(team) => break team,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    let tensor = Tensor::<1>::from_floats([1.0, 2.0], &team.members()[0].device);
    assert_eq!(values(tensor * 2.0), [2.0, 4.0]);
    let refused = |addresses: &[Address], token, cause: &str| {
        let error = connect(addresses, Some(token)).unwrap_err().to_string();
        assert!(error.ends_with(cause), "{error}");
    };
    refused(std::slice::from_ref(&address), "guess", "refuses the token");
    let websocket = bench.worker().address.parse().unwrap();
    let nobody = connect(&[], Some("secret")).unwrap_err();
    assert!(matches!(nobody, Error::Config(_)), "{nobody}");
    refused(&[address, websocket], "secret", "cannot reach the first, which has another transport");
}
