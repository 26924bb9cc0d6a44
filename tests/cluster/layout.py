"""What does a cluster's directory hold before its daemons start?"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import shutil
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).resolve().parent / "conf"


@dataclass(frozen=True)
class Settings:
    """What decides how a cluster behaves; kept in `cluster.json` for other processes."""

    nodes: tuple[str, ...]
    accounting: bool
    cgroups: bool
    cpus: int
    memory_mb: int
    gpus: int
    max_array_size: int
    def_mem_per_cpu_mb: int


def write_files(root: Path, settings: Settings) -> None:
    """Write everything that the daemons and clients of a fresh cluster read in `root`."""
    for name in ("run", "log", "state", "spool"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True)
    for left in ("munge.key", "munge.sock", "db.sock"):
        (root / left).unlink(missing_ok=True)
    key = root / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    values = _values(root, settings)
    for source in sorted(TEMPLATES.iterdir()):
        target = root / source.name
        target.write_text(Template(source.read_text()).substitute(values))
        target.chmod(0o600)  # slurmdbd refuses a configuration that others can read
    (root / "slurm.conf").chmod(0o644)
    hosts = "".join(f"127.0.0.1 {name}\n" for name in ("localhost", *settings.nodes))
    (root / "hosts").write_text(hosts + Path("/etc/hosts").read_text())
    (root / "cluster.json").write_text(json.dumps(asdict(settings)))


def _values(root: Path, s: Settings) -> dict[str, object]:
    controller_port, accounting_port, *node_ports = _free_ports(2 + len(s.nodes))
    gres = f" Gres=gpu:{s.gpus}" if s.gpus else ""
    _write_gpus(root, s.gpus)
    return {
        **asdict(s),
        "root": root,
        "hostname": socket.gethostname().split(".")[0],
        "cluster": s.nodes[0].removesuffix("1"),
        "controller_port": controller_port,
        "accounting_port": accounting_port,
        "proctrack": "proctrack/cgroup" if s.cgroups else "proctrack/linuxproc",
        "task_plugin": "task/cgroup" if s.cgroups else "task/none",
        "accounting": _accounting_lines(root, accounting_port) if s.accounting else "",
        "gres": "GresTypes=gpu" if s.gpus else "",
        "nodes": "\n".join(
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={s.cpus} RealMemory={s.memory_mb}{gres}"
            for name, port in zip(s.nodes, node_ports, strict=True)
        ),
    }


def _write_gpus(root: Path, count: int) -> None:
    # slurmd counts only GPUs that have a file; an empty one per GPU stands for the device.
    files = [root / f"gpu{i}" for i in range(count)]
    for file in files:
        file.touch()
    lines = "".join(f"Name=gpu File={file}\n" for file in files)
    (root / "gres.conf").write_text(lines)


def _accounting_lines(root: Path, port: int) -> str:
    lines = [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={port}",
        # AuthInfo does not reach the connection to slurmdbd: its munge socket is named here.
        f"AccountingStoragePass={root}/munge.sock",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=2",
    ]
    return "\n".join(lines)


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below the range from which outgoing connections are given theirs."""
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.randrange(12000, 32000)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                ports.append(port)
        return ports
