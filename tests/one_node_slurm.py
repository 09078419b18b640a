"""A Slurm of one node on this machine, from Debian's packages (slurm-wlm, munge), for tests: root only.

    python tests/one_node_slurm.py up FOLDER      start it; everything it writes is in FOLDER
    python tests/one_node_slurm.py down FOLDER    stop it
    export SLURM_CONF=FOLDER/slurm.conf PATH=FOLDER/bin:$PATH     what sbatch, squeue and Snakemake then need

There is no accounting database, so job states must be asked of squeue. Two GPUs are pretended: jobs wait for them and
see CUDA_VISIBLE_DEVICES, and nothing else of them is there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")
_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=1
KillWait=5
MinJobAge=600
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """What keeps this machine from running it, in words, or None."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a Slurm of one's own needs Linux and root"
    lacking = [program for program in PROGRAMS if not shutil.which(program, path=_path())]
    return f"no {', '.join(lacking)}: apt-get install slurm-wlm munge" if lacking else None


def install() -> None:
    """Install Debian's packages where they are missing and can be had; says nothing where they cannot."""
    if missing() and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "--yes", "--no-install-recommends", "slurm-wlm", "munge"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            if subprocess.run(command, env=environment, timeout=600, **quiet).returncode:
                subprocess.run(["apt-get", "update"], env=environment, timeout=300, **quiet)
                subprocess.run(command, env=environment, timeout=600, **quiet)


def up(folder: str | Path, cpus: int | None = None) -> Path:
    """Start it and return its slurm.conf. Raises `RuntimeError` with the ends of its logs where it does not come up."""
    folder = Path(folder).resolve()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    conf = folder / "slurm.conf"
    if not conf.exists():
        ports = _free_ports(2)
        text = _CONF.format(
            folder=folder,
            host=socket.gethostname().split(".")[0],
            cpus=cpus or os.cpu_count(),
            controller_port=ports[0],
            node_port=ports[1],
        )
        conf.write_text(text)
        _wrap(folder, "srun")
        # A count of GPUs without files is refused; terminals are there on any Linux.
        (folder / "gres.conf").write_text("NodeName=localhost Name=gpu File=/dev/tty[0-1]\n")
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
    start_munge(folder)
    start_controller(folder)
    start_node(folder)
    return conf


def start_munge(folder: Path) -> None:
    """Start the daemon that signs messages, with a socket and a key of its own."""
    options = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log"}
    options |= {"seed-file": "munge.seed"}
    named = [f"--{name}={folder / file}" for name, file in options.items()]
    _run(folder, ["munged", "--force", *named])


def start_controller(folder: Path) -> None:
    """Start the controller, which goes on with the jobs that it knew."""
    _run(folder, ["slurmctld"])


def start_node(folder: Path) -> None:
    """Start the node and wait until it takes jobs."""
    _run(folder, ["slurmd", "-N", "localhost"])
    _wait(folder)


def kill_node(folder: Path) -> None:
    """What a power cut does: the node's daemon and all of its jobs' processes are gone, and the controller is told."""
    stop(folder, "slurmd", signal.SIGKILL)
    _kill_jobs(folder)
    _run(folder, ["scontrol", "update", "nodename=localhost", "state=down", "reason=power"])


def resume_node(folder: Path) -> None:
    """Start a node that was killed."""
    _run(folder, ["scontrol", "update", "nodename=localhost", "state=resume"])
    start_node(folder)


def down(folder: str | Path) -> None:
    """Cancel all jobs, wait until they are gone, or kill them, and stop all daemons."""
    folder = Path(folder).resolve()
    _run(folder, ["scancel", "--user=root"], check=False)
    end = time.monotonic() + 20
    while _job_processes(folder) and time.monotonic() < end:
        time.sleep(0.1)
    stop(folder, "slurmd")  # which would not end them
    _kill_jobs(folder)
    for name in ("slurmctld", "munge"):
        stop(folder, name)


def stop(folder: Path, name: str, number: int = 15) -> None:
    """Send a daemon (slurmd, slurmctld, munge) a signal, and wait until it is gone."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        os.kill(pid, number)
    except (OSError, ValueError):
        return
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    os.kill(pid, 9)


def environment(folder: Path) -> dict[str, str]:
    """The variables that its commands, and Snakemake, need."""
    return os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{folder / 'bin'}:{_path()}"}


def _wrap(folder: Path, command: str) -> None:
    """A command that knows this cluster even where a job dropped all variables of Slurm, as Snakemake's jobs do."""
    path = folder / "bin" / command
    path.parent.mkdir(exist_ok=True)
    real = shutil.which(command, path=_path())
    path.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
    path.chmod(0o755)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _kill_jobs(folder: Path) -> None:
    for pid in _job_processes(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _job_processes(folder: Path) -> list[int]:
    """The processes of this cluster's jobs: each supervisor, which works in `folder`, and what it started."""
    children: dict[int, list[int]] = {}
    waiting = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(path.name))
            supervises = (path / "cmdline").read_bytes().startswith(b"slurmstepd:")
            if supervises and (path / "cwd").readlink() == folder:
                waiting.append(int(path.name))
    found = []
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _run(folder: Path, command: list[str], check: bool = True) -> None:
    subprocess.run(command, env=environment(folder), check=check, timeout=60)


def _wait(folder: Path) -> None:
    command = ["sinfo", "--noheader", "--format=%t"]
    for _ in range(120):
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, check=False)
        if done.stdout.split() == ["idle"]:
            return
        time.sleep(0.25)
    logs = [line for name in ("slurmctld", "slurmd") for line in _tail(folder / f"{name}.log")]
    down(folder)
    raise RuntimeError("Slurm does not come up:\n" + "\n".join(logs))


def _tail(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-5:] if path.exists() else []


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def main() -> None:
    """Parse the arguments; start or stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("folder")
    arguments = parser.parse_args()
    if arguments.action == "down":
        down(arguments.folder)
        return
    install()
    if lacking := missing():
        sys.exit(f"error: {lacking}")
    conf = up(arguments.folder)
    print(f"export SLURM_CONF={conf} PATH={conf.parent / 'bin'}:$PATH")


if __name__ == "__main__":
    main()
