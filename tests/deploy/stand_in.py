#!/usr/bin/env python3
"""Stands in for `snow`, `docker`, `git` and `faster-rcnn` on the PATH of a test: records calls, and answers.

STAND_IN is its folder: `calls.jsonl` has the calls, `account.json` the account. FAIL_ON is a pattern: the
first statement or command that it matches fails.
"""

import json
import os
import re
import sys
from pathlib import Path

from account import Account, Refused, statements

folder = Path(os.environ["STAND_IN"])
fail_on = os.environ.get("FAIL_ON")

# What fakesnow knows, and this program takes for done. PUT, LIST and SELECT have answers.
KNOWN = r"""(?x) USE\ SCHEMA .* | USE\ WAREHOUSE .* | SET\ .*
    | CREATE\ SCHEMA .* | CREATE\ STAGE .* | CREATE\ TABLE .*
    | SHOW\ TABLES .* | BEGIN | COMMIT | DELETE\ FROM .* | COPY\ INTO .*"""


def fail(message):
    print(f"╭─ Error ─╮\n│ {message} │\n╰─────────╯", file=sys.stderr)
    sys.exit(1)


def plain(account, statement):
    """The rows of a statement that fakesnow knows."""
    if found := re.fullmatch(
        r"PUT 'file://(.*)' @(\S+?)/(\w+) AUTO_COMPRESS = FALSE OVERWRITE = TRUE", statement
    ):
        source, stage, where = Path(found[1]), found[2], found[3]
        files = sorted(source.parent.glob(source.name))
        if not files:
            raise Refused(f"File doesn't exist: {source}")
        account.state["stage"].setdefault(stage, {}).update(
            {f"{where}/{file.name}": file.stat().st_size for file in files}
        )
        account.save()
        return [{"source": file.name, "status": "UPLOADED"} for file in files]
    if found := re.fullmatch(r"LIST @(\S+)", statement):
        short = found[1].split(".")[-1].lower()
        return [
            {"name": f"{short}/{name}", "size": size}
            for name, size in account.state["stage"].get(found[1], {}).items()
        ]
    if statement.startswith("SELECT"):
        rows = {
            "LABELS_TRAIN": "9",
            "TRAIN_IMAGES_LABELS": "4",
            "TRAINING_DATA": os.environ.get("TRAINING_ROWS", "3"),
            "TEST_DATA": "1",
        }
        return [{"TABLE": name, "ROWS": count} for name, count in rows.items()]
    if re.fullmatch(KNOWN, statement, flags=re.S):
        return [{"status": "Statement executed successfully."}]
    raise Refused(f"syntax error: {statement}")


def snow(arguments, text):
    if arguments[:3] == ["spcs", "image-registry", "token"]:
        print(json.dumps({"token": "registry-secret", "expires_in": 3600}))
        return
    if arguments[:2] == ["stage", "copy"]:
        return
    if arguments[arguments.index("--format") + 1] not in ("TABLE", "JSON", "JSON_EXT", "CSV"):
        fail("Invalid value for '--format'")
    account = Account(folder / "account.json")
    answers = []
    for statement in statements(text):
        if fail_on and re.search(fail_on, statement):
            fail(f"002003: that failed as asked: {statement}")
        try:
            rows = account.execute(statement)
            answers.append(plain(account, statement) if rows is None else rows)
        except Refused as refused:
            fail(f"002003 (02000): SQL compilation error: {refused}")
    # Several answers have this spacing in the JSON of the real one.
    spaced = (",", "  :   ") if len(answers) > 1 else (",", ": ")
    print(json.dumps(answers if len(answers) > 1 else answers[0], indent=4, separators=spaced))


def main():
    program, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    text = sys.stdin.read() if "--stdin" in arguments or "--password-stdin" in arguments else ""
    with (folder / "calls.jsonl").open("a") as calls:
        print(json.dumps({"program": program, "arguments": arguments, "input": text}), file=calls)
    if fail_on and re.search(fail_on, " ".join([program, *arguments])):
        fail(f"{program} failed as asked")
    if program == "snow":
        snow(arguments, text)
    elif program == "git" and "clone" in arguments:
        (Path(arguments[-1]) / "PCBData").mkdir(parents=True)
    elif program == "git" and "rev-parse" in arguments:
        print("0123456789ab")
    elif program == "faster-rcnn" and arguments[0] == "weights":
        file = folder / "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"
        file.write_bytes(b"weights")
        print(file)
    elif program == "faster-rcnn" and arguments[0] == "tables":
        output = Path(arguments[arguments.index("--output") + 1])
        output.mkdir(parents=True)
        for name in ("LABELS_TRAIN", "train_images_labels", "training_data", "test_data"):
            (output / f"{name}.parquet").write_bytes(b"PAR1")


main()
