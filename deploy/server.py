"""A team's MLflow: PostgreSQL, an S3-compatible store, accounts; on this machine's loopback alone.

    python deploy/server.py up             # everything, from nothing or from where it was
    python deploy/server.py user ada       # an account; prints its password once
    python deploy/server.py down

It needs PostgreSQL's programs (Debian: ``apt-get install postgresql``); the rest comes from
``requirements.txt`` into an environment of its own. All that is kept lies in ``deploy/state``, or
where ``--state`` points: databases, objects, passwords, logs. The objects are JuiceFS's, whose
gateway speaks S3, with its names in the same PostgreSQL.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATABASES = ("mlflow", "accounts", "objects")
BUCKETS = ("mlflow", "dvc")
PATIENCE = 900  # seconds that a service which lives may take to answer, on a busy machine
GRACE = 20  # seconds that it may take to stop


class Server:
    """The three services, and where they keep what they keep.

    Parameters
    ----------
    state : Path
        A folder, made where need be.
    ports : tuple of int
        Of MLflow, of the S3 gateway, of PostgreSQL.
    """

    def __init__(self, state: Path, ports: tuple[int, int, int]):
        self.state = state.resolve()
        self.port, self.s3_port, self.database_port = ports
        self.url, self.s3 = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        self.data = self.state / "postgres"
        self.bin = self.state / "venv" / "bin"

    def up(self) -> None:
        """Start what does not run, making first what is not there."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o711)  # PostgreSQL runs as another user where this one is root
        self._install()
        self._start_postgres()
        self._start_s3()
        self._start_mlflow()
        print(
            f"{self.url} is up; so that what is computed is logged there, set\n"
            f"  MLFLOW_TRACKING_URI={self.url}\n"
            "  MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, of `server.py user NAME`\n"
            f"The administrator and the keys of the S3 store are in {self.state / 'secrets.json'}."
        )

    def down(self) -> None:
        """Stop what runs; everything is kept."""
        for name in ("mlflow", "juicefs"):
            process = self._running(name)
            if process is not None:
                os.killpg(process, signal.SIGTERM)
                for _ in range(2 * GRACE):
                    if self._running(name) is None:
                        break
                    time.sleep(0.5)
                else:  # what it has been sent is in the database and the store
                    os.killpg(process, signal.SIGKILL)
        if (self.data / "postmaster.pid").exists():
            self._postgres("pg_ctl", "stop", "-w", "-m", "fast", "-D", str(self.data))
        print("down; everything is kept, `server.py up` goes on with it")

    def user(self, name: str) -> None:
        """Make an account and print its password.

        Parameters
        ----------
        name : str
            What its owner logs in with.
        """
        password = secrets.token_urlsafe(18)
        known = self._secrets()
        body = json.dumps({"username": name, "password": password}).encode()
        token = b64encode(f"admin:{known['admin']}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/2.0/mlflow/users/create",
            body,
            {"Content-Type": "application/json", "Authorization": f"Basic {token}"},
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            told = json.loads(error.read())["message"]  # the database's words stand behind ours
            sys.exit(f"error: user {name}: {told.splitlines()[0].partition(' Error:')[0]}")
        except urllib.error.URLError:
            sys.exit(f"error: {self.url} does not answer; `server.py up` starts it")
        print(f"MLFLOW_TRACKING_USERNAME={name}\nMLFLOW_TRACKING_PASSWORD={password}")

    def _secrets(self) -> dict[str, str]:
        """Passwords, drawn once."""
        file = self.state / "secrets.json"
        if not file.exists():
            names = ("admin", "database", "s3_key", "s3_secret", "session", "csrf")
            drawn = {name: secrets.token_urlsafe(24) for name in names}
            file.touch(mode=0o600)
            file.write_text(json.dumps(drawn, indent=2) + "\n", encoding="utf-8")
        return dict(json.loads(file.read_text(encoding="utf-8")))

    def _install(self) -> None:
        wanted = HERE / "requirements.txt"
        mark = self.state / "venv" / "installed.txt"
        if mark.exists() and mark.read_text() == wanted.read_text():
            return
        folder = str(self.state / "venv")
        if uv := shutil.which("uv"):
            run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder)
            into = ("--python", str(self.bin / "python"))
            run(uv, "pip", "install", "--quiet", *into, "-r", str(wanted))
        else:
            run(sys.executable, "-m", "venv", folder)
            run(str(self.bin / "pip"), "install", "--quiet", "-r", str(wanted))
        mark.write_text(wanted.read_text())

    def _postgres(self, program: str, *arguments: str, **environment: str) -> None:
        """Run one of PostgreSQL's programs, as its own user where this one is root."""
        homes = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
        homes += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        path = next((home / program for home in homes if (home / program).exists()), None)
        if path is None:
            sys.exit(
                f"error: {program} is not there; Debian has it with `apt-get install postgresql`"
            )
        other = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        subprocess.run(
            [path, *arguments],
            check=True,
            cwd=self.data,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            **other,
        )

    def _start_postgres(self) -> None:
        password = self._secrets()["database"]
        self.data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.data, "postgres", "postgres")
        if not (self.data / "PG_VERSION").exists():
            first = self.data / "password"
            first.write_text(password)
            first.chmod(0o644)  # in a folder of PostgreSQL's own; it goes at once
            new = self.data / "new"
            made = ("-A", "scram-sha-256", "-U", "mlflow", "-E", "UTF8", f"--pwfile={first}")
            shutil.rmtree(new, ignore_errors=True)
            try:
                self._postgres("initdb", "-D", str(new), *made)
            finally:
                first.unlink()
            for part in new.iterdir():
                part.rename(self.data / part.name)
            new.rmdir()
        if not alive(self._postmaster()):
            place = f"-p {self.database_port} -c listen_addresses=127.0.0.1 -k {self.data}"
            log = ("-l", str(self.data / "log"))
            self._postgres("pg_ctl", "start", "-w", "-D", str(self.data), *log, "-o", place)
        at = ("-h", "127.0.0.1", "-p", str(self.database_port), "-U", "mlflow", "-d", "postgres")
        for name in DATABASES:
            missing = f"SELECT 'CREATE DATABASE {name}' WHERE NOT EXISTS "
            missing += f"(SELECT FROM pg_database WHERE datname = '{name}')"
            make = self.state / "postgres" / "make.sql"
            make.write_text(f"{missing} \\gexec\n")
            make.chmod(0o644)
            self._postgres("psql", "-q", *at, "-f", str(make), PGPASSWORD=password)
            make.unlink()

    def _postmaster(self) -> int | None:
        file = self.data / "postmaster.pid"
        return int(file.read_text().split()[0]) if file.exists() else None

    def _start_s3(self) -> None:
        known = self._secrets()
        metadata = f"postgres://mlflow@127.0.0.1:{self.database_port}/objects?sslmode=disable"
        environment = {
            "META_PASSWORD": known["database"],
            "MINIO_ROOT_USER": known["s3_key"],
            "MINIO_ROOT_PASSWORD": known["s3_secret"],
        }
        juicefs = str(self.bin / "juicefs")
        objects = self.state / "objects"
        if not objects.exists():
            place = ("--storage", "file", "--bucket", f"{objects}/")
            run(juicefs, "format", *place, "--trash-days", "0", metadata, "team", **environment)
        cache = ("--cache-dir", str(self.state / "cache"), "--no-usage-report")
        address = f"127.0.0.1:{self.s3_port}"
        command = [juicefs, "gateway", *cache, "--multi-buckets", "--no-banner", metadata, address]
        self._start("juicefs", command, environment, f"{self.s3}/minio/health/live")
        make = (
            "import boto3, sys\n"
            "s3 = boto3.client('s3', endpoint_url=sys.argv[1])\n"
            "there = {each['Name'] for each in s3.list_buckets()['Buckets']}\n"
            "[s3.create_bucket(Bucket=name) for name in sys.argv[2:] if name not in there]\n"
        )
        run(str(self.bin / "python"), "-c", make, self.s3, *BUCKETS, **self._keys())

    def _keys(self) -> dict[str, str]:
        known = self._secrets()
        return {
            "AWS_ACCESS_KEY_ID": known["s3_key"],
            "AWS_SECRET_ACCESS_KEY": known["s3_secret"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def _start_mlflow(self) -> None:
        known = self._secrets()
        database = (
            f"postgresql+psycopg2://mlflow:{known['database']}@127.0.0.1:{self.database_port}"
        )
        accounts = self.state / "accounts.ini"
        accounts.touch(mode=0o600)
        accounts.write_text(
            "[mlflow]\n"
            "default_permission = EDIT\n"  # who has an account logs into the team's studies
            f"database_uri = {database}/accounts\n"
            "admin_username = admin\n"
            f"admin_password = {known['admin']}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
            encoding="utf-8",
        )
        environment = {
            **self._keys(),
            "MLFLOW_BACKEND_STORE_URI": f"{database}/mlflow",  # not where `ps` shows it
            "MLFLOW_S3_ENDPOINT_URL": self.s3,
            "MLFLOW_AUTH_CONFIG_PATH": str(accounts),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": known["session"],
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        command = [str(self.bin / "mlflow"), "server", "--app-name", "basic-auth"]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        # one process with threads: uvicorn restarts several whenever a busy machine delays them
        command += ["--workers", "1", "--artifacts-destination", "s3://mlflow"]
        self._start("mlflow", command, environment, f"{self.url}/health")

    def _start(self, name: str, command: list[str], extra: dict[str, str], health: str) -> None:
        if self._running(name) is None:
            inherited = {key: v for key, v in os.environ.items() if not key.startswith("MLFLOW_")}
            with (self.state / f"{name}.log").open("ab") as log:
                process = subprocess.Popen(
                    command,
                    cwd=self.state,
                    env={**inherited, "PYTHONPATH": "", **extra},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            (self.state / f"{name}.pid").write_text(str(process.pid))
        told = f"{name} does not answer, see {self.state / name}.log"
        until(lambda: answers(health) or self._running(name) is None, told)
        if self._running(name) is None:
            sys.exit(f"error: {told}")

    def _running(self, name: str) -> int | None:
        """Return the number of a service's process, if it runs and is no other's by now."""
        file = self.state / f"{name}.pid"
        number = int(file.read_text()) if file.exists() else None
        if number is None or not alive(number):
            return None
        shown = ["ps", "-o", "command=", "-p", str(number)]
        words = subprocess.run(shown, capture_output=True, text=True).stdout
        return number if str(self.bin) in words else None


def run(*command: str, **environment: str) -> None:
    """Run a command; what it says is shown where it fails.

    Parameters
    ----------
    *command : str
        And its arguments.
    **environment : str
        Beside that of this process.
    """
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"error: {Path(command[0]).name} failed: {(done.stdout + done.stderr)[-1500:]}")


def alive(process: int | None) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not.

    Parameters
    ----------
    process : int or None
        Its number.
    """
    if process is None:
        return False
    shown = ["ps", "-o", "state=", "-p", str(process)]
    state = subprocess.run(shown, capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def answers(url: str) -> bool:
    """Tell whether a service answers.

    Parameters
    ----------
    url : str
        Of its health.
    """
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except OSError:
        return False
    return True


def until(done, otherwise: str) -> None:
    """Wait.

    Parameters
    ----------
    done : callable
        Tells whether it is.
    otherwise : str
        What is said after ``PATIENCE``.
    """
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            sys.exit(f"error: {otherwise}")
        time.sleep(0.5)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A team's MLflow on this machine's loopback.")
    parser.add_argument("--state", type=Path, default=HERE / "state", help="what is kept")
    parser.add_argument(
        "--ports",
        type=int,
        nargs=3,
        default=(5000, 9000, 5433),
        metavar=("MLFLOW", "S3", "POSTGRES"),
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything")
    commands.add_parser("down", help="stop everything")
    commands.add_parser("user", help="make an account").add_argument("name")
    arguments = parser.parse_args()
    server = Server(arguments.state, tuple(arguments.ports))
    if arguments.command == "user":
        server.user(arguments.name)
    else:
        getattr(server, arguments.command)()


if __name__ == "__main__":
    main()
