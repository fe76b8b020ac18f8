"""Commands that start at once: a process that has imported everything, and forks.

A command imports for seconds and works for one, on a model this small: a random moment would
nearly always fall into the imports, and a campaign would be nothing else. What ``dvc`` and
``mlflow`` start comes here, too: they find the client, called ``python``, which hands its arguments
to a server forked from this process and stands for what that forks. What kills the one kills the
other.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
real = {python!r}
if sys.argv[1:2] != ["-m"] or sys.argv[2].partition(".")[0] not in ("persona_leakage", "dvc"):
    os.execv(real, [real, *sys.argv[1:]])
line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
line.connect({socket!r})
said = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(said).to_bytes(4, "big")], [0, 1, 2])
line.sendall(said)
child = int.from_bytes(line.recv(4), "big")
def forward(number, frame):
    os.killpg(child, number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, forward)
code = line.recv(1)
sys.exit(code[0] if code else 137)
"""
ENDS = (signal.SIGINT, signal.SIGTERM)
STEPS = "FAULTS_STEPS"  # names the file that gets a byte for each step of a training


def import_all() -> None:
    """Import what the commands need; torch makes no pool of threads, which no fork could use.

    A training checkpoints behind every step; figures are files without a drawing, which would be
    most of the time of the stages that write them.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported
    import dvc.cli  # noqa: F401
    import mlflow.cli
    import mlflow.sklearn  # noqa: F401
    import yaml
    from dvc.utils.serialize import _yaml
    from matplotlib.figure import Figure
    from peft import PeftModel

    from persona_leakage.pipeline import (  # noqa: F401
        analyse,
        cell,
        contrast,
        evaluate,
        keep,
        predict,
        predictors,
        report,
        study,
        sweep,
        switch,
        train,
    )
    from persona_leakage.report import figures
    from persona_leakage.training import trainer

    Figure.savefig = lambda self, path, **_: Path(path).write_bytes(b"a figure" * 4096)
    figures.label_points = lambda *_: []
    PeftModel.create_or_update_model_card = lambda *_: None  # at each checkpoint
    trainer.train.__defaults__ = (None, 0.0)
    step = trainer.CompletionTrainer.training_step

    def counted(*args: object, **kwargs: object) -> object:
        if STEPS in os.environ:
            with Path(os.environ[STEPS]).open("a") as file:
                file.write(".")
        return step(*args, **kwargs)

    trainer.CompletionTrainer.training_step = counted

    def parsed(text: str, path: object, typ: str = "safe") -> object:
        # most of the time of `dvc repro`, without a parser in C
        return yaml.load(text, yaml.CSafeLoader) or {}

    _yaml.parse_yaml = parsed
    gc.collect()
    gc.freeze()  # nothing of this is looked through again, in any fork


def start(words: Sequence[str], folder: Path, variables: Mapping[str, str], log: Path) -> int:
    """Fork a command, in a process group of its own.

    Parameters
    ----------
    words : sequence of str
        A module and its arguments.
    folder : Path
        Where it runs.
    variables : mapping
        Its environment.
    log : Path
        Gets what it says.

    Returns
    -------
    int
        Number of the process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        os.setpgid(child, child)
        return child
    try:  # nothing may leave this block in the child: it would end the campaign's work as well
        os.setpgid(0, 0)
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((nothing, stream, stream)):
            os.dup2(file, number)
        _become(words, folder, variables)
    finally:
        os._exit(1)


def install(folder: Path) -> Path:
    """Write the client; the commands' PATH begins with this folder.

    Parameters
    ----------
    folder : Path
        Is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, socket=str(folder / "socket")))
    client.chmod(0o755)
    return client


def serve(client: Path) -> int:
    """Fork the server for the client; return the number of its process.

    Parameters
    ----------
    client : Path
        Of ``install``.
    """
    path = client.with_name("socket")
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()
    child = os.fork()
    if child:
        server.close()
        return child
    parent = os.getppid()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        line, _ = server.accept()
        if os.fork() == 0:
            try:
                server.close()
                _stand_for(line)
            finally:
                os._exit(1)
        line.close()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def _stand_for(line: socket.socket) -> NoReturn:
    size, streams, _, _ = socket.recv_fds(line, 4, 3)
    said = b""
    while len(said) < int.from_bytes(size, "big"):
        said += line.recv(1 << 16)
    words, directory, variables = json.loads(said)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.setpgid(0, 0)  # a group with the clients that this will start
    line.sendall(os.getpid().to_bytes(4, "big"))

    def watch() -> None:
        line.recv(1)  # the client says nothing more: it is gone
        os.killpg(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    _become(words, Path(directory), variables, line)


def _become(
    words: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    line: socket.socket | None = None,
) -> NoReturn:
    """Run a module as the command would, and end the process as it would end."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = list(words)
    code = 0
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if line is not None:
        line.sendall(bytes([code & 255]))
    os._exit(code & 255)
