"""A `python` for the jobs of one run of the workflow that has the large packages imported already.

Half of the tiny scale's time goes into importing torch, transformers and their like, once a job. Here one process
imports them and forks for each job; our own modules, whose imports are ours to test, are imported by each job anew.
All jobs share a seed of string hashes, so a test of the workflow must also compare with a run of ordinary interpreters:
`test_results_do_not_depend_on_cores` does, for the longest chain of jobs.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGES = (
    *(
        "pyarrow.parquet",
        "scipy.stats",
        "scipy.ndimage",
        "pandas",
        "matplotlib.figure",
        "faiss",
        "torch",
        "torchvision",
    ),
    *("safetensors.torch", "sentence_transformers", "transformers.image_processing_utils"),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("auto", "bert", "gpt2", "vision_encoder_decoder")),
    "transformers.models.vision_text_dual_encoder.modeling_vision_text_dual_encoder",
)
# Started as `python`: hands its arguments, folder, environment and streams on, and ends as the job does.
CLIENT = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
job = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [job[:1]], [0, 1, 2])
server.sendall(job[1:])
server.shutdown(socket.SHUT_WR)
sys.exit((server.recv(1) or bytes([1]))[0])
"""


@contextmanager
def warm_python(folder: Path, library: Path, packages: Sequence[str] = PACKAGES) -> Iterator[Path]:
    """Yield a folder for the front of PATH whose `python` runs scripts as said above; `library` is in its path."""
    folder.mkdir()
    address = folder / "jobs"
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), *packages],
            env=os.environ | {"PYTHONPATH": str(library), "HF_HUB_OFFLINE": "1"},
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    try:
        yield folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # and its jobs
        server.wait()


def serve(listener: socket.socket, packages: Sequence[str]) -> None:
    """Answer every client in a process of its own; what connects during the imports waits in the queue."""
    for name in packages:
        importlib.import_module(name)
    assert "vlrepro" not in sys.modules
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            answer(connection)
            os._exit(0)
        connection.close()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def answer(connection: socket.socket) -> None:
    """Run the client's job in a child and send its exit code, as a shell would say it."""
    message, streams, _, _ = socket.recv_fds(connection, 1, 3)
    while part := connection.recv(1 << 16):
        message += part
    job = os.fork()
    if job == 0:
        connection.close()
        os._exit(run(*json.loads(message), streams))
    _, status = os.waitpid(job, 0)
    code = os.waitstatus_to_exitcode(status)
    connection.sendall(bytes([code if code >= 0 else 128 - code]))


def run(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> int:
    """Run a script as `python script ...` would; return its exit code."""
    for stream, place in zip(streams, (0, 1, 2), strict=True):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    code: object = 0
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as stop:
        code = stop.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
