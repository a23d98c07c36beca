"""What is for one machine: unit, compose file, images, proxies; and the specifications of services."""

import http.client
import http.server
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import tomllib
import unittest
from pathlib import Path

import yaml
from scripts import DEPLOY, REPOSITORY

# Where `serve` and what it shares with other commands declare their options.
OPTIONS = [REPOSITORY / "src/bin/faster-rcnn" / f"{name}.rs" for name in ("serve", "registry", "database")]


def snippet(language):
    """The configuration of a proxy in docs/deploy.md."""
    text = (REPOSITORY / "docs/deploy.md").read_text()
    return re.search(rf"```{language}\n(.*?)```", text, flags=re.S)[1]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


class InFolder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)


class Unit(InFolder):
    def setUp(self):
        super().setUp()
        unit = (DEPLOY / "faster-rcnn.service").read_text()
        self.unit = self.folder / "faster-rcnn.service"
        # The program is not installed where the tests run.
        self.unit.write_text(unit.replace("/usr/local/bin/faster-rcnn", shutil.which("true")))

    def test_is_well_formed(self):
        done = run("systemd-analyze", "verify", self.unit)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_may_do_little(self):
        # The threshold is 10 times the exposure. What is left: the network, and the machine's files to read.
        done = run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", self.unit)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])


class Compose(unittest.TestCase):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())

    def test_names_only_what_there_is(self):
        known = {
            "build",
            "cap_drop",
            "command",
            "depends_on",
            "environment",
            "healthcheck",
            "image",
            "mem_limit",
            "networks",
            "pids_limit",
            "ports",
            "read_only",
            "restart",
            "secrets",
            "security_opt",
            "stop_grace_period",
            "tmpfs",
            "volumes",
        }
        self.assertEqual(set(self.compose), {"name", "networks", "secrets", "services", "volumes"})
        for name, service in self.compose["services"].items():
            self.assertEqual(set(service) - known, set(), name)
            self.assertLessEqual(set(service["networks"]), set(self.compose["networks"]))
            self.assertLessEqual(set(service["secrets"]), set(self.compose["secrets"]))
            self.assertLessEqual(set(service.get("depends_on", {})), set(self.compose["services"]))
            volumes = {volume.split(":")[0] for volume in service["volumes"] if not volume.startswith("$")}
            self.assertLessEqual(volumes, set(self.compose["volumes"]))
            self.assertIn("no-new-privileges:true", service["security_opt"])
        build = self.compose["services"]["server"]["build"]
        self.assertTrue((DEPLOY / build["context"] / build["dockerfile"]).exists())

    def test_only_this_machine_reaches_the_server_and_only_the_server_the_database(self):
        services = self.compose["services"]
        self.assertTrue(all(port.startswith("127.0.0.1:") for port in services["server"]["ports"]))
        self.assertNotIn("ports", services["database"])
        self.assertEqual(services["database"]["networks"], ["inside"])
        self.assertTrue(self.compose["networks"]["inside"]["internal"])

    def test_no_secret_is_in_the_file_or_on_a_command_line(self):
        for service in self.compose["services"].values():
            self.assertNotRegex(" ".join(service.get("command", [])), r"PASSWORD|TOKEN\b|:[^/@]+@")
        self.assertIn("/deploy/.env", (REPOSITORY / ".gitignore").read_text().split())


class Images(InFolder):
    def context(self):
        """The folder that a build gets: what .dockerignore lets in."""
        lines = (REPOSITORY / ".dockerignore").read_text().split("\n")
        self.assertIn("*", lines)
        files = run("git", "ls-files", cwd=REPOSITORY).stdout.split("\n")
        for pattern in (line[1:] for line in lines if line.startswith("!")):
            matching = [file for file in files if Path(file).match(pattern) or file.startswith(pattern + "/")]
            self.assertTrue(matching, f"{pattern} lets nothing in")
            for file in matching:
                (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / file, self.folder / file)

    def test_the_context_has_all_that_cargo_needs(self):
        self.context()
        done = run("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1", cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:])
        for source in re.findall(r'"src_path":"([^"]*)"', done.stdout):
            self.assertTrue(Path(source).exists(), source)
        for source in (REPOSITORY / "src").rglob("*.rs"):
            for path in re.findall(r'include_(?:str|bytes)!\("([^"]*)"\)', source.read_text()):
                file = (source.parent / path).resolve().relative_to(REPOSITORY)
                self.assertTrue((self.folder / file).exists(), file)

    def test_what_is_copied_is_in_the_context(self):
        self.context()
        for name in ("Dockerfile", "Dockerfile.cpu"):
            for source in re.findall(r"^COPY (?!--from)(\S+) ", (DEPLOY / name).read_text(), flags=re.M):
                self.assertTrue((self.folder / source).exists(), f"{name}: {source}")

    def test_the_image_for_cpus_has_a_user_without_rights_and_a_health_check(self):
        text = (DEPLOY / "Dockerfile.cpu").read_text()
        self.assertEqual(len(re.findall("^FROM ", text, flags=re.M)), 2)
        last = text[text.rindex("FROM ") :]
        self.assertRegex(last, r"ARG RUN_AS=[1-9]\d+\nUSER \$RUN_AS\n")
        self.assertIn("HEALTHCHECK", last)

    def test_features_and_options_are_those_of_the_program(self):
        features = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["features"]
        source = "".join(file.read_text() for file in OPTIONS)
        used = {}
        for name in ("Dockerfile", "Dockerfile.cpu"):
            for feature in re.search(r"--features (\S+)", (DEPLOY / name).read_text())[1].split(","):
                self.assertIn(feature, features)
        app = yaml.safe_load(re.sub(r"<% \w+ %>", "x", (DEPLOY / "services/app.yaml").read_text()))
        used["app"] = app["spec"]["containers"][0]["command"]
        used["compose"] = Compose.compose["services"]["server"]["command"]
        unit = (DEPLOY / "faster-rcnn.service").read_text()
        used["unit"] = re.search(r"^ExecStart=(.*?[^\\])$", unit, flags=re.M | re.S)[1].split() + [
            "--watch",
            "--keep",
        ]
        for where, words in used.items():
            for option in (word[2:] for word in words if word.startswith("--")):
                name = option.replace("-", "_")
                self.assertRegex(source, rf"\n    (pub )?{name}: ", f"{where}: --{option}")


class Specifications(unittest.TestCase):
    def test_services_fit_the_images_and_the_pools(self):
        images = {"workers": "cuda", "trainer": "cuda", "app": "cpu"}
        for name, image in images.items():
            text = (DEPLOY / f"services/{name}.yaml").read_text()
            spec = yaml.safe_load(re.sub(r"<% (\w+) %>", r"\1", text))["spec"]
            (container,) = spec["containers"]
            self.assertEqual(container["image"], f"image_path/faster-rcnn-{image}:tag")
            (secret,) = container["secrets"]
            folder = secret["directoryPath"]
            self.assertIn(
                f"{folder}/secret_string", [*container["command"], *container.get("env", {}).values()]
            )
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            self.assertEqual(mounts, {volume["name"] for volume in spec.get("volumes", [])})
            gpus = container["resources"]["requests"].get("nvidia.com/gpu", 0)
            self.assertEqual(gpus, int(name == "workers"))
        self.assertIn("COPY deploy/train.sh /usr/local/bin/", (DEPLOY / "Dockerfile").read_text())


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, as far as the real server looks at it."""

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        answer = f"{self.headers['Host']} {self.headers['X-Forwarded-Proto']} {size}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


class Nginx(InFolder):
    def test_passes_on_what_the_server_needs(self):
        upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        self.addCleanup(upstream.server_close)
        self.addCleanup(upstream.shutdown)
        plain, secure = free_port(), free_port()
        config = snippet("nginx")
        for found, instead in (
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ", f"listen 127.0.0.1:{secure} "),
            ("/etc/ssl/boards", str(self.folder)),
            ("http://127.0.0.1:8080", f"http://127.0.0.1:{upstream.server_port}"),
        ):
            self.assertEqual(config.count(found), 2 if "ssl/" in found else 1, found)
            config = config.replace(found, instead)
        run(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=boards.example.com",
            "-days",
            "1",
            "-keyout",
            self.folder / "privkey.pem",
            "-out",
            self.folder / "fullchain.pem",
            check=True,
        )
        paths = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        file = self.folder / "nginx.conf"
        # Started by root, nginx would give up its rights, also to this folder.
        user = "user root;\n" if os.getuid() == 0 else ""
        file.write_text(
            f"{user}daemon off;\npid {self.folder}/pid;\nerror_log {self.folder}/error.log;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{paths}{config}}}\n"
        )
        done = run("/usr/sbin/nginx", "-t", "-e", self.folder / "error.log", "-c", file)
        self.assertEqual(done.returncode, 0, done.stdout)
        server = subprocess.Popen(["/usr/sbin/nginx", "-e", self.folder / "error.log", "-c", file])
        self.addCleanup(server.wait)
        self.addCleanup(server.terminate)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", secure)) == 0:
                    break
            time.sleep(0.05)

        context = ssl._create_unverified_context()
        client = http.client.HTTPSConnection("127.0.0.1", secure, context=context, timeout=60)
        client.request(
            "POST", "/v1/detect", body=b"x" * 5_000_000, headers={"Host": f"boards.example.com:{secure}"}
        )
        self.assertEqual(client.getresponse().read().decode(), f"boards.example.com:{secure} https 5000000")
        # What our server takes comes through, a little more does not.
        for size, status in ((64 << 20, 200), (66 << 20, 413)):
            client = http.client.HTTPSConnection("127.0.0.1", secure, context=context, timeout=60)
            client.putrequest("POST", "/v1/detect")
            client.putheader("Content-Length", str(size))
            client.endheaders()
            if status == 200:
                client.send(b"x" * size)
            self.assertEqual(client.getresponse().status, status)
        client = http.client.HTTPConnection("127.0.0.1", plain, timeout=60)
        client.request("GET", "/a?b", headers={"Host": "boards.example.com"})
        answer = client.getresponse()
        self.assertEqual((answer.status, answer.headers["Location"]), (301, "https://boards.example.com/a?b"))


class Caddy(InFolder):
    def test_is_valid(self):
        file = self.folder / "Caddyfile"
        file.write_text(snippet("caddy"))
        done = run(
            "caddy", "validate", "--config", file, "--adapter", "caddyfile", env={"HOME": str(self.folder)}
        )
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
