"""Parquet tables of other programs, and other programs on ours.

    python tables.py write                  writes tests/fixtures/tables
    python tables.py read BOARDS TABLES     reads the tables that were made of BOARDS, and compares

BOARDS is a data set in DeepPCB's layout with classes of DeepPCB's, TABLES what
`faster-rcnn tables --data BOARDS --output TABLES` made of it.
"""

import io
import json
import shutil
import sys
from pathlib import Path

import datasets
import duckdb
import pandas
import pyarrow
import pyarrow.parquet
from PIL import Image

FIXTURES = Path(__file__).parent.parent / "fixtures/tables"
CLASSES = ["scratch", "dent", "a class, with Ünicode"]
DEEP_PCB = ["open", "short", "mousebite", "spur", "copper", "pin-hole"]


def picture(index):
    """A PNG file of 40 x (24 + index) pixels."""
    image = Image.new("RGB", (40, 24 + index), (10 * index, 100, 200))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


# Name, objects (box as in COCO, class, area, crowd) of each image.
IMAGES = [
    ("a.png", [([1.5, 2.25, 10.0, 4.5], 0, 30.0, False), ([0.0, 0.0, 40.0, 24.0], 2, 960.0, True)]),
    ("b c.png", []),
    ("d.png", [([3.1, 4.2, 5.3, 6.4], 1, 33.92, False)]),
]


def rows():
    for index, (name, objects) in enumerate(IMAGES):
        yield {
            "image_id": 100 + index,
            "image": {"bytes": picture(index), "path": name},
            "width": 40,
            "height": 24 + index,
            "objects": [
                {"bbox": bbox, "category": category, "area": area, "iscrowd": crowd}
                for bbox, category, area, crowd in objects
            ],
        }


def columns_of(objects):
    """A dictionary of lists from a list of dictionaries."""
    return {key: [o[key] for o in objects] for key in ("bbox", "category", "area", "iscrowd")}


def expected(named=True):
    """What the reader should find, corners rounded to 32 bits by it."""
    return [
        {
            "name": name,
            "size": [24 + index, 40],
            "objects": [
                {"xyxy": [x, y, x + w, y + h], "class": CLASSES[category] if named else str(category), "crowd": crowd}
                for (x, y, w, h), category, _, crowd in objects
            ],
        }
        for index, (name, objects) in enumerate(IMAGES)
    ]


def write():
    shutil.rmtree(FIXTURES, ignore_errors=True)
    FIXTURES.mkdir()
    everything = {}

    # By `datasets`, objects as a list of structures and as lists.
    fields = {
        "bbox": datasets.List(datasets.Value("float32"), length=4),
        "category": datasets.ClassLabel(names=CLASSES),
        "area": datasets.Value("float32"),
        "iscrowd": datasets.Value("bool"),
    }
    common = {
        "image_id": datasets.Value("int64"),
        "image": datasets.Image(),
        "width": datasets.Value("int32"),
        "height": datasets.Value("int32"),
    }
    features = datasets.Features({**common, "objects": datasets.List(fields)})
    datasets.Dataset.from_list(list(rows()), features=features).to_parquet(FIXTURES / "datasets_structures.parquet")
    everything["datasets_structures.parquet"] = expected()
    features = datasets.Features({**common, "objects": {key: datasets.List(field) for key, field in fields.items()}})
    lists = [{**row, "objects": columns_of(row["objects"])} for row in rows()]
    datasets.Dataset.from_list(lists, features=features).to_parquet(FIXTURES / "datasets_lists.parquet")
    everything["datasets_lists.parquet"] = expected()

    # By pyarrow: classes by name, sizes only in the images, a dictionary of images, several row groups, pages of
    # the second version, and no list where there is no object.
    table = pyarrow.table({
        "image": [row["image"] for row in rows()],
        "objects": pyarrow.array([
            [{**o, "category": CLASSES[o["category"]]} for o in row["objects"]] or None for row in rows()
        ]),
    })
    pyarrow.parquet.write_table(
        table, FIXTURES / "pyarrow.parquet", row_group_size=2, data_page_version="2.0", compression="zstd",
    )
    everything["pyarrow.parquet"] = expected()
    pyarrow.parquet.write_table(
        table, FIXTURES / "pyarrow_index.parquet", use_dictionary=False, compression="none", write_page_index=True,
        data_page_size=1, write_batch_size=1, use_compliant_nested_type=False, version="1.0",
    )
    everything["pyarrow_index.parquet"] = expected()

    # By pandas: classes by number, without names.
    frame = pandas.DataFrame(lists)
    frame.to_parquet(FIXTURES / "pandas.parquet")
    everything["pandas.parquet"] = expected(named=False)

    # By DuckDB: a row for each object, numbers with a decimal point, images beside the table.
    folder = FIXTURES / "boxes"
    folder.mkdir()
    for index, (name, _) in enumerate(IMAGES):
        (folder / name).write_bytes(picture(index))
    database = duckdb.connect()
    database.execute(
        "create table labels (filename varchar, xmin decimal(9, 4), ymin decimal(9, 4), xmax decimal(9, 4), "
        "ymax decimal(9, 4), class varchar)"
    )
    for name, objects in IMAGES:
        for (x, y, w, h), category, _, _ in objects:
            row = [name, x, y, x + w, y + h, CLASSES[category]]
            database.execute("insert into labels values (?, ?, ?, ?, ?, ?)", row)
    database.execute(f"copy labels to '{folder / 'labels.parquet'}' (format parquet)")
    everything["boxes"] = [
        {**image, "objects": [{**o, "crowd": False} for o in image["objects"]]}
        for image in expected() if image["objects"]
    ]

    text = json.dumps({"classes": sorted(CLASSES), "declared": CLASSES, "tables": everything}, indent=1)
    (FIXTURES / "expected.json").write_text(text + "\n")


def read(boards, tables):
    truth = {}
    for line in [line for name in ("trainval.txt", "test.txt") for line in (boards / name).read_text().splitlines()]:
        image, labels = line.split()
        numbers = [[int(n) for n in label.split()] for label in (boards / labels).read_text().splitlines()]
        name = image.replace(".jpg", "_test.jpg")
        truth[name] = [(tuple(n[:4]), DEEP_PCB[n[4] - 1]) for n in numbers]
    sides = {"training_data": "trainval.txt", "test_data": "test.txt"}
    counts = {name: len((boards / lines).read_text().splitlines()) for name, lines in sides.items()}
    files = {name: str(tables / f"{name}.parquet") for name in sides}

    def check(reader, found):
        assert found == truth, f"{reader}: other boxes"
        print(f"{reader}: {len(found)} images, {sum(map(len, found.values()))} boxes, the same as in {boards}")

    def corners(bbox):
        x, y, w, h = bbox
        return x, y, x + w, y + h

    found = {}
    loaded = datasets.load_dataset("parquet", data_files=files)
    for side, count in counts.items():
        data = loaded[side]
        assert len(data) == count, (side, len(data), count)
        names = data.features["objects"]["category"].feature.names
        for row in data:
            assert row["image"].size == (row["width"], row["height"])
            row["image"].load()
            assert row["reference"] is None or row["reference"].size == row["image"].size
            objects = row["objects"]
            found[row["name"]] = [(corners(b), names[c]) for b, c in zip(objects["bbox"], objects["category"])]
    check(f"datasets {datasets.__version__}", found)

    found = {}
    for path in files.values():
        for row in pyarrow.parquet.read_table(path).to_pylist():
            assert row["image"]["bytes"] == (boards / row["name"]).read_bytes()
            objects = row["objects"]
            found[row["name"]] = [(corners(b), DEEP_PCB[c]) for b, c in zip(objects["bbox"], objects["category"])]
    check(f"pyarrow {pyarrow.__version__}", found)

    found = {}
    for path in files.values():
        frame = pandas.read_parquet(path)
        for name, objects in zip(frame["name"], frame["objects"]):
            found[name] = [(corners(b), DEEP_PCB[c]) for b, c in zip(objects["bbox"], objects["category"])]
    check(f"pandas {pandas.__version__}", found)

    found = {name: [] for name in truth}
    labels = duckdb.sql(f"select * from '{tables / 'LABELS_TRAIN.parquet'}'")
    for name, *edges, kind in labels.fetchall():
        found[name].append((tuple(edges), kind))
    check(f"DuckDB {duckdb.__version__}, LABELS_TRAIN", found)

    found = {name: [] for name in truth}
    objects = duckdb.sql(
        "select name, unnest(objects.bbox) as box, unnest(objects.category) as category "
        f"from '{tables / 'train_images_labels.parquet'}'"
    )
    for name, bbox, category in objects.fetchall():
        found[name].append((corners(bbox), DEEP_PCB[category]))
    check(f"DuckDB {duckdb.__version__}, train_images_labels", found)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write"]:
            write()
        case ["read", boards, tables]:
            read(Path(boards), Path(tables))
        case _:
            sys.exit(__doc__)
