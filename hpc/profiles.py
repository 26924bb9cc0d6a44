"""What does this site want to be told? Partition, account, memory, modules, container, per job.

Profiles come from ``~/.config/lamstore/clusters.yaml`` (``LAMSTORE_CLUSTERS`` names another file)::

    default: v100
    profiles:
      v100:
        partition: gpu
        memory: 8G
        jobs:
          infer: {gres: "gpu:v100:1", memory: 24G}

The ``cluster:`` section of study.yaml takes the same keys, and ``profile:`` to choose one; what it
says wins over the profile, and the command line wins over both. Shipped examples are chosen by
their names, ``v100`` and ``h100``, where the site has no profile of that name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hpc.resources import memory_mib, time_s
from lamstore.errors import ConfigError

PROGRAM = "LAMSTORE_APPTAINER_BIN"
"""Environment variable that names Apptainer's program where it is not in PATH."""

EXAMPLES = Path(__file__).with_name("examples")


def _memory(text: str) -> str:
    return _checked(memory_mib, text)


def _time(text: str) -> str:
    return _checked(time_s, text)


def _checked(parse: Any, text: str) -> str:
    try:
        parse(text)
    except ConfigError as error:
        raise ValueError(f"{error.got!r} is not like {error.expected}") from error
    return text


T = TypeVar("T", bound=BaseModel)
Memory = Annotated[str, AfterValidator(_memory)]
Time = Annotated[str, AfterValidator(_time)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Resources(_Section):
    """What one task of a job asks SLURM for."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    """``gpu:1``, ``gpu:h100:1``; whatever begins with ``gpu`` makes it a GPU job."""
    cores: int = Field(default=2, ge=1)
    memory: Memory = "4G"
    time: Time = "01:00:00"
    processes: int = Field(default=1, ge=1)
    """Worker processes in a task; they share its cores, and each loads the engine."""
    extra_directives: tuple[str, ...] = ()
    """Anything else that sbatch takes: ``--exclude=n07``, ``--reservation=mri``."""

    @property
    def gpu(self) -> bool:
        """Whether a GPU is asked for."""
        asked = [self.gres or "", *self.extra_directives]
        return any("gpu" in text for text in asked)


class JobResources(_Section):
    """What differs for one job; whatever is absent is the profile's."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    cores: int | None = Field(default=None, ge=1)
    memory: Memory | None = None
    time: Time | None = None
    processes: int | None = Field(default=None, ge=1)
    extra_directives: tuple[str, ...] | None = None


class DaskSettings(_Section):
    """What only ``--on dask`` needs."""

    interface: str | None = None
    """Network interface of workers and scheduler (``ib0``); the default route's when absent."""
    dashboard_port: int = Field(default=8787, ge=0, le=65535)
    """0 takes any free port."""
    memory_headroom: float = Field(default=0.15, ge=0, lt=1)
    """Part of the job's memory left free: dask must act before the kernel kills."""
    lifetime_margin: Time = "00:05:00"
    """Workers retire so long before their time limit, spread over as long again."""
    death_timeout: Time = "00:01:00"
    """Workers end when the scheduler has been gone so long."""


class Profile(Resources):
    """One way to use one cluster."""

    modules: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    """Shell lines before Python starts: ``source …/activate``, ``export …``."""
    python: str | None = None
    """The interpreter on the nodes; this process's when absent (``python`` in a container)."""
    container: Path | None = None
    """An Apptainer image with lamstore in it."""
    apptainer: str = "apptainer"
    """The program, where it is not in PATH under this name (``LAMSTORE_APPTAINER_BIN``)."""
    binds: tuple[str, ...] = ()
    """Folders to bind beside those that the study names."""
    max_memory: Memory = "64G"
    """Units lost to memory are resubmitted with twice as much, up to this."""
    max_time: Time = "1-00:00:00"
    throttle: int | None = Field(default=None, ge=1)
    """At most so many tasks of an array at once."""
    units_per_task: int | None = Field(default=None, ge=1)
    """Chosen from measured times when absent."""
    task_minutes: float = Field(default=12, gt=0)
    """How long a task should take, where units' times are known."""
    parallel_tasks: int = Field(default=32, ge=1)
    """Into at least so many tasks a wave is divided, for the sake of parallelism."""
    stop_before_s: int = Field(default=120, ge=10)
    """How long before the time limit a task is told to stop (``--signal``)."""
    jobs: Mapping[Literal["ingest", "infer", "compare", "finish", "train"], JobResources] = {}
    dask: DaskSettings = DaskSettings()

    def of(self, job: str) -> Resources:
        """Resources of a job; ``finish`` is the cohort's metrics, tables and the report."""
        base = {name: getattr(self, name) for name in Resources.model_fields}
        own = self.jobs.get(job)  # type: ignore[call-overload]
        changed = {name: getattr(own, name) for name in own.model_fields_set} if own else {}
        return Resources.model_validate(base | changed)


class _ClustersFile(_Section):
    default: str | None = None
    profiles: dict[str, dict[str, Any]] = {}


def site_file() -> Path:
    """Where this user's profiles are."""
    default = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "lamstore" / "clusters.yaml"
    return Path(os.environ.get("LAMSTORE_CLUSTERS") or default).expanduser()


def load_profile(section: Mapping[str, Any], name: str | None = None, **given: Any) -> Profile:
    """The profile for a study.

    Parameters
    ----------
    section : mapping
        ``cluster:`` of study.yaml.
    name : str, optional
        Profile asked for on the command line.
    **given
        Further values of the command line; None is no value.

    Raises
    ------
    ConfigError
        When no profile has that name, or a value cannot be used.
    """
    own = dict(section)
    named = own.pop("profile", None)
    site = _site()
    chosen = name or named or site.default
    body = _named(chosen, site) if chosen else {}
    merged = _merge(_merge(body, own), {k: v for k, v in given.items() if v is not None})
    if PROGRAM in os.environ:
        merged.setdefault("apptainer", os.environ[PROGRAM])
    if merged.get("container"):
        merged["container"] = Path(merged["container"]).expanduser().resolve()
    return _validated(Profile, merged, f"cluster profile {chosen or '(default)'}")


def _site() -> _ClustersFile:
    path = site_file()
    return _validated(_ClustersFile, _yaml(path), str(path)) if path.exists() else _ClustersFile()


def _named(name: str, site: _ClustersFile) -> dict[str, Any]:
    if name in site.profiles:
        return site.profiles[name]
    examples = {path.stem: path for path in sorted(EXAMPLES.glob("*.yaml"))}
    if name in examples:
        return _yaml(examples[name])
    raise ConfigError(
        "there is no such cluster profile",
        got=name,
        expected=", ".join([*site.profiles, *examples]),
        remedy=f"describe it in {site_file()}, see docs/cluster.md",
    )


def _yaml(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML", got=str(error)) from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path} cannot be used", got=type(found).__name__, expected="a mapping")
    return found


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _validated(model: type[T], body: Mapping[str, Any], what: str) -> T:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(f"{what} cannot be used", got="; ".join(lines)) from error
