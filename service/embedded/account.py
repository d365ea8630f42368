"""The user that the servers run as: ours, or an unprivileged one when we are root, because PostgreSQL refuses root."""

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from service.errors import OperatorError

NOBODY = 65534  # `nobody` on Linux; the number works without an entry in /etc/passwd too


@dataclass(frozen=True)
class Account:
    """A user of the system, by name and numbers; switch is False when the servers simply run as we do."""

    name: str
    uid: int
    gid: int
    switch: bool

    @property
    def user(self) -> tuple[int, int] | None:
        return (self.uid, self.gid) if self.switch else None

    def own(self, directory: Path) -> None:
        """Hand a directory over to this user; all below it too, if it belonged to another user."""
        if not self.switch or directory.stat().st_uid == self.uid:
            return
        for path in [*directory.rglob("*"), directory]:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reach(self, path: Path) -> None:
        """Make sure that this user can get to the path.

        A directory on the way that is closed to others (/root, say) is opened for passing through (o+x), not for
        listing or reading, and stderr says so. The alternative, to refuse, would fail in every fresh container or
        virtual machine where one works as root in /root.
        """
        if not self.switch:
            return
        for directory in reversed(path.resolve().parents):
            status = directory.stat()
            if self._may_pass(status):
                continue
            try:
                directory.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            except OSError as error:
                raise OperatorError(
                    f"the user {self.name}, who runs the servers because PostgreSQL refuses root, cannot pass through "
                    f"{directory} ({error.strerror}): choose another --data-dir, or do not run as root"
                ) from error
            print(
                f"orders: opened {directory} for passing through (chmod o+x) to the user {self.name}, "
                "who runs the servers because PostgreSQL refuses root",
                file=sys.stderr,
            )

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def account_for(directory: Path) -> Account:
    """Choose who runs the server whose data is in the directory (which need not exist yet).

    Root keeps the present owner of the data, so that a directory made by an ordinary user stays that user's.
    """
    uid, gid, is_root = os.geteuid(), os.getegid(), os.geteuid() == 0
    if is_root:
        owner = directory.stat() if directory.exists() else None
        uid, gid = (owner.st_uid, owner.st_gid) if owner and owner.st_uid != 0 else (NOBODY, NOBODY)
    return Account(name_of(uid), uid, gid, switch=is_root)


def name_of(uid: int) -> str:
    """The user's name; its number where it has none, as in many containers."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
