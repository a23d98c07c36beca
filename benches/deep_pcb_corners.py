#!/usr/bin/env python3
"""How far DeepPCB's labels are from the defects, on each side. Needs numpy and Pillow.

    python benches/deep_pcb_corners.py PCBData

A defect is where board and template differ, in at least 7 of the 9 pixels around: without its outermost pixels. If the
corners of labels were edges of pixels, a label would be as far from its defect on the left as on the right.
"""

import collections
import pathlib
import sys

import numpy
from PIL import Image

# Pixels around a label in which its defect is looked for.
AROUND = 6


def grey(path):
    return numpy.asarray(Image.open(path).convert("L")).astype(int)


def margins(board):
    """Left, top, right and bottom, in pixels, of each label of a board whose defect is found."""
    differs = numpy.abs(grey(board) - grey(board.with_name(board.name.replace("_test", "_temp")))) > 128
    labels = board.parent.parent / (board.parent.name + "_not") / board.name.replace("_test.jpg", ".txt")
    for line in labels.read_text().splitlines():
        x1, y1, x2, y2 = [int(number) for number in line.split()[:4]]
        left, top = max(x1 - AROUND, 0), max(y1 - AROUND, 0)
        part = numpy.pad(differs[top : y2 + AROUND, left : x2 + AROUND].astype(int), 1)
        height, width = part.shape
        around = [part[dy : height - 2 + dy, dx : width - 2 + dx] for dy in range(3) for dx in range(3)]
        rows, columns = numpy.nonzero(sum(around) >= 7)
        if len(rows) >= 8:
            edges = [columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1]
            yield [edges[0] - x1, edges[1] - y1, x2 - edges[2], y2 - edges[3]]


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    kinds = collections.defaultdict(list)
    for board in sorted(pathlib.Path(sys.argv[1]).glob("group*/*/*_test.jpg")):
        kinds[board.name[:5]].extend(margins(board))
    print("| kind | labels | left | top | right | bottom |\n|---|---|---|---|---|---|")
    for kind, found in kinds.items():
        print("|", " | ".join([kind, str(len(found)), *(f"{side:.1f}" for side in numpy.median(found, 0))]), "|")


if __name__ == "__main__":
    main()
