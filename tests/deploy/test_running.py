"""Training, serving and taking everything down, with stand-ins for all programs that the scripts call."""

import unittest

from account import Account
from scripts import POOLS, ScriptTest


class Running(ScriptTest):
    def setUp(self):
        super().setUp()
        self.deploy("--tag", "t")
        self.forget_calls()

    def run_main(self, *arguments, **more):
        return self.run_script("run.sh", "--tag", "t", "--poll", "0", *arguments, **more)

    def next_job(self, state):
        account = Account(self.folder / "account.json")
        account.state["next_job"] = state
        account.save()

    def test_trains_on_four_workers_then_the_gpus_are_suspended(self):
        output = self.run_main("main")
        self.assertIn("Trained.", output)
        account = self.account()
        workers, trainer = (
            account["service"][f"PCB_CV.PUBLIC.PCB_CV_{name}"] for name in ("WORKERS", "TRAINER")
        )
        self.assertEqual((workers["pool"], trainer["pool"]), tuple(POOLS))
        self.assertEqual(workers["status"], "SUSPENDED")
        self.assertEqual(account["pool"]["PCB_CV_COMPUTEPOOL"]["state"], "SUSPENDED")
        self.assertIn(f"WORKERS: instances.{workers['dns_name']}", trainer["specification"])
        # Again: the workers are resumed, the job of the same name is replaced.
        self.assertIn("Trained.", self.run_main("main"))
        self.assertIn("ALTER SERVICE PCB_CV_WORKERS RESUME", "".join(call["input"] for call in self.calls()))

    def test_a_training_that_fails_shows_its_log_and_suspends_the_gpus(self):
        self.next_job("FAILED")
        output = self.run_main("main", status=1)
        self.assertIn("log of trainer", output)
        self.assertIn("ended as FAILED", output)
        self.assertEqual(self.account()["pool"]["PCB_CV_COMPUTEPOOL"]["state"], "SUSPENDED")

    def test_a_training_that_runs_is_not_started_twice(self):
        self.next_job("RUNNING")
        self.run_main("main", "--no-wait")
        self.forget_calls()
        self.assertIn("A training runs already", self.run_main("main", "--no-wait"))
        self.assertNotIn("EXECUTE JOB SERVICE", "".join(call["input"] for call in self.calls()))

    def test_a_rerun_goes_on_where_a_start_failed(self):
        self.run_main("main", status=1, FAIL_ON="EXECUTE JOB SERVICE")
        self.assertIn("Trained.", self.run_main("main"))

    def test_the_app_takes_the_newest_model(self):
        self.assertIn("There is no model yet", self.run_main("app"))
        self.run_main("main")
        self.assertIn("https://abc-org-acc.snowflakecomputing.app", self.run_main("app"))
        app = self.account()["service"]["PCB_CV.PUBLIC.PCB_CV_DEFECT_DETECTION_APP"]
        self.assertIn("/stage/models/20260101T000000Z.safetensors", app["specification"])
        self.assertIn("public: true", app["specification"])
        self.assertTrue(app["block"])
        model = self.folder / "best.safetensors"
        model.write_bytes(b"x")
        self.deploy("--tag", "t", "--weights", str(model), "--skip-image", "--skip-data-upload")
        self.assertEqual(len(self.run_main("models").split()), 2)
        app = self.account()["service"]["PCB_CV.PUBLIC.PCB_CV_DEFECT_DETECTION_APP"]
        self.assertIn(f"/stage/models/{self.run_main('models').split()[-1]}", app["specification"])
        self.assertIn("no model other", self.run_main("app", "other", status=1))
        self.run_main("app", "20260101T000000Z.safetensors")
        app = self.account()["service"]["PCB_CV.PUBLIC.PCB_CV_DEFECT_DETECTION_APP"]
        self.assertIn("/stage/models/20260101T000000Z.safetensors", app["specification"])
        self.run_main("suspend", "all")
        self.assertEqual({pool["state"] for pool in self.account()["pool"].values()}, {"SUSPENDED"})
        self.run_main("resume")
        self.assertEqual(self.account()["pool"]["PCB_CV_SERVICE_COMPUTEPOOL"]["state"], "ACTIVE")

    def test_tables_are_checked(self):
        self.assertIn("The tables are loaded.", self.run_main("test"))
        self.assertIn("do not make up", self.run_main("test", status=1, TRAINING_ROWS="2"))
        self.assertIn("TRAINING_DATA is empty", self.run_main("test", status=1, TRAINING_ROWS="0"))

    def test_logs_and_download(self):
        self.run_main("main")
        self.assertIn("log of worker 2", self.run_main("logs", "worker", "--instance", "2"))
        self.assertIn("trainer, worker or app", self.run_main("logs", "x", status=2))
        self.run_main("download", "copy")
        self.assertEqual(
            self.calls()[-1]["arguments"][:4],
            ["stage", "copy", "@PCB_CV.PUBLIC.PCB_CV_DEEP_PCB_DATASET_STAGE/runs/20260101T000000Z", "copy"],
        )


class Cleaning(ScriptTest):
    def setUp(self):
        super().setUp()
        self.deploy("--tag", "t")
        self.run_script("run.sh", "--tag", "t", "--poll", "0", "main")
        self.run_script("run.sh", "--tag", "t", "app")
        self.forget_calls()

    def dropped(self):
        return "DROP" in "".join(call["input"] for call in self.calls())

    def test_refuses_without_a_terminal(self):
        output = self.run_script("clean.sh", status=1)
        self.assertIn("there is no terminal to ask at", output)
        self.assertFalse(self.dropped())

    def test_asks_for_the_name(self):
        for answer in ("", "yes", "y", "pcb_cv", "PCB_CV_ROLE"):
            status, output = self.answer_script("clean.sh", answer)
            self.assertEqual(status, 1, output)
            self.assertIn("nothing was dropped", output)
        self.assertFalse(self.dropped())
        status, output = self.answer_script("clean.sh", "PCB_CV")
        self.assertEqual(status, 0, output)
        self.assertTrue(self.dropped())

    def test_drops_everything_and_a_second_time_nothing(self):
        self.run_script("clean.sh", "--yes")
        account = self.account()
        for kind in ("role", "warehouse", "database", "pool", "repository", "secret", "service", "stage"):
            self.assertEqual(account[kind], {}, kind)
        self.forget_calls()
        self.assertIn("There is nothing to drop.", self.run_script("clean.sh", "--yes"))
        self.assertFalse(self.dropped())

    def test_goes_on_where_it_failed(self):
        for pattern in ("DROP DATABASE", "DROP COMPUTE POOL", "DROP WAREHOUSE", "DROP ROLE"):
            self.assertIn(
                "Run the same command again", self.run_script("clean.sh", "--yes", status=1, FAIL_ON=pattern)
            )
        self.run_script("clean.sh", "--yes")
        self.assertEqual(self.account()["role"], {})


class Trainer(ScriptTest):
    """deploy/train.sh with folders for the stage and the disk, and a stand-in for the program."""

    PROGRAM = """#!/bin/sh
echo "$@" >>"$STAND_IN/trained"
while [ "$1" != --output ]; do shift; done
mkdir -p "$2/checkpoints"
echo last >"$2/checkpoints/last.safetensors"
echo best >"$2/checkpoints/best.safetensors"
exit "${TRAINED:-0}"
"""

    def test_leaves_the_run_and_the_model_on_the_stage(self):
        resolve = self.folder / "bin/resolve"
        resolve.write_text("#!/bin/sh\nprintf '10.0.0.5 STREAM x\\n10.0.0.5 DGRAM\\n10.0.0.6 STREAM\\n'\n")
        resolve.chmod(0o755)
        (self.folder / "bin/faster-rcnn").unlink()
        (self.folder / "bin/faster-rcnn").write_text(self.PROGRAM)
        (self.folder / "bin/faster-rcnn").chmod(0o755)
        (self.folder / "stage/tables").mkdir(parents=True)
        common = {
            "STAGE": f"{self.folder}/stage",
            "WORKERS": "instances.x",
            "COUNT": "2",
            "TOKEN_FILE": "/token",
            "RESOLVE": "resolve",
        }
        # Lost a worker: the run is kept, no model is made.
        self.run_script("train.sh", status=1, TRAINED="1", WORK=f"{self.folder}/a", **common)
        trained = (self.folder / "trained").read_text()
        self.assertIn("--workers ws://10.0.0.5:3000,ws://10.0.0.6:3000 --token-file /token", trained)
        self.assertIn("--weights", trained)
        self.assertFalse((self.folder / "stage/models").exists())
        self.assertEqual(len(list((self.folder / "stage/runs").glob("*/whole"))), 1)
        # The next job goes on with it.
        self.run_script("train.sh", WORK=f"{self.folder}/b", **common)
        self.assertTrue((self.folder / "trained").read_text().splitlines()[-1].endswith("--resume"))
        self.assertEqual(len(list((self.folder / "stage/models").glob("*.safetensors"))), 1)


if __name__ == "__main__":
    unittest.main()
