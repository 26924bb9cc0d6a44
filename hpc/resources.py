"""How much memory and time is that? The spellings that SLURM takes, and back."""

from __future__ import annotations

import re

from lamstore.errors import ConfigError

_MEMORY = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]?)B?$", re.IGNORECASE)
_TIME = re.compile(r"^(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?$")
_MIB = {"K": 1 / 1024, "": 1, "M": 1, "G": 1024, "T": 1024 * 1024}


def memory_mib(text: str) -> int:
    """MiB of ``4G``, ``500M`` or ``2000`` (MiB, as SLURM reads it), at least 1.

    Raises
    ------
    ConfigError
    """
    found = _MEMORY.match(text.strip())
    if found is None:
        raise ConfigError("a memory size cannot be read", got=text, expected="4G, 500M, 1.5T")
    return max(1, round(float(found[1]) * _MIB[found[2].upper()]))


def time_s(text: str) -> int:
    """Seconds of ``30`` (minutes, as SLURM reads it), ``30:00``, ``1:30:00`` or ``2-12:00:00``.

    Raises
    ------
    ConfigError
    """
    found = _TIME.match(text.strip())
    if found is None:
        raise ConfigError("a time limit cannot be read", got=text, expected="1:30:00, 2-00:00:00")
    days, first, second, third = (int(part) if part else None for part in found.groups())
    if days is not None:  # D-H[:M[:S]]
        return ((days * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    if third is not None:  # H:M:S
        return ((first or 0) * 60 + (second or 0)) * 60 + third
    return (first or 0) * 60 + (second or 0)  # M or M:S


def show_time(seconds: int) -> str:
    """``D-HH:MM:SS`` or ``HH:MM:SS``, as SLURM reads it."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return (f"{days}-" if days else "") + f"{h:02d}:{m:02d}:{s:02d}"


def show_memory(mib: int) -> str:
    """``4G`` where it is whole, ``1500M`` otherwise."""
    return f"{mib // 1024}G" if mib % 1024 == 0 else f"{mib}M"
