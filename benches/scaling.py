#!/usr/bin/env python3
"""How well two workers hide the exchange of gradients behind their computation, on a link of any speed.

    cargo build --release --features workers --bins --example all_reduce
    python benches/scaling.py [--steps 8] [--size 640]                     # as root

Each of the two workers has a core (`taskset`) and a network namespace of its own. A link between the namespaces is
shaped with `tc ... tbf`; the trainer reaches both over other links, without a limit. The script measures

- computing alone: both workers at once, each for a trainer of its own, so that nothing is exchanged;
- exchanging alone: the sum of as many elements as ResNet-50-FPN has gradients, with `examples/all_reduce`;
- training with both, at the rate at which the two take equally long, which the script finds; without a limit; at half
  the rate; and at the rate with bf16 on the way;

and prints the step time over the longer of the two. Beside it is the step time that a model predicts: see `predict`. Then
come the losses of 20 steps beside those of one process.

The last lines are the model's figures for A10Gs.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HOST, WORKERS = "10.213.8.1", ["10.213.9.1", "10.213.9.2"]
TOKEN = "scaling"

# Billions of multiply-adds forward, at 640 pixels, and millions of parameters; in the order of a forward pass.
STAGES = {
    "lower": (15.0, 1.44),
    "layer3": (12.0, 7.10),
    "layer4": (6.6, 14.96),
    "fpn": (23.0, 3.34),
    "rpn": (20.0, 0.60),
    "heads": (7.0, 13.93),
}


def predict(compute, seconds_per_element, steps=6):
    """The seconds of a step that computes for `compute` seconds, and whose gradients take `seconds_per_element` to be
    summed. Computation is divided by multiply-adds, two thirds of it backward. A stage's gradients travel as soon as
    they are there; the stage that comes first in the forward pass has precedence on the link. Its forward pass waits for
    its sum.
    """
    names, total = list(STAGES), sum(macs for macs, _ in STAGES.values())
    forward = {name: compute / 3 * macs / total for name, (macs, _) in STAGES.items()}
    work = [(name, "forward", forward[name]) for name in names]
    work += [(name, "backward", 2 * forward[name]) for name in reversed(names)]
    left = {name: 0.0 for name in names}  # seconds of the link that a stage's gradients still need
    now, ends = 0.0, []

    def travel(seconds):
        for name in names:
            used = min(left[name], seconds)
            left[name] -= used
            seconds -= used

    for _ in range(steps):
        for name, direction, seconds in work:
            if direction == "forward":
                # What has precedence goes first, so it waits for all of that, too.
                wait = sum(left[other] for other in names[: names.index(name) + 1]) if left[name] > 0 else 0.0
                travel(wait)
                now += wait
            travel(seconds)
            now += seconds
            if direction == "backward":
                left[name] += STAGES[name][1] * 1e6 * seconds_per_element
        ends.append(now)
    return ends[-1] - ends[-2]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, **options).stdout


class Network:
    """Two namespaces with a link between them, and one from each to the trainer."""

    NAMES = ["frcnn-scale0", "frcnn-scale1"]
    BRIDGE = "frcnn-sc"

    def __enter__(self):
        self.__exit__()
        run("ip", "link", "add", self.BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{HOST}/24", "dev", self.BRIDGE)
        run("ip", "link", "set", self.BRIDGE, "up")
        for name in self.NAMES:
            run("ip", "netns", "add", name)
        first, second = self.NAMES
        run("ip", "link", "add", "wire", "netns", first, "type", "veth", "peer", "name", "wire", "netns", second)
        for index, name in enumerate(self.NAMES):
            outside = f"{self.BRIDGE}{index}"
            run("ip", "link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", outside, "master", self.BRIDGE, "up")
            run("ip", "-n", name, "addr", "add", f"10.213.8.{index + 2}/24", "dev", "eth0")
            run("ip", "-n", name, "addr", "add", f"{WORKERS[index]}/24", "dev", "wire")
            for device in ("eth0", "wire", "lo"):
                run("ip", "-n", name, "link", "set", device, "up")
            run("ip", "route", "add", f"{WORKERS[index]}/32", "via", f"10.213.8.{index + 2}")
        return self

    def __exit__(self, *_):
        for index, name in enumerate(self.NAMES):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            subprocess.run(["ip", "link", "del", f"{self.BRIDGE}{index}"], capture_output=True)
        subprocess.run(["ip", "link", "del", self.BRIDGE], capture_output=True)

    def limit(self, bits):
        """Bits a second of the link, each way; None for no limit."""
        for name in self.NAMES:
            subprocess.run(["ip", "netns", "exec", name, "tc", "qdisc", "del", "dev", "wire", "root"], capture_output=True)
            if bits:
                shape = ["tbf", "rate", f"{int(bits)}bit", "burst", "128kb", "latency", "50ms"]
                run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "wire", "root", *shape)


class Bench:
    def __init__(self, arguments, folder):
        self.program, self.example = (pathlib.Path(path).resolve() for path in (arguments.program, arguments.example))
        self.folder, self.steps, self.size = folder, arguments.steps, arguments.size
        (folder / "token").write_text(TOKEN)
        # Nine of ten boards are trained on, half of these by each worker.
        boards = 3 * (arguments.steps + 4)
        run(self.program, "synth", "--output", folder / "boards", "--images", boards, "--size", arguments.size, "--seed", 1)
        self.workers = []

    def start(self, network):
        for index, name in enumerate(network.NAMES):
            command = ["ip", "netns", "exec", name, "taskset", "-c", str(index), self.program, "worker", "--listen"]
            command += [f"{WORKERS[index]}:3000", "--token-file", self.folder / "token"]
            environment = os.environ | {"RAYON_NUM_THREADS": "1"}
            self.workers.append(subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, env=environment))
        for worker in self.workers:
            worker.stdout.readline()

    def stop(self):
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def trainer(self, output, addresses, *settings):
        shutil.rmtree(self.folder / output, ignore_errors=True)
        command = [self.program, "train", "--config", CONFIG, "--data", self.folder / "boards", "--output"]
        command.append(self.folder / output)
        if addresses:
            command += ["--token-file", self.folder / "token", "--workers"]
            command.append(",".join(f"ws://{address}:3000" for address in addresses))
        fixed = ["train.batch_size=1", "train.epochs=1", "model.norm=group", "model.trainable_layers=5"]
        fixed += ["train.learning_rate=0.0001", "train.sample_pictures=0", f"model.transform.min_size={self.size}"]
        fixed += [f"model.transform.max_size={self.size}"]
        for setting in [*fixed, *settings]:
            command += ["--set", setting]
        log = open(self.folder / f"{output}.log", "w")
        return subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)

    def values(self, output, trainer, key, count):
        """Those of the first training steps that have this number. The run is ended when they are there."""
        file = self.folder / output / "metrics.jsonl"
        while True:
            values = []
            if file.exists():
                rows = (json.loads(line) for line in file.read_text().splitlines() if line.endswith("}"))
                values = [row[key] for row in rows if row.get("split") == "train" and row.get(key)]
            if len(values) >= count:
                trainer.kill()
                trainer.wait()
                return values[:count]
            if trainer.poll() is not None:
                sys.exit((self.folder / f"{output}.log").read_text())
            time.sleep(0.2)

    def step_time(self, output, trainer):
        """The median of the steps but for the first three."""
        return statistics.median(self.values(output, trainer, "step time", self.steps + 2)[2:])

    def difference(self, steps=20):
        """The largest one between the losses of both workers and those of one process, as a part of the loss.

        Of a small model whose images all have as many candidates, so that a mean over a batch is the mean of its images'
        means. The scores of random weights are nearly equal, so steps are small: else last digits choose proposals.
        """
        both = self.values("both", self.trainer("both", WORKERS, *ALIKE), "loss", steps)
        one = self.values("one", self.trainer("one", [], *ALIKE, "train.batch_size=2"), "loss", steps)
        return max(abs(a - b) / b for a, b in zip(both, one))

    def train(self, *settings):
        return self.step_time("both", self.trainer("both", WORKERS, *settings))

    def compute(self):
        trainers = [(f"alone{index}", self.trainer(f"alone{index}", [address])) for index, address in enumerate(WORKERS)]
        return max(self.step_time(*trainer) for trainer in trainers)

    def exchange(self, way="direct"):
        addresses = ",".join(f"ws://{address}:3000" for address in WORKERS)
        command = [self.example, "--program", self.program, "--addresses", addresses, "--token", TOKEN]
        found = json.loads(run(*command, "--rounds", 1, "--ways", way))
        return found["seconds"][0], found["elements"]


ALIKE = [
    "train.epochs=20", "train.learning_rate=0.00002", "train.warmup_steps=2", "train.clip_norm=5.0", "model.backbone=resnet18",
    "model.fpn_channels=16", "model.transform.min_size=128", "model.transform.max_size=128",
    "model.rpn.batch_size_per_image=32", "model.rpn.pre_nms_top_n_train=20", "model.roi_heads.batch_size_per_image=16",
    "model.roi_heads.representation_size=32",
]
CONFIG = pathlib.Path(__file__).resolve().parents[1] / "configs" / "gpu_nv_s.toml"


def a10g():
    """Four images of 640 pixels a step on an A10G: 1.9 TFLOP at 40 % of 31 TFLOP/s, in docs/workers.md."""
    compute = 0.15
    print("step time and times one GPU for A10Gs, by the model")
    for workers in (4, 32):
        for gigabits in (10, 25):
            for name, size in (("f32", 4), ("bf16", 2)):
                per_element = 2 * (workers - 1) / workers * size * 8 / (gigabits * 1e9)
                step = predict(compute, per_element)
                print(f"{workers:3} workers {gigabits:3} Gb/s {name:5} {step:6.3f} s {workers * compute / step:6.2f} x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("--program", default=f"{target}/release/faster-rcnn")
    parser.add_argument("--example", default=f"{target}/release/examples/all_reduce")
    parser.add_argument("--steps", type=int, default=8, help="that are measured of each run")
    parser.add_argument("--size", type=int, default=640, help="of the images, in pixels")
    parser.add_argument("--model", action="store_true", help="print the model's figures for A10Gs only")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that namespaces and workers go
    if arguments.model:
        return a10g()
    with tempfile.TemporaryDirectory() as folder, Network() as network:
        bench = Bench(arguments, pathlib.Path(folder))
        bench.start(network)
        try:
            measure(bench, network)
        finally:
            bench.stop()
    a10g()


def measure(bench, network):
    compute = bench.compute()
    print(f"computing alone {compute:.2f} s", flush=True)
    free, elements = bench.exchange()
    print(f"exchanging alone without a limit {free:.2f} s", flush=True)
    # Two workers: each sends, and receives, half of the parts and half of the sums.
    rate = elements * 32 / compute
    for _ in range(2):
        network.limit(rate)
        exchange, _ = bench.exchange()
        rate *= exchange / compute
    network.limit(rate)
    for name, factor, dtype in [
        ("at the rate", 1, "f32"), ("bf16", 1, "bf16"), ("half the rate", 0.5, "f32"), ("without a limit", None, "f32"),
    ]:
        network.limit(factor and rate * factor)
        exchange, _ = bench.exchange("direct" if dtype == "f32" else "direct_bf16")
        step = bench.train(f'train.gradient_dtype="{dtype}"')
        longer = max(compute, exchange)
        # The core that computes also copies and adds gradients: without a limit that is all the time they take.
        predicted = predict(compute + free, exchange / elements)
        limit = f"{rate * factor / 1e6:.0f} Mb/s" if factor else "-"
        print(
            f"{name:16} {limit:>9}  exchanging alone {exchange:6.2f} s  step {step:6.2f} s, {step / longer:.2f} of the longer, "
            f"{step / compute:.2f} of computing alone  predicted {predicted:6.2f} s ({100 * (step / predicted - 1):+.0f} %)",
            flush=True,
        )
    network.limit(None)
    print(f"losses of 20 steps and those of one process differ by {bench.difference():.1e} of the loss at most", flush=True)


if __name__ == "__main__":
    sys.exit(main())
