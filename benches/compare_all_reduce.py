"""The all-reduce of a detector's gradients over four workers of this machine, beside gloo's, PyTorch's own over TCP.

    cargo build --release --features workers --bins --example all_reduce
    python benches/compare_all_reduce.py

Both sides sum the same number of elements over four processes, in turn, `--rounds` times; the median of each is printed,
its ratio to gloo's, and the bytes that a worker sent, from the kernel's count for the loopback interface.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

WAYS = {
    "direct": "this crate's, between the workers",
    "direct_bf16": "the same, bf16 on the wire",
    "pieces": "this crate's with burn's transfers, as over iroh: pieces of 8 MB",
    "parameters": "burn's all-reduce of each parameter",
    "scatter_gather": "burn's reduce-scatter and all-gather of one tensor",
    "flat": "burn's all-reduce of one tensor",
}


def loopback_bytes():
    with open("/proc/net/dev") as file:
        line = next(line for line in file if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


def gloo(rank, workers, elements, rounds, results):
    import torch
    import torch.distributed as dist

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=workers)
    tensor = torch.full((elements,), 0.5)
    seconds, sent = [], 0
    for _ in range(rounds + 1):
        dist.barrier()
        before, start = loopback_bytes(), time.perf_counter()
        dist.all_reduce(tensor)
        dist.barrier()
        seconds.append(time.perf_counter() - start)
        sent = (loopback_bytes() - before) // workers
    if rank == 0:
        results.put((seconds[1:], sent))
    dist.barrier()
    dist.destroy_process_group()


def run_gloo(workers, elements, rounds):
    import torch.multiprocessing as mp

    context = mp.get_context("spawn")
    results = context.Queue()
    arguments = (workers, elements, rounds, results)
    processes = mp.spawn(gloo, args=arguments, nprocs=workers, join=False)
    answer = results.get()
    processes.join()
    return answer


def run_ours(program, example, ways, workers):
    command = [example, "--program", program, "--workers", str(workers), "--rounds", "1", "--ways", ",".join(ways)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("--program", default=f"{target}/release/faster-rcnn")
    parser.add_argument("--example", default=f"{target}/release/examples/all_reduce")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments = parser.parse_args()

    seconds, sent, elements = {way: [] for way in ["gloo", *arguments.ways]}, {}, 0
    for _ in range(arguments.rounds):
        for found in run_ours(arguments.program, arguments.example, arguments.ways, arguments.workers):
            seconds[found["way"]] += found["seconds"]
            sent[found["way"]], elements = found["sent"], found["elements"]
        times, sent["gloo"] = run_gloo(arguments.workers, elements, 1)
        seconds["gloo"] += times
    print(f"{elements} elements, {elements * 4 / 1e6:.0f} MB, {arguments.workers} workers, medians of {arguments.rounds}")
    reference = statistics.median(seconds["gloo"])
    for way, times in seconds.items():
        median = statistics.median(times)
        name = WAYS.get(way, "gloo's all-reduce of one tensor")
        print(f"{median:7.2f} s {median / reference:6.1f} x gloo {sent[way] / 1e6:7.0f} MB sent a worker  {name}")


if __name__ == "__main__":
    sys.exit(main())
