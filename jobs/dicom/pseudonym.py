"""How do studies get names that nobody can trace back without the key?

HMAC-SHA256 of an id under a secret key: the same id gives the same pseudonym in every study made
with that key, and without it ids cannot be tried out, which a bare hash of a number would allow.
The key is a file of its own, outside the study, readable by its owner alone.
"""

from __future__ import annotations

import hmac
import os
import secrets
from functools import lru_cache
from pathlib import Path

from lamstore.errors import ConfigError

KEY_BYTES = 32
_SHOWN = 16
"""Hex digits of a pseudonym: 64 bits, no collision among millions of studies."""


class Pseudonyms:
    """Keyed hashes of ids.

    Parameters
    ----------
    key : bytes
        Secret, at least `KEY_BYTES` long.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, kind: str, name: str) -> str:
        """Pseudonym of an id; ids of different kinds (study, series, path) never share one."""
        text = f"{kind}\0{name}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, text, "sha256").hex()[:_SHOWN]


def make_key(path: Path) -> None:
    """Write a new random key, readable by its owner alone (0600).

    Raises
    ------
    ConfigError
        There is a file already: a new key would give every study a new name.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(
            f"the key {path} cannot be made",
            got=str(error.strerror),
            expected="a path where there is no file yet",
            remedy="use the key that is there, or choose another path",
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))


def read_key(path: Path | None) -> Pseudonyms:
    """The pseudonyms of a key file.

    Raises
    ------
    ConfigError
        No key file, one that others may read, or one that is too short.
    """
    if path is None:
        raise _key_error("pseudonyms need a key", "no key_file", _making(Path("KEY")))
    try:
        changed = path.stat()
    except OSError as error:
        raise _key_error(
            f"the key of the pseudonyms is missing: {path}", str(error.strerror), _making(path)
        ) from error
    if changed.st_mode & 0o077:
        mode = f"mode {changed.st_mode & 0o777:04o}"
        raise _key_error(f"others may read the key {path}", mode, f"chmod 600 {path}")
    return _read(path, changed.st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Pseudonyms:
    try:
        key = path.read_bytes()
    except OSError as error:
        raise _key_error(
            f"the key {path} cannot be read", str(error.strerror), _making(path)
        ) from error
    if len(key) < KEY_BYTES:
        raise _key_error(f"the key {path} is too short", f"{len(key)} bytes", _making(path))
    return Pseudonyms(key)


def _making(path: Path) -> str:
    return (
        "restore the key that the study was made with; for a new study: "
        f"openssl rand -out '{path}' {KEY_BYTES} && chmod 600 '{path}'"
    )


def _key_error(what: str, got: str, remedy: str) -> ConfigError:
    expected = f"a file of {KEY_BYTES} random bytes with mode 0600, outside the study"
    return ConfigError(what, got=got, expected=expected, remedy=remedy)
