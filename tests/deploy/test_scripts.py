"""Setting up, with stand-ins for all programs that the scripts call; and the scripts' form."""

import re
import subprocess
import unittest

from account import Account
from scripts import DEPLOY, HERE, POOLS, ScriptTest


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
