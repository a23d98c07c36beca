#!/usr/bin/env python3
"""Boards a second of `faster-rcnn serve` with several clients, beside those of `faster-rcnn predict`.

    benches/serve_load.py --program target/release/faster-rcnn --weights best.safetensors --clients 4 BOARD...

Both look at the same images, in turns and in one run; the start of each program is left out. Of `predict` it is: the
time for one image is taken off the time for all. The answers of the server are compared with predict's JSON.
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
import urllib.request


def predict(program, weights, images, options):
    start = time.perf_counter()
    command = [program, "predict", "--weights", weights, *options, *images]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    return time.perf_counter() - start, json.loads(output)


def detect(address, image):
    request = urllib.request.Request(
        f"{address}/v1/detect", pathlib.Path(image).read_bytes(), {"Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)["images"][0]["detections"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--option", action="append", default=[], help="for both, such as --option=--image-size=320")
    parser.add_argument("images", nargs="+")
    arguments = parser.parse_args()
    program, weights, images, options = arguments.program, arguments.weights, arguments.images, arguments.option
    with tempfile.TemporaryDirectory() as data:
        command = [program, "serve", "--weights", weights, "--listen", "127.0.0.1:0", "--data", data, *options]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().strip()
            detect(address, images[0])
            ratios = []
            for _ in range(arguments.rounds):
                one, _ = predict(program, weights, images[:1], options)
                all_of_them, predicted = predict(program, weights, images, options)
                alone = (len(images) - 1) / (all_of_them - one)
                start = time.perf_counter()
                with concurrent.futures.ThreadPoolExecutor(arguments.clients) as clients:
                    found = list(clients.map(lambda image: detect(address, image), images))
                served = len(images) / (time.perf_counter() - start)
                assert found == [image["detections"] for image in predicted], "the server finds something else"
                ratios.append(served / alone)
                print(f"predict {alone:.2f} boards/s, {arguments.clients} clients {served:.2f}, ratio {ratios[-1]:.3f}")
            print(f"median ratio {statistics.median(ratios):.3f}")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
