"""The scripts with the real `snow`, against fakesnow's server and a stand-in for what that does not know."""

import json
import os
import socket
import subprocess
import sys
import time

import duckdb
from scripts import HERE, ScriptTest

# The tables of `faster-rcnn tables`: see docs/tables.md.
IMAGES = """SELECT {'bytes': 'PNG'::BLOB, 'path': NULL::VARCHAR} AS image, i AS image_id,
    640 AS width, 640 AS height,
    {'area': [4.0], 'bbox': [[1.0, 2.0, 2.0, 2.0]], 'category': [i % 6]} AS objects,
    'board' || i AS name, 'g' AS "group", 'train' AS split FROM range(?, ?) AS rows(i)"""
TABLES = {
    "LABELS_TRAIN": (
        "SELECT 'board' || i AS filename, 1.0 AS xmin, 2.0 AS ymin, 3.0 AS xmax, 4.0 AS ymax, "
        "'open' AS class FROM range(?, ?) AS rows(i)",
        0,
        4,
    ),
    "train_images_labels": (IMAGES, 0, 4),
    "training_data": (IMAGES, 0, 3),
    "test_data": (IMAGES, 3, 4),
}


class RealSnow(ScriptTest):
    programs = ("docker", "git", "faster-rcnn")

    def setUp(self):
        super().setUp()
        (self.folder / "bin/snow").symlink_to(f"{os.path.dirname(sys.executable)}/snow")
        (self.folder / "tables").mkdir()
        for name, (query, first, end) in TABLES.items():
            query = query.replace("range(?, ?)", f"range({first}, {end})")
            duckdb.sql(f"COPY ({query}) TO '{self.folder / 'tables' / name}.parquet'")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen([sys.executable, HERE / "server.py", str(port), str(self.folder)])
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        config = self.folder / "config.toml"
        config.write_text(
            '[cli.logs]\nsave_logs = true\nlevel = "info"\n'
            f'path = "{self.folder}/logs"\n'
            '[connections.demo]\naccount = "org-acc"\nuser = "jane"\npassword = "hunter2"\n'
            f'host = "127.0.0.1"\nport = {port}\nprotocol = "http"\n'
        )
        config.chmod(0o600)
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)

    def environment(self, **more):
        return super().environment(SNOWFLAKE_HOME=str(self.folder), **more)

    def statements(self):
        lines = (self.folder / "statements.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def test_from_nothing_to_nothing(self):
        arguments = ["--skip-data-download", "--tag", "t"]
        model = self.folder / "best.safetensors"
        model.write_bytes(b"x")
        output = self.deploy(*arguments, "--weights", str(model))
        self.assertIn("The app: https://abc-org-acc.snowflakecomputing.app", output)
        login = next(call for call in self.calls() if "login" in call["arguments"])
        self.assertEqual(json.loads(login["input"])["token"], "registry-secret")
        before = self.account()

        output = self.run_script("run.sh", "test")
        self.assertEqual(
            output.splitlines()[:4],
            ["LABELS_TRAIN 4", "TRAIN_IMAGES_LABELS 4", "TRAINING_DATA 3", "TEST_DATA 1"],
        )
        # Again, with nothing new: the same objects, and no row twice.
        self.deploy(*arguments, "--skip-image", "--skip-app")
        self.assertEqual(self.account(), before)
        self.assertEqual(self.run_script("run.sh", "test"), output)

        self.assertIn("Trained.", self.run_script("run.sh", "main", "--tag", "t", "--poll", "0"))
        output = self.run_script("status.sh")
        for part in ("PCB_CV_COMPUTEPOOL", "PCB_CV_TRAINER", "LABELS_TRAIN", "training_data.parquet"):
            self.assertIn(part, output)
        self.assertIn("log of trainer", self.run_script("run.sh", "logs"))

        self.run_script("clean.sh", "--yes")
        account = self.account()
        self.assertEqual(
            [account[kind] for kind in ("role", "warehouse", "database", "pool", "service")], [{}] * 5
        )

        # Secrets are in none of the files that `snow` writes about itself.
        for file in (self.folder / "logs").rglob("*"):
            for secret in before["secret"].values():
                self.assertNotIn(secret["value"], file.read_text())
        known = {entry["statement"].split()[0] for entry in self.statements() if entry["who"] == "fakesnow"}
        self.assertEqual(
            known,
            {"BEGIN", "COMMIT", "COPY", "CREATE", "DELETE", "LIST", "PUT", "SELECT", "SET", "SHOW", "USE"},
        )

    def test_an_error_stops_the_script(self):
        for table in (self.folder / "tables").iterdir():
            table.unlink()
        output = self.deploy("--skip-data-download", "--skip-image", "--skip-app", status=1)
        self.assertIn("deploy.sh stopped in: Upload the data", output)
        self.assertIn("File doesn't exist", output)
        self.assertNotIn("COPY", {entry["statement"].split()[0] for entry in self.statements()})
