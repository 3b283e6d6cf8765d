"""A SLURM of its own on this machine, on loopback: munge, a controller, and nodes, whose GPUs are only device files."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "srun", "sinfo", "scontrol")
GPUS = 2  # of a node
PARTITIONS = {
    "gpu": ("n1", "n2"),
    "cpu": ("n6",),  # which has none
    "frail": ("n3", "n4"),  # of which a test kills one
    "idle-time": ("n5",),  # for who may be preempted …
    "urgent": ("n5",),  # … by these
}


def missing() -> str:
    """Why no SLURM can be started here; empty if one can."""
    if os.getuid():
        return "SLURM's daemons need root"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    return f"not installed: {', '.join(absent)}" if absent else ""


PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


class Ended(NamedTuple):
    """A job that has ended, as SLURM wrote it down."""

    folder: str  # that it worked in
    partition: str
    minutes: str  # its time limit
    state: str


class Allocation(NamedTuple):
    """The time in which a task had a GPU of a node, in seconds; without an end if it was killed."""

    folder: str  # that the job works in
    job: str
    gpu: str
    began: float
    ended: float


class Slurm:
    """`with Slurm(folder) as slurm` starts the daemons and waits for the nodes; at the end they are ended by pid."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.nodes = sorted({node for nodes in PARTITIONS.values() for node in nodes})
        self.env = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(folder / "bin"), PATH]),
        }

    def __enter__(self) -> "Slurm":
        for name in ("bin", "run", "log", "state", "spool", "munge"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o700)
        self._configure()
        try:
            key = self.folder / "munge" / "key"
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
            run = self.folder / "run"
            self._start(
                "munged",
                "--force",  # in a folder that is closed to others
                f"--key-file={key}",
                f"--socket={run / 'munge.socket'}",
                f"--pid-file={run / 'munged.pid'}",
                f"--log-file={self.folder / 'log' / 'munged.log'}",
                f"--seed-file={self.folder / 'munge' / 'seed'}",
            )
            self._start("slurmctld")
            for node in self.nodes:
                self._start("slurmd", "-N", node)
            idle = {f"{node} idle" for node in self.nodes}
            self.wait(lambda: set(self.ask("sinfo", "-h", "-N", "-o", "%N %T").splitlines()) == idle, 30)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(subprocess.CalledProcessError):
            self.ask("scancel", "--quiet", "-u", "root")
        pids = [int(path.read_text()) for path in (self.folder / "run").glob("*.pid") if path.read_text().strip()]
        kill(pids, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self.wait(lambda: not any(map(alive, pids)), 10)
        ours = f"SLURM_CONF={self.env['SLURM_CONF']}"  # of what looked after jobs that a test has killed, too
        kill([*pids, *(pid for pid, words in processes("environ") if ours in words)], signal.SIGKILL)

    def ask(self, *command: str) -> str:
        """What a program of SLURM prints."""
        return subprocess.run(
            command, env=os.environ | self.env, text=True, check=True, capture_output=True, timeout=60
        ).stdout

    def wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in {seconds} s; {self.folder / 'log'} says more")
            time.sleep(0.2)

    def jobs(self, folder: Path) -> dict[str, str]:
        """The state of every job, pending or running, that was submitted from a folder."""
        lines = self.ask("squeue", "-h", "-o", "%i %T %Z").splitlines()
        found = (line.split(" ", 2) for line in lines)
        return {job: state for job, state, place in found if Path(place) == folder}

    def allocations(self) -> list[Allocation]:
        """Who had which GPU when; tasks without one are left out."""
        began, found = {}, []
        path = self.folder / "log" / "tasks"
        for line in path.read_text().splitlines() if path.exists() else ():
            event, moment, job, step, node, gpus, folder = line.split(" ", 6)
            for gpu in filter(None, gpus.strip("()").split(",")):
                if event == "began":
                    began[job, step, gpu] = Allocation(folder, job, f"{node}/{gpu}", float(moment), float("inf"))
                elif (job, step, gpu) in began:
                    found.append(began.pop((job, step, gpu))._replace(ended=float(moment)))
        return [*found, *began.values()]

    def ended(self) -> list[Ended]:
        path = self.folder / "log" / "ended"
        found = []
        for line in path.read_text().splitlines() if path.exists() else ():
            said = dict(word.split("=", 1) for word in line.split() if "=" in word)
            found.append(Ended(said["WorkDir"], said["Partition"], said["TimeLimit"], said["JobState"]))
        return found

    def kill_node(self, node: str) -> None:
        """What a power cut leaves of a node: nothing. Parents die before their children, who could tell tales."""
        jobs = set(self.ask("squeue", "-h", "-w", node, "-o", "%i").split())
        steps = [pid for pid, words in processes("cmdline") if words and words[0].startswith("slurmstepd: [")]
        steps = [pid for pid in steps if step_of(pid) in jobs]
        children = [
            pid
            for pid, words in processes("environ")
            if f"SLURMD_NODENAME={node}" in words and any(f"SLURM_JOB_ID={job}" in words for job in jobs)
        ]
        daemon = int((self.folder / "run" / f"slurmd.{node}.pid").read_text())
        kill([daemon, *steps, *sorted(children)], signal.SIGKILL)

    def _start(self, program: str, *options: str) -> None:
        subprocess.run([program, *options], env=os.environ | self.env, check=True, capture_output=True, timeout=60)

    def _configure(self) -> None:
        folder, devices = self.folder, self.folder / "gpu"
        devices.mkdir()
        for number in range(GPUS):  # SLURM looks whether they are devices; a second and third /dev/null will do
            os.mknod(devices / str(number), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        first, *ports = free_ports(1 + len(self.nodes))
        host = socket.gethostname().split(".")[0]
        lines = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=64 RealMemory=256000"
            + f" Gres=gpu:{GPUS}" * (node not in PARTITIONS["cpu"])
            for node, port in zip(self.nodes, ports, strict=True)
        ]
        for name, nodes in PARTITIONS.items():
            tier = 2 if name == "urgent" else 1
            lines.append(f"PartitionName={name} Nodes={','.join(nodes)} MaxTime=UNLIMITED PriorityTier={tier} State=UP")
        values = {
            "ClusterName": "tests",
            "SlurmctldHost": f"{host}(127.0.0.1)",
            "SlurmctldPort": first,
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={folder / 'run' / 'munge.socket'},cred_expire=5",  # as long waits what is requeued
            "CredType": "cred/munge",
            "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "SlurmctldPidFile": folder / "run" / "slurmctld.pid",
            "SlurmdPidFile": f"{folder}/run/slurmd.%n.pid",
            "SlurmctldLogFile": folder / "log" / "slurmctld.log",
            "SlurmdLogFile": f"{folder}/log/slurmd.%n.log",
            "TaskProlog": folder / "bin" / "began",
            "TaskEpilog": folder / "bin" / "ended",
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "PreemptType": "preempt/partition_prio",
            "PreemptMode": "REQUEUE",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_Core_Memory",
            "SlurmdParameters": "config_overrides",  # 64 CPUs on a machine of two
            "SlurmdTimeout": 10,
            "SlurmctldTimeout": 30,
            "KillWait": 30,
            "MinJobAge": 600,
            "SchedulerParameters": "sched_interval=2,bf_interval=5,batch_sched_delay=1,sched_min_interval=100000",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "GresTypes": "gpu",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": folder / "log" / "ended",
        }
        lines = [*(f"{name}={value}" for name, value in values.items()), *lines]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        with_gpus = ",".join(node for node in self.nodes if node not in PARTITIONS["cpu"])
        gres = f"AutoDetect=off\nNodeName={with_gpus} Name=gpu File={devices}/[0-{GPUS - 1}]\n"
        (folder / "gres.conf").write_text(gres)
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        # The jobs of Snakemake's plugin forget where slurm.conf is.
        self._script("srun", f'SLURM_CONF={self.env["SLURM_CONF"]} exec {shutil.which("srun", path=PATH)} "$@"')
        said = "$(date +%s.%N) $SLURM_JOB_ID $SLURM_STEP_ID $SLURMD_NODENAME ($CUDA_VISIBLE_DEVICES) $PWD"
        for event in ("began", "ended"):
            self._script(event, f'echo "{event} {said}" >> {folder}/log/tasks')

    def _script(self, name: str, line: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)


def free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def processes(what: str) -> list[tuple[int, list[str]]]:
    """`cmdline` or `environ` of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append((int(path.name), (path / what).read_bytes().decode(errors="replace").split("\0")))
    return found


def step_of(pid: int) -> str:
    """The job whose step a slurmstepd, "slurmstepd: [12.0]", looks after."""
    words = dict(processes("cmdline")).get(pid, [""])[0]
    return words.partition("[")[2].partition(".")[0]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
