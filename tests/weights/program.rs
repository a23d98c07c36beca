//! `faster-rcnn weights`.

use crate::*;

/// The program; what it prints where it succeeds.
fn run(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faster-rcnn"));
    // Whoever has a proxy for the internet cannot reach it by this one.
    command.env("HTTPS_PROXY", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
    command.arg("weights").args(arguments).output().unwrap()
}

fn succeed(arguments: &[&Path]) -> String {
    let output = run(arguments);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{arguments:?}");
    text(&output.stdout)
}

fn fail(arguments: &[&Path]) -> String {
    let output = run(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(message.starts_with("error: ") && message.lines().count() == 1, "{arguments:?}: {message}");
    message
}

#[test]
fn the_command_line_lists_and_says_what_to_do_offline() {
    let list = succeed(&["list".as_ref()]);
    for file in weights::published() {
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(&file.name)).unwrap();
        assert!(line.contains(&file.figures) && line.contains(&file.license), "{line}");
        assert!(line.contains(&file.kind.to_string()), "{line}");
    }
    assert!(list.contains("cache: ") && list.contains("faster-rcnn"), "{list}");

    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("new/cache");
    let message = fail(&["fetch".as_ref(), "resnet18".as_ref(), "--folder".as_ref(), &cache]);
    let by_hand =
        format!("download it elsewhere and put it at {}", cache.join("resnet18-f37072fd.pth").display());
    assert!(
        message.contains("error: https://download.pytorch.org/models/resnet18-f37072fd.pth: "),
        "{message}"
    );
    assert!(message.contains(&by_hand), "{message}");
    fs::write(cache.join("resnet18-f37072fd.pth"), "something else").unwrap();
    let message = fail(&["fetch".as_ref(), "resnet18".as_ref(), "--folder".as_ref(), &cache]);
    assert!(message.contains("not the published file"), "{message}");

    let unknown = run(&["fetch".as_ref(), "resnet19".as_ref()]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("none of resnet18, resnet34, "), "{}", text(&unknown.stderr));
    for command in ["", "list", "fetch", "inspect", "convert"] {
        let arguments: Vec<&Path> =
            [command, "--help"].into_iter().filter(|part| !part.is_empty()).map(Path::new).collect();
        assert!(succeed(&arguments).contains("  faster-rcnn weights "), "{command}");
    }
}

#[test]
fn the_command_line_inspects_and_converts() {
    let folder = tempfile::tempdir().unwrap();
    let inspect = |path: &Path| succeed(&["inspect".as_ref(), path]);
    let said = inspect(&fixture("v1_published.pth"));
    for part in [
        "(PyTorch, zip, 0.0 MiB)",
        "tensors:  295 (295 f32)",
        "detector, ResNet-50, frozen batch norm, epsilon 0e0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("classes:  90 and the background: person, bicycle, "), "{said}");
    let said = inspect(&fixture("v2_legacy.pth"));
    assert!(
        said.contains("PyTorch, legacy")
            && said.contains("ResNet-50, batch norm;")
            && said.contains("box head of four convolutions"),
        "{said}"
    );
    let said = succeed(&["inspect".as_ref(), "--tensors".as_ref(), &fixture("resnet34.pth")]);
    assert!(
        said.contains("model:    classifier, ResNet-34") && said.contains("  fc.weight: f32 [1000, 512]\n"),
        "{said}"
    );
    let said = run(&["inspect".as_ref(), &fixture("layouts_zip.pth")]);
    assert!(
        text(&said.stdout).contains("tensors:  11 (1 bf16, 1 f16, 7 f32, 1 f64, 1 i64)"),
        "{}",
        text(&said.stdout)
    );
    assert!(text(&said.stderr).contains("neither a detector nor a ResNet") && said.status.code() == Some(1));

    let target = folder.path().join("new/model.safetensors");
    let convert = |from: &Path| succeed(&["convert".as_ref(), from, &target]);
    assert!(convert(&fixture("v1_checkpoint.pth")).ends_with("model.safetensors: a detector\n"));
    let same = |a: &Path, b: &Path| {
        let load = |path| weights::load(path, &Device::flex()).unwrap();
        let (a, b) = (load(a), load(b));
        assert_eq!(a.config(), b.config());
        assert!(weights::collect(&a) == weights::collect(&b));
    };
    same(&fixture("v1_checkpoint.pth"), &target);
    let said = inspect(&target);
    assert!(said.contains("metadata: faster_rcnn_config\n"), "{said}");
    assert!(said.contains("epsilon:  1e-5: as the file's metadata has it\n"), "{said}");

    let other = folder.path().join("other.safetensors");
    let set =
        ["--set", "model.frozen_epsilon=0", "--set", "model.anchors.sizes=[8,16,32,64,128]"].map(Path::new);
    let from = fixture("v1_checkpoint.pth");
    let with_settings =
        |command: &[&Path]| -> String { succeed(&command.iter().copied().chain(set).collect::<Vec<_>>()) };
    with_settings(&["convert".as_ref(), &from, &other]);
    for said in [with_settings(&["inspect".as_ref(), &from]), inspect(&other)] {
        assert!(
            said.contains("anchors:  sizes [8.0, 16.0, 32.0, 64.0, 128.0], ratios [0.5, 1.0, 2.0]\n"),
            "{said}"
        );
        assert!(said.contains("epsilon 0e0"), "{said}");
    }
    let said = inspect(&fixture("v1_lightning.ckpt"));
    assert!(said.contains("names:    begin with state_dict.model.\n"), "{said}");
    assert!(said.contains("epsilon:  1e-5: the file cannot tell"), "{said}");
    let message = fail(&["convert".as_ref(), &other, &other]);
    assert!(message.contains("is read, so it is not written"), "{message}");
    for setting in ["train.epochs=3", "model.=3", "model.seed"] {
        let output = run(&["inspect".as_ref(), &other, "--set".as_ref(), setting.as_ref()]);
        assert_eq!(output.status.code(), Some(2), "{setting}");
        assert!(text(&output.stderr).contains("model.KEY=VALUE"), "{}", text(&output.stderr));
    }

    assert!(convert(&fixture("resnet18.pth")).ends_with("model.safetensors: a classifier\n"));
    let (from, to) = (WeightFile::open(fixture("resnet18.pth")).unwrap(), WeightFile::open(&target).unwrap());
    let found = to.inspect(&LoadOptions::default()).unwrap();
    assert_eq!(
        (found.kind, found.backbone, found.config),
        (WeightFileKind::Classifier, ResNetDepth::ResNet18, None)
    );
    let floats = from.tensors().iter().filter(|(_, tensor)| tensor.dtype.is_float());
    for (name, tensor) in floats.clone() {
        assert_eq!(to.tensors()[name].shape, tensor.shape, "{name}");
        assert_eq!(to.read(name).unwrap(), from.read(name).unwrap(), "{name}");
    }
    assert_eq!(to.tensors().len(), floats.count());

    let before = fs::read(&target).unwrap();
    let message = fail(&["convert".as_ref(), &fixture("layouts_zip.pth"), &target]);
    assert!(message.contains("layouts_zip.pth: tensor backbone.body.conv1.weight: is missing"), "{message}");
    assert!(fs::read(&target).unwrap() == before);
    assert!(fail(&["inspect".as_ref(), "nowhere.pth".as_ref()]).contains("nowhere.pth: No such file"));
}
