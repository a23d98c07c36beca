"""The scripts with stand-ins for all programs that they call."""

import re
import subprocess
import unittest

from account import Account
from scripts import DEPLOY, HERE, ScriptTest

POOLS = ["PCB_CV_COMPUTEPOOL", "PCB_CV_SERVICE_COMPUTEPOOL"]


class Deploying(ScriptTest):
    def test_sets_everything_up_in_the_names_of_the_guide(self):
        output = self.deploy()
        account = self.account()
        self.assertEqual(list(account["role"]), ["PCB_CV_ROLE"])
        self.assertEqual(list(account["warehouse"]), ["PCB_CV_WH"])
        self.assertEqual(list(account["database"]), ["PCB_CV"])
        self.assertEqual(list(account["pool"]), POOLS)
        gpus = account["pool"]["PCB_CV_COMPUTEPOOL"]
        self.assertEqual(
            (gpus["INSTANCE_FAMILY"], gpus["MIN_NODES"], gpus["MAX_NODES"]), ("GPU_NV_S", "4", "4")
        )
        # Nothing costs yet.
        self.assertEqual({pool["state"] for pool in account["pool"].values()}, {"SUSPENDED"})
        self.assertEqual(account["service"], {})
        files = account["stage"]["PCB_CV.PUBLIC.PCB_CV_DEEP_PCB_DATASET_STAGE"]
        self.assertEqual(
            sorted(files),
            [
                "tables/LABELS_TRAIN.parquet",
                "tables/test_data.parquet",
                "tables/train_images_labels.parquet",
                "tables/training_data.parquet",
                "weights/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
            ],
        )
        self.assertIn("There is no model yet", output)
        pushed = [call["arguments"][-1] for call in self.calls() if "push" in call["arguments"]]
        url = "org-acc.registry.snowflakecomputing.com/pcb_cv/public/image_repo"
        self.assertEqual(
            [name.rpartition(":")[0] for name in pushed],
            [f"{url}/faster-rcnn-cuda", f"{url}/faster-rcnn-cpu"],
        )

    def test_a_second_run_leaves_the_same_state(self):
        self.deploy()
        before = self.account()
        self.forget_calls()
        self.deploy()
        self.assertEqual(self.account(), before)
        self.assertFalse([call for call in self.calls() if "clone" in call["arguments"]])

    def test_steps_are_left_out(self):
        self.deploy("--skip-data-download", "--skip-data-upload", "--skip-image", "--skip-app")
        self.assertEqual({call["program"] for call in self.calls()} - {"git"}, {"snow"})
        self.assertFalse([call for call in self.calls() if "clone" in call["arguments"]])
        self.assertEqual(self.account()["stage"], {})
        self.assertEqual(list(self.account()["database"]), ["PCB_CV"])

    def test_another_prefix(self):
        self.deploy("-p", "line_7", "--skip-image")
        account = self.account()
        self.assertEqual(list(account["database"]), ["LINE_7"])
        self.assertEqual(list(account["stage"]), ["LINE_7.PUBLIC.LINE_7_DEEP_PCB_DATASET_STAGE"])
        self.assertTrue((self.folder / ".config/faster-rcnn/LINE_7.token").exists())

    def test_a_dry_run_prints_everything_and_runs_nothing(self):
        output = self.deploy("--dry-run", "--tag", "t")
        self.assertEqual(self.calls(), [])
        self.assertEqual(list(self.folder.iterdir()), [self.folder / "bin"])
        for part in (
            "CREATE ROLE IF NOT EXISTS PCB_CV_ROLE",
            "INSTANCE_FAMILY = GPU_NV_S",
            "git clone",
            "docker build",
            "login ACCOUNT.registry",
            "COPY INTO TRAINING_DATA",
            "CREATE SERVICE",
        ):
            self.assertIn(part, output)
        self.assertNotIn("<%", output)
        self.assertNotRegex(output, r"SECRET_STRING = '(?!\*+')")
        # What is printed is what is run, but for secrets, and paths that are not known yet.
        self.deploy("--tag", "t")
        printed = {line.strip() for line in output.splitlines()}
        unknown = re.compile(r"SECRET_STRING|PUT 'file|^$")
        for call in self.calls():
            for line in call["input"].splitlines() if "sql" in call["arguments"] else []:
                if not unknown.search(line):
                    self.assertIn(line.strip(), printed)

    def test_dry_runs_of_the_other_scripts(self):
        for script, *arguments in (
            ["run.sh", "main"],
            ["run.sh", "app"],
            ["run.sh", "logs"],
            ["run.sh", "test"],
            ["run.sh", "download", "run"],
            ["run.sh", "suspend", "all"],
            ["run.sh", "resume"],
            ["status.sh"],
            ["clean.sh"],
            ["run.sh", "models"],
            ["run.sh", "status"],
        ):
            output = self.run_script(script, "--dry-run", *arguments)
            self.assertIn("USE ROLE" if "download" not in arguments else "snow stage copy", output)
            self.assertNotIn("<%", output)
        self.assertEqual([call for call in self.calls() if call["program"] != "git"], [])


class Secrets(ScriptTest):
    def test_are_on_no_command_line_and_in_no_output(self):
        output = self.deploy()
        account = self.account()
        secrets = [secret["value"] for secret in account["secret"].values()] + ["registry-secret"]
        self.assertEqual(len(set(secrets)), 3)
        for secret in secrets:
            self.assertNotIn(secret, output)
            for call in self.calls():
                self.assertNotIn(secret, " ".join(call["arguments"]))
        token = self.folder / ".config/faster-rcnn/PCB_CV.token"
        self.assertEqual(token.stat().st_mode & 0o777, 0o600)
        self.assertEqual(
            token.read_text().strip(), account["secret"]["PCB_CV.PUBLIC.PCB_CV_APP_TOKEN"]["value"]
        )
        login = next(call for call in self.calls() if "login" in call["arguments"])
        self.assertIn("registry-secret", login["input"])
        # docker keeps what it signed in with in a folder, which is gone.
        self.assertNotIn(str(self.folder / ".docker"), login["arguments"])

    def test_are_hidden_in_errors(self):
        token = self.folder / "token"
        token.write_text("a-token-of-my-own-0123\n")
        output = self.deploy("--token-file", str(token), status=1, FAIL_ON="ALTER SECRET")
        self.assertNotIn("a-token-of-my-own", output)
        self.assertIn("SECRET_STRING = '********'", output)

    def test_a_token_that_would_end_the_statement_is_refused(self):
        for text in (
            "short",
            "0123456789abcdef'; DROP DATABASE PCB_CV; --",
            "0123456789abcdef\n0123456789abcdef",
        ):
            token = self.folder / "token"
            token.write_text(text)
            output = self.deploy("--token-file", str(token), status=1)
            self.assertIn("a token is one line", output)
            self.assertFalse([call for call in self.calls() if text in call["input"]])

    def test_a_password_on_the_command_line_is_refused(self):
        for script in ("deploy.sh", "run.sh", "status.sh", "clean.sh"):
            output = self.run_script(script, "--password", "hunter2", status=2)
            self.assertNotIn("hunter2", output)
            self.assertIn("SNOWFLAKE_PASSWORD", output)


class Refusals(ScriptTest):
    def test_names_with_odd_characters(self):
        names = ("PCB-CV", "a b", "x;DROP", "x'y", 'x"y', "", "1x", "-x", "x\ny", "é", "x$(id)", "x<% y %>")
        for option, names in (("--prefix", names), ("--role", names[1:3])):
            for name in names:
                output = self.run_script("clean.sh", option, name, "--yes", status=2)
                self.assertIn(f"{option} takes", output)
        names = ("a b", "x;y", "--x", "", "x'y", "x\ny", "$(id)")
        others = ("--account", "--user", "--warehouse", "--database", "--schema", "--authenticator")
        for option, names in (("--connection", names), *((option, names[:1]) for option in others)):
            for name in names:
                output = self.run_script("status.sh", option, name, status=2)
                self.assertIn(f"{option} takes", output)
        for path in ("a'b", "a*", "a\\b", "a\nb"):
            output = self.run_script("deploy.sh", "--data", path, status=2)
            self.assertIn("--data: a path without", output)
        self.assertEqual([call for call in self.calls() if call["program"] != "git"], [])

    def test_unknown_options_and_missing_values(self):
        self.assertIn("unknown option --skip", self.run_script("deploy.sh", "--skip", status=2))
        self.assertIn("--account takes a value", self.run_script("deploy.sh", "--account", status=2))
        self.assertIn("unknown command mian", self.run_script("run.sh", "mian", status=2))
        self.assertIn("a command is missing", self.run_script("run.sh", status=2))
        self.assertIn("needs at least --account", self.run_script("status.sh", "-x", status=2))
        self.assertIn(
            "cannot be read", self.run_script("status.sh", "-x", "--private-key-file", "none", status=2)
        )

    def test_a_program_that_is_missing_is_named(self):
        (self.folder / "bin" / "docker").unlink()
        (self.folder / "bin" / "bash").symlink_to("/bin/bash")
        path = f"{self.folder / 'bin'}:{self.folder / 'tools'}"
        (self.folder / "tools").mkdir()
        for tool in ("dirname", "cat", "tr", "sed", "head", "cksum", "cut", "env", "python3"):
            found = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
            (self.folder / "tools" / tool).symlink_to(found)
        self.assertIn(
            "docker is not on the PATH: install Docker, or use --skip-image", self.deploy(status=1, PATH=path)
        )

    def test_what_was_there_before_is_neither_used_nor_dropped(self):
        account = Account(self.folder / "account.json")
        account.make("database", "PCB_CV", comment="the bank's books")
        account.make("warehouse", "PCB_CV_WH", comment=None)
        account.save()
        output = self.deploy(status=1)
        self.assertIn("database PCB_CV\n", output)
        self.assertIn("warehouse PCB_CV_WH\n", output)
        self.assertIn("--prefix", output)
        output = self.run_script("clean.sh", "--yes")
        self.assertIn("Not made by deploy.sh", output)
        self.assertIn("nothing to drop", output)
        self.assertEqual(list(self.account()["database"]), ["PCB_CV"])

    def test_connections(self):
        self.run_script("status.sh", "--dry-run")
        (self.folder / "key.p8").write_text("")
        self.deploy()
        for arguments, expected in (
            ([], ["--connection", "demo"]),
            (["-c", "production"], ["--connection", "production"]),
            (
                ["-c", "production", "--role", "SYSADMIN"],
                ["--connection", "production", "--role", "SYSADMIN"],
            ),
            (
                ["-x", "--account", "o-a", "--user", "jane@x.org", "--private-key-file", "key.p8"],
                [
                    "--temporary-connection",
                    "--account",
                    "o-a",
                    "--user",
                    "jane@x.org",
                    "--private-key-file",
                    "key.p8",
                ],
            ),
        ):
            self.forget_calls()
            self.run_script("status.sh", *arguments)
            self.assertEqual(
                self.calls()[-1]["arguments"],
                ["sql", "--stdin", "--enable-templating", "NONE", "--format", "TABLE", *expected],
            )


class Failing(ScriptTest):
    def test_every_step_stops_with_advice_and_a_rerun_goes_on(self):
        for pattern in (
            r"^git clone",
            r"^faster-rcnn weights",
            r"CREATE ROLE",
            r"CREATE COMPUTE POOL",
            r"CREATE STAGE",
            r"CREATE SECRET.*WORKER",
            r"^faster-rcnn tables",
            r"^PUT ",
            r"COPY INTO TEST_DATA",
            r"SHOW IMAGE",
            r"^docker build.*cpu",
            r"^docker .*login",
            r"^snow spcs",
            r"^docker .*push",
            r"^LIST",
        ):
            with self.subTest(pattern):
                output = self.deploy(status=1, FAIL_ON=pattern)
                self.assertIn("deploy.sh stopped in: ", output)
                self.assertIn("Run the same command again", output)
        self.deploy()
        self.assertEqual(list(self.account()["pool"]), POOLS)


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


class Sources(unittest.TestCase):
    def test_shellcheck(self):
        scripts = [*sorted(DEPLOY.glob("*.sh")), HERE / "run"]
        done = subprocess.run(["shellcheck", "--external-sources", *scripts], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_lines_are_not_too_long(self):
        files = [
            *DEPLOY.glob("*.*"),
            *DEPLOY.glob("*/*"),
            *HERE.glob("*.py"),
            HERE / "run",
        ]
        for file in files:
            for number, line in enumerate(file.read_text().splitlines(), 1):
                self.assertLessEqual(len(line), 110, f"{file}:{number}")


if __name__ == "__main__":
    unittest.main()
