"""Real engines on this host for the duration of a test: a PostgreSQL server, a Slurm cluster of one node."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

SLURM = """ClusterName=one
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
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
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobRequeue=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(num_ports: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(num_ports)]
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    bin_dirs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not bin_dirs:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    with TemporaryDirectory() as folder:
        if as_postgres:
            shutil.chown(folder, "postgres")
        (port,) = free_ports(1)
        data, control = f"{folder}/data", [*as_postgres, bin_dirs[-1] / "pg_ctl", "-D", f"{folder}/data"]
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        subprocess.run([*as_postgres, bin_dirs[-1] / "initdb", "-D", data, "-A", "trust", "-U", "someone"], check=True)
        subprocess.run([*control, "-o", options, "-l", f"{folder}/log", "-w", "start"], check=True)
        try:
            yield f"postgresql+psycopg://someone@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True)


@pytest.fixture
def slurm() -> Iterator[dict[str, str]]:
    """Environment variables with which Slurm's commands find the cluster."""
    if not (shutil.which("slurmctld") and shutil.which("slurmd")) or os.geteuid() != 0:
        pytest.skip("Slurm is not installed, or this is not root: apt install slurmctld slurmd slurm-client")
    with TemporaryDirectory() as folder:
        for name in ("state", "spool"):
            (Path(folder) / name).mkdir()
        host, cores = socket.gethostname().partition(".")[0], len(os.sched_getaffinity(0))
        text = SLURM.format(host=host, user="root", ports=free_ports(2), folder=folder, cores=cores)
        (Path(folder) / "slurm.conf").write_text(text)
        environment = {"SLURM_CONF": f"{folder}/slurm.conf"}
        daemons = [
            subprocess.Popen([name, "-D"], env=os.environ | environment, stderr=subprocess.DEVNULL)
            for name in ("slurmctld", "slurmd")
        ]
        try:
            ready = ["sinfo", "--noheader", "--states=idle", "--format=%n"]
            while not subprocess.run(ready, env=os.environ | environment, capture_output=True).stdout:
                assert all(daemon.poll() is None for daemon in daemons)
                time.sleep(0.2)
            yield environment
        finally:
            for daemon in daemons:
                daemon.terminate()
            for daemon in daemons:
                daemon.wait()
