"""A stand-in for a Snowflake account: the objects that `fakesnow` does not know, and their statements.

It knows exactly the statements of deploy/sql, and refuses what is written in another way. Its state is in
a file, so that one process after the other can use it. Where the statement is a query, the answer has the
columns of Snowflake that the scripts read.
"""

import json
import re
from pathlib import Path

NAME = r"([A-Z0-9_.]+)"
POOL_OPTIONS = {
    "MIN_NODES",
    "MAX_NODES",
    "INSTANCE_FAMILY",
    "AUTO_RESUME",
    "INITIALLY_SUSPENDED",
    "AUTO_SUSPEND_SECS",
}


class Refused(Exception):
    """What Snowflake would say no to."""


def statements(text):
    """The statements of a text: split at semicolons outside of quotes, comments and $$."""
    parts = re.split(r"(\$\$.*?\$\$|'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|;)", text, flags=re.S)
    current = ""
    for part in parts:
        if part == ";":
            if current.strip():
                yield current.strip()
            current = ""
        elif not part.startswith("--"):
            current += part
    if current.strip():
        yield current.strip()


def like(pattern, name):
    return re.fullmatch(re.escape(pattern).replace("%", ".*").replace("_", "."), name) is not None


class Account:
    """The account whose state is in `path`."""

    def __init__(self, path):
        self.path = Path(path)
        fresh = {
            kind: {}
            for kind in ("role", "warehouse", "database", "pool", "repository", "secret", "service", "stage")
        }
        self.state = json.loads(self.path.read_text()) if self.path.exists() else fresh

    def save(self):
        self.path.write_text(json.dumps(self.state, indent=1, sort_keys=True))

    def execute(self, statement):
        """The rows of the answer, as dictionaries; None where the statement is not one of this stand-in's."""
        if found := re.fullmatch(rf"USE SCHEMA {NAME}", statement):
            self.there("database", found[1].split(".")[0])
            self.state["current_schema"] = found[1]
            self.save()
            return None
        for pattern, method in RULES:
            if found := re.fullmatch(pattern, statement, flags=re.S):
                rows = method(self, *found.groups())
                self.save()
                return [{"status": "Statement executed successfully."}] if rows is None else rows
        return None

    def make(self, kind, name, **values):
        self.state[kind].setdefault(name, values)

    def there(self, kind, name):
        if name not in self.state[kind]:
            raise Refused(f"{kind} '{name}' does not exist or not authorized.")
        return self.state[kind][name]

    def show(self, kind, pattern):
        return [
            {"name": name.split(".")[-1], **values}
            for name, values in sorted(self.state[kind].items())
            if like(pattern, name.split(".")[-1])
        ]

    def drop(self, kind, name):
        self.state[kind].pop(name, None)

    # Roles, warehouses, databases

    def use_role(self, role):
        if role not in ("ACCOUNTADMIN", "SYSADMIN"):
            self.there("role", role)
        self.state["current_role"] = role

    def create_role(self, name, comment):
        self.make("role", name, comment=comment)

    def grant_to(self, privileges, on, role):
        grants = self.there("role", role).setdefault("grants", [])
        grant = " ".join(f"{privileges} ON {on}".split())
        if grant not in grants:
            grants.append(grant)

    def grant_role(self, role, kind, to):
        self.there("role", role)

    def create_warehouse(self, name, options):
        comment = re.search(r"COMMENT = '([^']*)'", options)
        self.make("warehouse", name, comment=comment and comment[1])

    def create_database(self, name, comment):
        self.make("database", name, comment=comment)

    def drop_database(self, name):
        for kind in ("service", "repository", "secret", "stage"):
            for other in [key for key in self.state[kind] if key.startswith(name + ".")]:
                if self.state[kind][other].get("block"):
                    raise Refused(f"service {other} has block storage: DROP SERVICE ... FORCE")
                del self.state[kind][other]
        self.drop("database", name)

    # Compute pools

    def create_pool(self, name, options):
        found = dict(re.findall(r"(\w+) = ('[^']*'|\S+)", options))
        comment = found.pop("COMMENT").strip("'")
        if set(found) != POOL_OPTIONS:
            raise Refused(f"options of a compute pool: {sorted(found)}")
        self.make("pool", name, state="SUSPENDED", comment=comment, **found)

    def suspend_pool(self, name):
        self.there("pool", name)["state"] = "SUSPENDED"
        for service in self.state["service"].values():
            if service["pool"] == name and not service["job"]:
                service["status"] = "SUSPENDED"

    def stop_pool(self, name):
        self.there("pool", name)
        self.state["service"] = {
            key: value for key, value in self.state["service"].items() if value["pool"] != name
        }

    def drop_pool(self, name):
        if any(service["pool"] == name for service in self.state["service"].values()):
            raise Refused(f"compute pool {name} has services")
        self.drop("pool", name)

    # Images, secrets, services

    def create_repository(self, name):
        self.make(
            "repository",
            name,
            repository_url=f"org-acc.registry.snowflakecomputing.com/{name.replace('.', '/').lower()}",
        )

    def create_secret(self, name, value):
        self.make("secret", name, value=value)

    def alter_secret(self, name, value):
        self.there("secret", name)["value"] = value

    def qualified(self, name):
        return name if "." in name else f"{self.state['current_schema']}.{name}"

    def create_service(self, name, pool, specification, job=False):
        self.there("pool", pool)["state"] = "ACTIVE"
        state = "DONE" if job else "RUNNING"
        dns = f"{name.lower().replace('_', '-')}.x1.svc.spcs.internal"
        self.make(
            "service",
            self.qualified(name),
            status=state,
            dns_name=dns,
            pool=pool,
            job=job,
            block="source: block" in specification,
            specification=specification,
        )

    def create_long_service(self, name, pool, specification, least, most):
        self.create_service(name, pool, specification)

    def alter_service(self, name, specification):
        self.there("service", self.qualified(name))["specification"] = specification

    def resume_service(self, name):
        service = self.there("service", self.qualified(name))
        if service["status"] != "SUSPENDED":
            raise Refused(f"service {name} is {service['status']}")
        service["status"] = "RUNNING"
        self.there("pool", service["pool"])["state"] = "ACTIVE"

    def drop_service(self, name, force):
        name = self.qualified(name)
        if self.state["service"].get(name, {}).get("block") and not force:
            raise Refused(f"service {name} has block storage: DROP SERVICE ... FORCE")
        self.drop("service", name)

    def run_job(self, pool, specification, name):
        if self.qualified(name) in self.state["service"]:
            raise Refused(f"Object '{name}' already exists.")
        self.create_service(name, pool, specification, job=True)
        job = self.state["service"][self.qualified(name)]
        job["status"] = self.state.get("next_job", "DONE")
        if job["status"] == "DONE":
            stage = re.search(r'name: "@(\S+)"', specification)[1]
            self.state["stage"].setdefault(stage, {}).update(
                {"models/20260101T000000Z.safetensors": 1, "runs/20260101T000000Z/whole": 1}
            )

    def show_services(self, pattern, schema):
        self.there("database", schema.split(".")[0])
        return self.show("service", pattern or "%")

    def endpoints(self, name):
        self.there("service", name)
        return [{"name": "app", "port": "8080", "ingress_url": "abc-org-acc.snowflakecomputing.app"}]

    def logs(self, name, instance, container, lines):
        self.there("service", name)
        return [{"SYSTEM$GET_SERVICE_LOGS": f"log of {container} {instance}"}]


RULES = [
    (rf"USE ROLE {NAME}", Account.use_role),
    (rf"CREATE ROLE IF NOT EXISTS {NAME} COMMENT = '([^']*)'", Account.create_role),
    (rf"GRANT ROLE {NAME} TO (ROLE|USER) (SYSADMIN|IDENTIFIER\(\$\w+\))", Account.grant_role),
    (
        rf"GRANT ([A-Z, ]+?) ON (ACCOUNT|(?:WAREHOUSE|DATABASE|SCHEMA|COMPUTE POOL) [A-Z0-9_.]+) "
        rf"TO ROLE {NAME}",
        Account.grant_to,
    ),
    (rf"GRANT (BIND SERVICE ENDPOINT) ON (ACCOUNT) TO ROLE {NAME}", Account.grant_to),
    (rf"CREATE WAREHOUSE IF NOT EXISTS {NAME}\s+(WAREHOUSE_SIZE = .*)", Account.create_warehouse),
    (rf"CREATE DATABASE IF NOT EXISTS {NAME} COMMENT = '([^']*)'", Account.create_database),
    (rf"CREATE COMPUTE POOL IF NOT EXISTS {NAME}\s+(.*)", Account.create_pool),
    (rf"CREATE IMAGE REPOSITORY IF NOT EXISTS {NAME}", Account.create_repository),
    (
        rf"CREATE SECRET IF NOT EXISTS {NAME} TYPE = GENERIC_STRING SECRET_STRING = '([^']*)'",
        Account.create_secret,
    ),
    (rf"ALTER SECRET {NAME} SET SECRET_STRING = '([^']*)'", Account.alter_secret),
    (
        rf"CREATE SERVICE IF NOT EXISTS {NAME}\s+IN COMPUTE POOL {NAME}\s+FROM SPECIFICATION \$\$(.*)\$\$\s+"
        r"MIN_INSTANCES = (\d)\s+MAX_INSTANCES = (\d)",
        Account.create_long_service,
    ),
    (rf"ALTER SERVICE {NAME} FROM SPECIFICATION \$\$(.*)\$\$", Account.alter_service),
    (rf"ALTER SERVICE {NAME} RESUME", Account.resume_service),
    (
        rf"EXECUTE JOB SERVICE\s+IN COMPUTE POOL {NAME}\s+FROM SPECIFICATION \$\$(.*)\$\$\s+"
        rf"NAME = {NAME}\s+ASYNC = TRUE",
        Account.run_job,
    ),
    (rf"DROP SERVICE IF EXISTS {NAME}( FORCE)?", Account.drop_service),
    (rf"ALTER COMPUTE POOL {NAME} SUSPEND", Account.suspend_pool),
    (rf"ALTER COMPUTE POOL {NAME} STOP ALL", Account.stop_pool),
    (rf"DROP COMPUTE POOL IF EXISTS {NAME}", Account.drop_pool),
    (rf"DROP DATABASE IF EXISTS {NAME}", Account.drop_database),
    (rf"DROP WAREHOUSE IF EXISTS {NAME}", lambda self, name: self.drop("warehouse", name)),
    (rf"DROP ROLE IF EXISTS {NAME}", lambda self, name: self.drop("role", name)),
    (r"(?i)ALTER SESSION SET PYTHON_CONNECTOR_QUERY_RESULT_FORMAT = 'JSON'", lambda self: None),
    (r"SHOW ROLES LIKE '([^']*)'", lambda self, pattern: self.show("role", pattern)),
    (r"SHOW WAREHOUSES LIKE '([^']*)'", lambda self, pattern: self.show("warehouse", pattern)),
    (r"SHOW DATABASES LIKE '([^']*)'", lambda self, pattern: self.show("database", pattern)),
    (r"SHOW COMPUTE POOLS LIKE '([^']*)'", lambda self, pattern: self.show("pool", pattern)),
    (
        r"SHOW IMAGE REPOSITORIES LIKE '([^']*)' IN SCHEMA [A-Z0-9_.]+",
        lambda self, pattern: self.show("repository", pattern),
    ),
    (rf"SHOW SERVICES (?:LIKE '([^']*)' )?IN SCHEMA {NAME}", Account.show_services),
    (rf"SHOW ENDPOINTS IN SERVICE {NAME}", Account.endpoints),
    (rf"CALL SYSTEM\$GET_SERVICE_LOGS\('{NAME}', (\d+), '(\w+)', (\d+)\)", Account.logs),
]
