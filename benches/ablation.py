#!/usr/bin/env python3
"""What each setting of the recipe for DeepPCB is worth: one change at a time, on a short schedule.

    cargo build --release
    python benches/ablation.py --data PCBData --output runs/ablation [--only AdamW ...] [--set train.loader_threads=8 ...]

Each run is `configs/deep_pcb_small_reference.toml` at 384 pixels for four epochs, with a change. The boards of one kind
are held out; the others are trained on. The baseline has three seeds, which say how much is chance. A run that is
done is not made again, and one that was stopped goes on: other settings take another folder. At the end stands a
table.
"""

import argparse
import json
import pathlib
import subprocess
import time

# The last three are what changes are compared with. The configuration has them as they turned out to be better.
SHORT = ["train.epochs=4", "train.warmup_steps=100", "model.transform.min_size=384", "model.transform.max_size=384"]
SHORT += ["data.copy_paste=0", "data.clean_fraction=0.1", "augment.invert=0.0"]

# Starts from weights of a run of the same length on synthetic boards.
PRETRAINED = "after as long on synthetic boards"

# What is set beside SHORT.
CHANGES = {
    "baseline, seed 0": [],
    "baseline, seed 1": ["train.seed=1", "model.seed=1"],
    "baseline, seed 2": ["train.seed=2", "model.seed=2"],
    "no reference": ["model.reference=none", "model.reference_align=off", "augment.reference_shift=0.0"],
    "reference not aligned": ["model.reference_align=off"],
    "reference not shifted": ["augment.reference_shift=0.0"],
    "no clean boards": ["data.clean_fraction=0.0"],
    "inverted with a chance of a third": ["augment.invert=0.33"],
    "no rotation": ["augment.rotation=0.0"],
    "scale 0.8 to 1.25": ["augment.scale_jitter=[0.8,1.25]"],
    "no photometry": [
        f"augment.photometry.{key}=0.0" for key in ("brightness", "contrast", "noise", "blur", "morphology")
    ],
    "no morphology": ["augment.photometry.morphology=0.0"],
    "copy-paste of up to 3": ["data.copy_paste=3"],
    "no moving average": ["train.ema_decay=0.0"],
    "AdamW": ["train.optimizer=adamw", "train.learning_rate=0.0003", "train.weight_decay=0.05"],
    "corners as edges": ["model.corners=edges"],
    "anchors of 32 to 512": ["model.anchors.sizes=[32.0,64.0,128.0,256.0,512.0]"],
    "512 pixels": ["model.transform.min_size=512", "model.transform.max_size=512"],
    PRETRAINED: [],
}


def split(data, output, kind):
    """Writes lists of the boards to train on, and of those of one kind, which are held out. By every fifth of them the
    best epoch is chosen; the others say how good it is.
    """
    boards = sorted(path.relative_to(data).as_posix() for path in data.glob("group*/*/*_test.jpg"))
    held_out = [board for board in boards if pathlib.Path(board).name.startswith(kind)]
    trained = [board for board in boards if board not in set(held_out)]
    if not held_out or not trained:
        raise SystemExit(f"{data} has {len(held_out)} boards of kind {kind} and {len(trained)} others")
    judged = [board for index, board in enumerate(held_out) if index % 5]
    for name, validation in [("split", held_out[::5]), ("evaluation", judged)]:
        (output / name).mkdir(parents=True, exist_ok=True)
        (output / name / "train.txt").write_text("\n".join(trained) + "\n")
        (output / name / "val.txt").write_text("\n".join(validation) + "\n")


def beside(folder, ending):
    """A file that is called as a folder, and lies beside it."""
    return folder.parent / (folder.name + ending)


def train(arguments, folder, settings, data, start=()):
    """Trains, or goes on, and adds up the seconds that it took."""
    command = [arguments.program, "train", "--output", folder, "--device", arguments.device, *data]
    if (folder / "checkpoints" / "last.safetensors").exists():
        command += ["--resume"]
    else:
        command += ["--config", arguments.config, *start]
        command += [part for setting in SHORT + arguments.set + settings for part in ("--set", setting)]
    clock = beside(folder, ".seconds")
    before, started = float(clock.read_text()) if clock.exists() else 0.0, time.monotonic()
    try:
        with open(beside(folder, ".log"), "a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    finally:
        clock.write_text(str(before + time.monotonic() - started))


def validation_loss(folder):
    """The loss on the validation boards after the epoch with the best AP."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if row["split"] == "valid" and "step" not in row]
    return max(epochs, key=lambda row: row["ap"])["loss"]


def run(arguments, name, settings):
    """The numbers of a run, from its file where it is done."""
    folder = arguments.output / name.replace(",", "").replace(" ", "_").lower()
    numbers = beside(folder, ".json")
    if numbers.exists():
        return json.loads(numbers.read_text())
    data, start = ["--data", arguments.data, "--split", arguments.output / "split"], []
    if name == PRETRAINED:
        synthetic = arguments.output / "synthetic"
        if not (synthetic / "done").exists():
            boards = arguments.output / "boards"
            if not boards.exists():
                made = ["--output", boards, "--images", "1000", "--size", "640"]
                subprocess.run([arguments.program, "synth", *made], check=True)
            train(arguments, synthetic, settings, ["--data", boards])
            (synthetic / "done").touch()
        start = ["--weights", synthetic / "checkpoints" / "best.safetensors"]
    print(f"{name} ...", flush=True)
    train(arguments, folder, settings, data, start)
    evaluation = beside(folder, ".evaluation.json")
    command = [arguments.program, "evaluate", "--weights", folder / "checkpoints" / "best.safetensors"]
    command += ["--data", arguments.data, "--split", arguments.output / "evaluation", "--side", "val"]
    command += ["--device", arguments.device, "--json", evaluation]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads(evaluation.read_text())
    calls = {str(at["recall"]): at["per_board"] for at in found["thresholds"]["overall"]["false_calls"]}
    row = {
        "AP": found["coco"]["ap"],
        "AP50": found["coco"]["ap50"],
        "mAP": found["deep_pcb"]["map"],
        "F": found["deep_pcb"]["f_score"],
        "calls at 0.90": calls["0.9"],
        "calls at 0.95": calls["0.95"],
        "validation loss": validation_loss(folder),
        "minutes": float(beside(folder, ".seconds").read_text()) / 60,
    }
    numbers.write_text(json.dumps(row))
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="the folder PCBData")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/ablation"))
    parser.add_argument("--config", default="configs/deep_pcb_small_reference.toml")
    parser.add_argument("--program", default="target/release/faster-rcnn")
    parser.add_argument("--kind", default="77000", help="the first digits of the boards that are held out")
    parser.add_argument("--only", action="append", choices=list(CHANGES), help="only this run; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all runs")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    split(arguments.data, arguments.output, arguments.kind)
    rows = {}
    for name, settings in CHANGES.items():
        if not arguments.only or name in arguments.only:
            rows[name] = run(arguments, name, settings)
    columns = list(next(iter(rows.values())))
    print("|", " | ".join(["change", *columns]), "|")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        values = ["-" if row[key] is None else f"{row[key]:.{1 if key == 'minutes' else 3}f}" for key in columns]
        print("|", " | ".join([name, *values]), "|")


if __name__ == "__main__":
    main()
