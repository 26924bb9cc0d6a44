"""How do tests get a real SLURM cluster on one machine, without touching /etc?

Everything lives in one directory: configuration, munge key and socket, state, logs. Clients find
the cluster through `SLURM_CONF` alone, so several clusters stand side by side. Each node is a
`slurmd` in its own PID, mount and host-name namespace: it answers to its own `hostname`, does not
see the processes of the others, and when it is killed everything that ran on it is gone at once, as
when a machine loses power.

    with Cluster(Path("/tmp/c"), accounting=True) as cluster:
        cluster.run("sbatch", "--wrap", "hostname")
        cluster.kill_node(cluster.nodes[0])

    python -P tests/cluster/slurm.py start /tmp/c [--accounting] [--nodes 2]
    eval "$(python -P tests/cluster/slurm.py env /tmp/c)"; sinfo
    python -P tests/cluster/slurm.py stop /tmp/c

A cluster opened with `with` dies with its process, even when that is killed; one started from the
command line stays until `stop`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

if not __package__:  # run as a script, with -P: its own folder is not searched for modules
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.cluster import cgroups, layout
from tests.cluster.layout import Settings

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare")
ACCOUNTING_PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")


class ClusterError(RuntimeError):
    """The cluster could not be started, or a command on it failed."""


def why_not(*, accounting: bool = False) -> str | None:
    """Say why no cluster can be started here; None when one can."""
    if os.geteuid() != 0:
        return "a real SLURM cluster needs root (slurmd makes namespaces and cgroups)"
    wanted = PROGRAMS + (ACCOUNTING_PROGRAMS if accounting else ())
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}; run tests/cluster/install.sh as root"
    return None


class Cluster:
    """A running cluster in `root`.

    Parameters
    ----------
    root : Path
        Its directory; made if absent. Keep it short: socket paths end at 107 characters.
    nodes : int
        How many nodes. Their names are unique to this cluster, for cgroups are named after them.
    accounting : bool
        With slurmdbd and MariaDB behind it (`sacct` works).
    cpus, memory_mb, gpus : int
        What each node claims to have. GPUs exist for the scheduler only: no device is behind them.
    max_array_size : int
        SLURM's MaxArraySize: the largest array index plus one.
    def_mem_per_cpu_mb : int
        What a job gets that asks for no memory.

    Attributes
    ----------
    nodes : tuple of str
    cgroups : bool
        Whether the kernel enforces memory here. Where not, jobs are only tracked (linuxproc) and a
        test of OUT_OF_MEMORY must fail or skip with that reason.
    env : dict
        The environment in which SLURM's clients reach this cluster.
    """

    def __init__(
        self,
        root: Path,
        *,
        nodes: int = 2,
        accounting: bool = False,
        cpus: int = 2,
        memory_mb: int = 8000,
        gpus: int = 0,
        max_array_size: int = 1001,
        def_mem_per_cpu_mb: int = 1000,
    ) -> None:
        self.root = Path(root).resolve()
        prefix = f"lam{secrets.token_hex(2)}n"
        self.settings = Settings(
            nodes=tuple(f"{prefix}{i + 1}" for i in range(nodes)),
            accounting=accounting,
            cgroups=cgroups.usable(),
            cpus=cpus,
            memory_mb=memory_mb,
            gpus=gpus,
            max_array_size=max_array_size,
            def_mem_per_cpu_mb=def_mem_per_cpu_mb,
        )
        self._children: dict[str, subprocess.Popen[bytes]] = {}  # those that this process started
        self._watchdog: subprocess.Popen[bytes] | None = None

    @classmethod
    def attach(cls, root: Path) -> Cluster:
        """Take hold of a cluster that another process started in `root`."""
        try:
            kept = json.loads((Path(root) / "cluster.json").read_text())
        except FileNotFoundError:
            raise ClusterError(f"no cluster was ever started in {root}") from None
        cluster = cls(root)
        cluster.settings = Settings(**{**kept, "nodes": tuple(kept["nodes"])})
        return cluster

    # ---- what a test asks of it

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.settings.nodes

    @property
    def accounting(self) -> bool:
        return self.settings.accounting

    @property
    def cgroups(self) -> bool:
        return self.settings.cgroups

    @property
    def env(self) -> dict[str, str]:
        # A test that itself runs in a SLURM job must not hand that job's variables on.
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        return {**outside, "SLURM_CONF": str(self.root / "slurm.conf")}

    def run(self, *command: str, timeout_s: float = 60) -> str:
        """Run a client command and give its standard output; raise ClusterError when it fails."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode:
            raise ClusterError(
                f"{' '.join(command)} ended {done.returncode}: {done.stderr.strip()}"
            )
        return done.stdout

    def kill_node(self, name: str) -> None:
        """Take a node's power away: slurmd, its job steps and all their processes, at once."""
        self._kill(name)

    def start_node(self, name: str) -> None:
        """Boot a node; the controller takes it back into service when it has reported."""
        command = ["slurmd", "-D", "-N", name, "-f", str(self.root / "slurm.conf")]
        self._spawn(name, [*_as_machine(name, self.root / "hosts"), *command])

    def skip_requeue_delay(self, job: str) -> None:
        """Let a requeued job start in two seconds; SLURM itself makes it wait two minutes.

        Not at once: in the second of the requeue a node takes the new start for the one that it was
        just told to kill ("already killed, do not launch"), and the job ends FAILED, never begun.
        """
        self.run("scontrol", "update", f"jobid={job}", "starttime=now+2")

    def node_states(self) -> dict[str, str]:
        """State of each node as sinfo prints it: `idle`, `mixed`, `down*`, …"""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def settle(self) -> None:
        """Cancel what a test left in the queue, boot what it left dead, wait until all is idle."""
        if self.run("squeue", "-h", "-o", "%i").strip():
            self.run("scancel", "--user", "root")
            self.run("scancel", "--user", "root", "--signal=KILL", "--full")
            self.wait_until("queue empty", lambda: not self.run("squeue", "-h").strip(), 60)
        for name in self.nodes:
            if not (self.root / "run" / f"{name}.pid").exists():
                self.start_node(name)
        self.wait_until("idle", lambda: set(self.node_states().values()) == {"idle"}, 60)

    def wait_until(self, what: str, reached: Callable[[], bool], timeout_s: float = 30) -> None:
        """Poll until `reached()`; after `timeout_s` raise ClusterError with the daemons' logs."""
        end = time.monotonic() + timeout_s
        while not reached():
            if time.monotonic() > end:
                raise ClusterError(
                    f"not within {timeout_s:g} s: {what}\n{self.logs(last_lines=15)}"
                )
            time.sleep(0.1)

    def logs(self, last_lines: int = 1000) -> str:
        """The ends of all daemons' logs, each under its name."""
        parts = []
        for path in sorted((self.root / "log").iterdir()):
            lines = path.read_text(errors="replace").splitlines()[-last_lines:]
            parts.append("\n".join([f"==> {path.name}", *lines]))
        return "\n".join(parts)

    # ---- life

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, *, outlive: bool = False) -> None:
        """Start all daemons and wait until every node is idle.

        Parameters
        ----------
        outlive : bool
            Leave the cluster running when this process ends.
        """
        reason = why_not(accounting=self.accounting)
        if reason is not None:
            raise ClusterError(reason)
        self.stop()
        if len(str(self.root / "munge.sock")) > 107:
            raise ClusterError(f"path too long for a socket: {self.root}")
        layout.write_files(self.root, self.settings)
        if not outlive:
            self._watch()
        try:
            self._start_daemons()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill every daemon and job of this cluster. Harmless when nothing runs; logs stay."""
        # Nodes first: a node that outlives its controller spends its last moments complaining.
        names = [path.stem for path in (self.root / "run").glob("*.pid")]
        for name in sorted(names, key=lambda n: (n not in self.nodes, n != "slurmctld", n)):
            self._kill(name)
        shutil.rmtree(self.root / "db", ignore_errors=True)
        cgroups.remove(self.nodes)
        if self._watchdog is not None and self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
            self._watchdog.wait()
            self._watchdog = None

    def _start_daemons(self) -> None:
        conf = str(self.root / "slurm.conf")
        self._spawn("munged", self._munged())
        self.wait_until("munge socket", (self.root / "munge.sock").exists)
        if self.accounting:
            self._start_accounting()
        self._spawn("slurmctld", ["slurmctld", "-D", "-f", conf])
        for name in self.nodes:
            self.start_node(name)
        self.wait_until("controller up", lambda: self._succeeds("scontrol", "ping"))
        self.wait_until("nodes idle", lambda: set(self.node_states().values()) == {"idle"})

    def _munged(self) -> list[str]:
        root = self.root
        return [
            "munged",
            "--foreground",
            "--force",  # a private folder of pytest may not be entered by all users, and need not
            f"--key-file={root}/munge.key",
            f"--socket={root}/munge.sock",
            f"--pid-file={root}/run/munged.own.pid",
            f"--log-file={root}/log/munged.log",
            f"--seed-file={root}/munge.seed",
            "--num-threads=4",
        ]

    def _start_accounting(self) -> None:
        defaults = f"--defaults-file={self.root}/mariadb.cnf"
        install = ["mariadb-install-db", defaults, "--skip-test-db", "--skip-name-resolve"]
        self.run(*install, "--auth-root-authentication-method=normal")
        self._spawn("mariadbd", ["mariadbd", defaults])
        self.wait_until("database socket", (self.root / "db.sock").exists)
        # slurmdbd.conf has no setting for the socket; MariaDB's client library takes it from here.
        self._spawn("slurmdbd", ["slurmdbd", "-D"], MYSQL_UNIX_PORT=str(self.root / "db.sock"))
        self.wait_until(
            "slurmdbd answers", lambda: self._succeeds("sacctmgr", "-n", "list", "cluster")
        )

    def _succeeds(self, *command: str) -> bool:
        try:
            self.run(*command)
        except ClusterError:
            return False
        return True

    # ---- processes

    def _spawn(self, name: str, command: list[str], **extra_env: str) -> None:
        with (self.root / "log" / f"{name}.out").open("ab") as out:
            # Own session: a Ctrl-C for the tests must not reach the daemons before stop() does.
            child = subprocess.Popen(
                command,
                env={**self.env, **extra_env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._children[name] = child
        (self.root / "run" / f"{name}.pid").write_text(str(child.pid))

    def _kill(self, name: str) -> None:
        pid_file = self.root / "run" / f"{name}.pid"
        try:
            pid = int(pid_file.read_text())
        except FileNotFoundError:
            return
        if self._owns(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if name in self._children:
                self._children.pop(name).wait()
            _wait_gone(pid)
        pid_file.unlink(missing_ok=True)

    def _owns(self, pid: int) -> bool:
        """Whether `pid` still is a daemon of ours: the number may have been given to another."""
        marker = f"SLURM_CONF={self.root}/slurm.conf".encode()
        try:
            return marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def _watch(self) -> None:
        # Reads a pipe that only this process holds: its end of file is this process's death.
        self._watchdog = subprocess.Popen(
            [sys.executable, "-P", __file__, "stop-at-eof", str(self.root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )


def _as_machine(name: str, hosts: Path) -> list[str]:
    """Command prefix that makes a process tree look like, and die like, a machine of its own."""
    # The shell is the namespace's first process: it collects the job steps that slurmd orphans.
    boot = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; "$@" & wait "$!"'
    namespaces = ["--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--mount"]
    unshare = ["unshare", *namespaces, "--propagation", "slave"]
    return [*unshare, "bash", "-c", boot, "node", name, str(hosts)]


def _wait_gone(pid: int, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.02)
    raise ClusterError(f"process {pid} does not die")


def main() -> None:
    parser = argparse.ArgumentParser(description="A real SLURM cluster in one directory.")
    parser.add_argument("action", choices=["start", "stop", "env", "stop-at-eof"])
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("--accounting", action="store_true")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--max-array-size", type=int, default=1001)
    given = vars(parser.parse_args())
    action, root = given.pop("action"), given.pop("root")
    try:
        if action == "start":
            Cluster(root, **given).start(outlive=True)
        elif action == "stop-at-eof":
            sys.stdin.read()
            Cluster.attach(root).stop()
        elif action == "stop":
            Cluster.attach(root).stop()
        if action in {"start", "env"}:
            print(f"export SLURM_CONF='{Cluster.attach(root).env['SLURM_CONF']}'")
    except ClusterError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
