"""What the tests of the scripts share: a folder with the stand-ins, and a way to run a script in it."""

import json
import os
import pty
import subprocess
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
DEPLOY = REPOSITORY / "deploy"
POOLS = ["PCB_CV_COMPUTEPOOL", "PCB_CV_SERVICE_COMPUTEPOOL"]


class ScriptTest(unittest.TestCase):
    """Each test has a folder of its own, as home and as folder of the data."""

    programs = ("snow", "docker", "git", "faster-rcnn")

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        (self.folder / "bin").mkdir()
        for program in self.programs:
            (self.folder / "bin" / program).symlink_to(HERE / "stand_in.py")
        self.data = ["--data", str(self.folder / "PCBData"), "--tables", str(self.folder / "tables")]

    def environment(self, **more):
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {
            "PATH": path,
            "HOME": str(self.folder),
            "STAND_IN": str(self.folder),
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            **more,
        }

    def run_script(self, script, *arguments, status=0, **environment):
        """Runs a script without a terminal; checks its exit status and gives what it printed."""
        done = subprocess.run(
            [DEPLOY / script, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            timeout=600,
            env=self.environment(**environment),
        )
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def answer_script(self, script, answer, *arguments):
        """Runs a script at a terminal, and types an answer. Gives the exit status and what was printed."""
        terminal, end = pty.openpty()
        process = subprocess.Popen(
            [DEPLOY / script, *arguments],
            stdin=end,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env=self.environment(),
        )
        os.close(end)
        os.write(terminal, f"{answer}\n".encode())
        output, _ = process.communicate(timeout=300)
        os.close(terminal)
        return process.returncode, output

    def deploy(self, *arguments, **more):
        return self.run_script("deploy.sh", *self.data, *arguments, **more)

    def calls(self):
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def forget_calls(self):
        (self.folder / "calls.jsonl").unlink(missing_ok=True)

    def account(self):
        return json.loads((self.folder / "account.json").read_text())
