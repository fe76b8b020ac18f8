"""Stages that start at once: a process that has imported everything and forks for each command.

A stage imports for seconds and works for one, on a model this small; a random moment would nearly
always fall into the imports. The commands of ``dvc.yaml`` and ``MLproject`` find this folder's
``python`` first, which hands ``-m persona_leakage...`` to the warm process and stands for it: what
kills the one kills the other.
"""

import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, signal, socket, sys
real = {python!r}
if sys.argv[1:2] != ["-m"] or not sys.argv[2].startswith("persona_leakage."):
    os.execv(real, [real, *sys.argv[1:]])
line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
line.connect({socket!r})
said = json.dumps([sys.argv[2:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(line, [len(said).to_bytes(4, "big")], [0, 1, 2])
line.sendall(said)
child = int.from_bytes(line.recv(4), "big")
def forward(number, frame):
    os.kill(child, number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, forward)
code = line.recv(1)
sys.exit(code[0] if code else 137)
"""


def install(folder: Path) -> Path:
    """Write the client, called ``python``; return its folder, to be put first on the PATH.

    Parameters
    ----------
    folder : Path
        Is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, socket=str(folder / "socket")))
    client.chmod(0o755)
    return folder


def serve(folder: Path) -> None:
    """Import everything, then fork for every client until killed.

    Parameters
    ----------
    folder : Path
        Of ``install``.
    """
    import mlflow.sklearn  # noqa: F401
    import torch

    from persona_leakage.pipeline import (  # noqa: F401
        analyse,
        base,
        baseline,
        cell,
        centroids,
        contrast,
        evaluate,
        evaluated,
        geometry,
        personas,
        questions,
        report,
        study,
        train,
        upload,
    )
    from persona_leakage.training import trainer

    trainer.train.__defaults__ = (None, 0.0)  # a checkpoint behind every step
    torch.set_num_threads(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    path = folder / "socket"
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()
    (folder / "ready").touch()
    while True:
        line, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _stand_for(line)
        line.close()


def _stand_for(line: socket.socket) -> None:
    size, streams, _, _ = socket.recv_fds(line, 4, 3)
    said = b""
    while len(said) < int.from_bytes(size, "big"):
        said += line.recv(1 << 16)
    (module, *arguments), directory, variables = json.loads(said)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = [module, *arguments]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    line.sendall(os.getpid().to_bytes(4, "big"))

    def watch() -> None:
        line.recv(1)  # the client says nothing more: it is gone
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    line.sendall(bytes([code & 255]))
    os._exit(code & 255)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
