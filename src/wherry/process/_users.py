"""Users by name or number, looked up in an image's /etc/passwd and /etc/group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ID_MAX = 2**32 - 2
"""The highest uid and gid: the next one means "no change" to the kernel."""


class UnknownUserError(LookupError):
    """The image has no such user or group."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as. `home` is None where the image has no entry for the uid."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    uid: int
    gid: int
    home: str


class UserDatabase:
    """What an image says of users; read once, when it is first asked."""

    def __init__(self, read: Callable[[str], bytes | None]) -> None:
        """`read` returns a file of the image, or None where it has none."""
        self._users = list(_parse_passwd(read("/etc/passwd") or b""))
        self._groups = list(_parse_group(read("/etc/group") or b""))

    def resolve(self, user: str) -> User:
        """Find `name`, `uid`, `name:group` or `uid:gid` (any mixture of names and numbers).

        A bare number needs no entry. Without a group, the supplementary groups of the user's name are included; with one,
        they are not, as in Docker.

        Raises:
            UnknownUserError: A name has no entry, or a number is out of range.
        """
        who, colon, group = user.partition(":")
        entry = self._find_user(who)
        uid = entry.uid if entry is not None else _number(who)
        if uid is None:
            raise UnknownUserError(f"no user {who!r} in the image's /etc/passwd")
        home = entry.home if entry is not None else None
        if colon:
            return User(uid, self._find_group(group), (), home)
        if entry is None:
            return User(uid, 0, (), None)
        groups = tuple(sorted({gid for _, gid, members in self._groups if entry.name in members}))
        return User(uid, entry.gid, groups, home)

    def _find_user(self, who: str) -> _Entry | None:
        for entry in self._users:
            if entry.name == who:
                return entry
        number = _number(who)
        return next((entry for entry in self._users if entry.uid == number), None) if number is not None else None

    def _find_group(self, group: str) -> int:
        for name, gid, _ in self._groups:
            if name == group:
                return gid
        number = _number(group)
        if number is None:
            raise UnknownUserError(f"no group {group!r} in the image's /etc/group")
        return number


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text[:11])
    return number if number <= ID_MAX and len(text) <= 10 else None


def _lines(data: bytes) -> list[list[str]]:
    return [line.split(":") for line in data.decode("utf-8", "surrogateescape").split("\n") if line[:1] != "#"]


def _parse_passwd(data: bytes) -> list[_Entry]:
    entries = []
    for fields in _lines(data):
        # Like libc, a line that makes no sense is passed over.
        if len(fields) < 6:
            continue
        uid, gid = _number(fields[2]), _number(fields[3])
        if fields[0] and uid is not None and gid is not None:
            entries.append(_Entry(fields[0], uid, gid, fields[5] or "/"))
    return entries


def _parse_group(data: bytes) -> list[tuple[str, int, frozenset[str]]]:
    groups = []
    for fields in _lines(data):
        gid = _number(fields[2]) if len(fields) >= 3 else None
        if gid is not None and fields[0]:
            members = fields[3].split(",") if len(fields) > 3 else []
            groups.append((fields[0], gid, frozenset(member.strip() for member in members if member.strip())))
    return groups
