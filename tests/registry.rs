//! The registry in a folder, by the program and by the library: versions, aliases, damage, processes at once
//! and killed ones.

#[path = "common/program.rs"]
mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use faster_rcnn::data;
use faster_rcnn::registry::{FolderRegistry, NewVersion, Registry, RegistryName, SampleImages, resolve};
use faster_rcnn::train::{Run, RunConfig, TrainConfig};
use faster_rcnn::{ReferenceInput, weights};
use serde_json::Value;

use program::{Bench, assert_no_temporary_files, text, tiny};

#[test]
fn a_run_is_registered_listed_compared_and_used() {
    let bench = Bench::new(6);
    let mut config = RunConfig::new(tiny());
    config.train = TrainConfig { epochs: 1, warmup_steps: 2, sample_pictures: 1, ..config.train };
    let split = data::open(bench.path("boards")).unwrap().sides(0);
    Run::new(config, split).fit(bench.path("run")).unwrap();

    let models = |rest: &str| bench.succeed(&format!("models {rest} --registry registry"));
    assert_eq!(models("list"), "");
    assert_eq!(models("register run --name pcb --alias champion --comment first"), "models:/pcb/1\n");
    let sample = bench.image(1);
    let register = format!("register tiny.safetensors --name pcb --sample {sample} --alias shadow");
    assert_eq!(models(&register), "models:/pcb/2\n");
    assert_eq!(models("list"), "pcb     2 versions  champion 1, shadow 2\n");
    assert_eq!(models("list pcb").lines().count(), 2);
    assert!(models("show pcb@champion").contains("5 images, 1 held out"));

    let version: Value = serde_json::from_str(&models("show pcb@champion --json")).unwrap();
    let evaluation = bench.json("run/evaluation.json");
    assert_eq!(version["evaluation"], evaluation);
    assert!(!version["evaluation"]["thresholds"].is_null());
    assert_eq!(
        (&version["version"], &version["aliases"][0], &version["comment"]),
        (&1.into(), &"champion".into(), &"first".into())
    );
    assert_eq!(version["signature"]["classes"].as_array().unwrap().len(), 6);
    assert_eq!(version["settings"]["train"]["epochs"], 1);
    assert_eq!(version["training"]["epoch"], 1);
    let best = "run/checkpoints/best.safetensors";
    assert_eq!(
        fs::read(bench.path("registry/pcb/1/model.safetensors")).unwrap(),
        fs::read(bench.path(best)).unwrap()
    );

    let compared = models("compare pcb/1 pcb/2");
    assert!(compared.contains("trained on:") && compared.contains("train.epochs"), "{compared}");
    let compared: Value = serde_json::from_str(&models("compare pcb@shadow pcb@champion --json")).unwrap();
    assert_eq!(compared["settings"]["train.epochs"][1], 1);

    // A version gives what its file gives, wherever weights are taken.
    let image = bench.image(0);
    let predict = |weights: &str| bench.succeed(&format!("predict --weights {weights} {image}"));
    by_environment(&bench, &image);
    let with = |rest: &str| bench.succeed(&format!("{rest} --registry registry"));
    assert_eq!(with(&format!("predict --weights models:/pcb@champion {image}")), predict(best));
    assert_eq!(
        with("evaluate --weights models:/pcb/1 --data boards"),
        bench.succeed(&format!("evaluate --weights {best} --data boards"))
    );
    assert!(with("weights inspect models:/pcb/1").contains("model:    detector"));
    with("weights convert models:/pcb@champion converted.safetensors");
    with("export --weights models:/pcb/2 --output model.onnx");
    let start = "train --data boards --output again --weights models:/pcb/1 --config run/config.toml";
    assert!(with(start).contains("applied: "));

    for version in ["pcb/1", "pcb@shadow"] {
        let said = models(&format!("verify {version}"));
        assert!(said.contains("the weights are those registered"), "{said}");
    }
    let downloaded = models("download pcb@champion --output champion");
    assert_eq!(downloaded, "champion/model.safetensors\n");
    assert_eq!(predict("champion/model.safetensors"), predict(best));
    assert_no_temporary_files(&bench.path("champion"));
}

/// The registry may be named by the environment.
fn by_environment(bench: &Bench, image: &str) {
    let mut command = bench.command(&format!("predict --weights models:/pcb/1 {image}"));
    let output = command.env("FASTER_RCNN_REGISTRY", "registry").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut command = bench.command("models list");
    let output = command.env("XDG_DATA_HOME", bench.path("data")).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), String::new()));
}

#[test]
fn help_teaches_and_wrong_usage_is_2() {
    let bench = Bench::new(1);
    for command in ["", "register", "list", "show", "compare", "alias", "delete", "download", "verify"] {
        let help = bench.succeed(&format!("models {command} --help"));
        assert!(help.contains("  faster-rcnn models "), "{command} has no example: {help}");
    }
    for wrong in [
        "models",
        "models register tiny.safetensors",
        "models register tiny.safetensors --name pcb --sample-reference a.png",
        "models show",
        "models compare pcb/1",
        "models alias pcb/1",
        "models alias pcb@champion other --remove",
        "models download pcb/1",
        "models list --registry",
    ] {
        let output = bench.run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", text(&output.stderr));
    }
    #[cfg(not(feature = "mlflow"))]
    {
        let message = bench.fail("models list --registry http://127.0.0.1:9");
        assert!(message.contains("needs the Cargo feature `mlflow`"), "{message}");
        let output = bench.run("train --data boards --output run --mlflow http://127.0.0.1:9");
        assert!(text(&output.stderr).contains("needs the Cargo feature `mlflow`"));
    }
}

#[test]
fn the_help_of_each_command_names_the_variables_that_stand_for_its_options() {
    let bench = Bench::new(1);
    let registry = ["FASTER_RCNN_REGISTRY"].as_slice();
    let both = ["FASTER_RCNN_REGISTRY", "FASTER_RCNN_DATABASE"].as_slice();
    let database = ["FASTER_RCNN_DATABASE"].as_slice();
    for (command, variables, built) in [
        ("train", registry, true),
        ("evaluate", registry, true),
        ("predict", registry, true),
        ("export", registry, true),
        ("weights inspect", registry, true),
        ("weights convert", registry, true),
        ("models list", registry, true),
        ("watch", both, cfg!(feature = "records")),
        ("serve", both, cfg!(feature = "serve")),
        ("records export", database, cfg!(feature = "records")),
        ("records keep", database, cfg!(feature = "records")),
    ] {
        if !built {
            continue;
        }
        let help = bench.succeed(&format!("{command} --help"));
        // Lines are wrapped anywhere.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for variable in variables {
            assert!(help.contains(&format!("[env: {variable}]")), "{command}: {help}");
        }
    }
}

#[test]
fn numbers_aliases_and_names_keep_their_rules() {
    let bench = Bench::new(2);
    let models = |rest: &str| bench.succeed(&format!("models {rest} --registry registry"));
    let refused = |rest: &str| bench.fail(&format!("models {rest} --registry registry"));
    for number in 1..=3 {
        assert_eq!(models("register tiny.safetensors --name pcb"), format!("models:/pcb/{number}\n"));
    }
    models("alias pcb/3 champion");
    assert!(refused("delete pcb/3").contains("the alias champion points at this version"));
    assert!(refused("delete pcb@champion").contains("the alias champion points at this version"));
    models("alias pcb/1 champion");
    models("delete pcb/3");
    assert!(refused("delete pcb/3").contains("there is no version 3 of a model pcb"));
    assert_eq!(models("register tiny.safetensors --name pcb"), "models:/pcb/4\n", "3 is never used again");
    models("alias pcb@champion --remove");
    assert!(refused("show pcb@champion").contains("has no alias champion of a model pcb"));
    assert!(refused("alias pcb@champion --remove").contains("there is no alias champion"));
    assert!(refused("alias pcb/9 champion").contains("there is no version 9"));
    assert!(refused("alias pcb/4 latest").contains("an alias is no number"));
    assert!(refused("list gone").contains("there is no model gone"));

    for name in ["../pcb", "a/b", ".hidden", "nul", "a@b"] {
        let message = refused(&format!("register tiny.safetensors --name {name}"));
        assert!(message.contains("a model's name "), "{message}");
    }
    for version in ["pcb", "pcb/0", "../pcb/1", "pcb@1", "pcb/4/../../x"] {
        let output = bench.run(&format!("models show {version} --registry registry"));
        assert_eq!(output.status.code(), Some(2), "{version}");
        let weights = format!("predict --weights models:/{version} {} --registry registry", bench.image(0));
        bench.fail(&weights);
    }
    let message =
        bench.fail(&format!("predict --weights models:/pcb/7 {} --registry registry", bench.image(0)));
    assert!(message.contains("registry/pcb/7: there is no version 7 of a model pcb"), "{message}");
    let message = refused("register nothing.safetensors --name pcb");
    assert!(message.contains("nothing.safetensors"), "{message}");
    assert!(refused("register boards --name pcb").contains("is no run with weights"));
    assert_eq!(fs::read_dir(bench.folder.path()).unwrap().count(), 3, "nothing is written elsewhere");
}

#[test]
fn damaged_weights_are_refused_and_verify_finds_other_ones() {
    let bench = Bench::new(2);
    let registry = FolderRegistry::new(bench.path("registry"));
    let reference = SampleImages::load(&bench.path(&bench.image(0)), None).unwrap();
    let version = NewVersion::of(bench.path("tiny.safetensors")).unwrap().with_sample(reference);
    assert_eq!(registry.register("pcb", &version).unwrap(), 1);

    let name = RegistryName::Folder(bench.path("registry"));
    let found = resolve("models:/pcb/1", &name).unwrap();
    assert_eq!((found.name.as_deref(), found.version), (Some("pcb"), Some(1)));
    let plain = resolve(bench.path("tiny.safetensors"), &name).unwrap();
    assert_eq!((plain.sha256, plain.version), (found.sha256, None));

    let path = bench.path("registry/pcb/1/model.safetensors");
    let good = fs::read(&path).unwrap();
    for place in [0, 9, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        fs::write(&path, bad).unwrap();
        let error = resolve("models:/pcb/1", &name).unwrap_err().to_string();
        assert!(error.contains("model.safetensors: is damaged: its SHA-256 is "), "{error}");
        for command in [
            format!("predict --weights models:/pcb/1 {}", bench.image(0)),
            "models verify pcb/1".to_string(),
            "models download pcb/1 --output copy".to_string(),
        ] {
            let message = bench.fail(&format!("{command} --registry registry"));
            assert!(message.contains("is damaged"), "{message}");
        }
        assert!(!bench.path("copy").exists());
    }
    fs::write(&path, &good).unwrap();
    bench.succeed("models verify pcb/1 --registry registry");

    // Another sum on record, as if somebody had replaced both.
    let other = weights::save(&tiny().with_class_names(&["other"]).init(&Device::flex()), &path);
    other.unwrap();
    let card_path = bench.path("registry/pcb/1/version.json");
    let mut card = bench.json("registry/pcb/1/version.json");
    card["sha256"] = resolve(&path, &name).unwrap().sha256.into();
    fs::write(&card_path, card.to_string()).unwrap();
    let message = bench.fail("models verify pcb/1 --registry registry");
    assert!(
        message.contains("differences in the sample, the first one: expected and not found"),
        "{message}"
    );
}

#[test]
fn a_detector_with_a_reference_has_a_sample_with_one() {
    let bench = Bench::new(2);
    let mut config = tiny();
    config.reference = ReferenceInput::Difference;
    weights::save(&config.init(&Device::flex()), bench.path("pairs.safetensors")).unwrap();
    let models = |rest: &str| bench.succeed(&format!("models {rest} --registry registry"));
    models("register pairs.safetensors --name pairs");
    assert!(bench.path("registry/pairs/1/sample_reference.png").exists());
    models("verify pairs/1");
    assert!(models("show pairs/1").contains("with a reference"));
    let alone = format!(
        "models register pairs.safetensors --name pairs --sample {} --registry registry",
        bench.image(0)
    );
    assert!(bench.fail(&alone).contains("reference"));
    assert_eq!(models("list"), "pairs     1 version\n");
}

#[test]
fn eight_processes_that_register_at_once_get_eight_versions() {
    let bench = Bench::new(1);
    let register = "models register tiny.safetensors --name pcb --registry registry";
    let children: Vec<_> = (0..8)
        .map(|_| bench.command(register).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    let said: BTreeSet<String> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            text(&output.stdout)
        })
        .collect();
    let expected: BTreeSet<String> = (1..=8).map(|number| format!("models:/pcb/{number}\n")).collect();
    assert_eq!(said, expected);
    let registry = FolderRegistry::new(bench.path("registry"));
    assert_eq!(registry.numbers("pcb").unwrap(), (1..=8).collect::<Vec<u32>>());
    for number in 1..=8 {
        registry.weights(&format!("pcb/{number}").parse().unwrap()).unwrap();
    }
}

/// What a registry says of its only model: numbers and aliases.
fn state(registry: &FolderRegistry) -> (Vec<u32>, Vec<(String, u32)>) {
    (registry.numbers("pcb").unwrap(), registry.aliases("pcb").unwrap().into_iter().collect())
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_state_or_the_new_one() {
    let bench = Bench::new(1);
    let registry = FolderRegistry::new(bench.path("registry"));
    let command = |moment: u32, numbers: &[u32]| match moment % 4 {
        1 => "models alias pcb/2 champion".to_string(),
        2 => "models alias pcb/1 champion".to_string(),
        3 if numbers.len() > 3 => format!("models delete pcb/{}", numbers.last().unwrap()),
        _ => "models register tiny.safetensors --name pcb".to_string(),
    };
    // How long a whole command takes says when to kill: the shortest of three times, because other tests run
    // beside this one. Deleting takes about as long as an alias.
    let time = |command: &str| -> Duration {
        let once = |_| {
            let started = Instant::now();
            bench.succeed(&format!("{command} --registry registry"));
            started.elapsed()
        };
        (0..3).map(once).min().unwrap()
    };
    let register = time("models register tiny.safetensors --name pcb");
    let alias = time("models alias pcb/1 champion");

    let (mut kills, mut seen) = (0, BTreeSet::new());
    let mut highest = 3;
    for moment in 0..50 {
        let before = state(&registry);
        let command = command(moment, &before.0);
        let mut child = quiet(bench.command(&format!("{command} --registry registry")));
        let whole = if command.starts_with("models register") { register } else { alias };
        // Spread over the time that a command takes.
        thread::sleep(whole.mul_f64(f64::from(moment * 37 % 50 + 1) / 45.0));
        let killed = child.try_wait().unwrap().is_none();
        let _ = child.kill();
        child.wait().unwrap();
        kills += u32::from(killed);
        let after = state(&registry);
        assert_is_step(&before, &after, &command, highest);
        highest = highest.max(after.0.last().copied().unwrap_or(0));
        seen.insert((killed, before == after));
        for number in after.0.iter().filter(|number| !before.0.contains(number)) {
            registry.weights(&format!("pcb/{number}").parse().unwrap()).unwrap();
        }
        for number in after.0 {
            registry.show("pcb", number).unwrap();
        }
    }
    assert!(kills >= 25, "only {kills} of 50 processes were killed before they ended, outcomes {seen:?}");
    // The next change clears up.
    bench.succeed("models register tiny.safetensors --name pcb --registry registry");
    let left: Vec<String> = fs::read_dir(bench.path("registry/pcb")).unwrap().map(name).collect();
    assert!(left.iter().all(|name| !name.starts_with('.') || name == ".lock"), "{left:?}");
    for entry in fs::read_dir(bench.path("registry/pcb/deleted")).into_iter().flatten() {
        assert_eq!(fs::read_dir(entry.unwrap().path()).unwrap().count(), 0);
    }
}

fn quiet(mut command: Command) -> std::process::Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn name(entry: std::io::Result<fs::DirEntry>) -> String {
    entry.unwrap().file_name().into_string().unwrap()
}

/// Checks that the state is the old one, or what the command makes of it.
fn assert_is_step(
    before: &(Vec<u32>, Vec<(String, u32)>),
    after: &(Vec<u32>, Vec<(String, u32)>),
    command: &str,
    highest: u32,
) {
    let mut new = before.clone();
    let word = command.split(' ').nth(1).unwrap();
    match word {
        "register" => new.0.push(highest + 1),
        "delete" => {
            new.0.pop();
        }
        _ => {
            let number = if command.contains("pcb/2") { 2 } else { 1 };
            new.1 = vec![("champion".to_string(), number)];
        }
    }
    assert!(after == before || *after == new, "{command}: {before:?} became {after:?}");
}

#[test]
fn what_a_killed_process_left_is_removed_by_the_next_change() {
    let bench = Bench::new(1);
    let registry = FolderRegistry::new(bench.path("registry"));
    let version = NewVersion::of(bench.path("tiny.safetensors")).unwrap();
    registry.register("pcb", &version).unwrap();
    let leftover = bench.path("registry/pcb/.2.abcdef");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("model.safetensors"), b"half").unwrap();
    let started = Instant::now();
    assert_eq!(registry.register("pcb", &version).unwrap(), 2);
    assert!(started.elapsed() < Duration::from_secs(60) && !leftover.exists());
    assert!(Path::new(&registry.place()).is_dir());
}
