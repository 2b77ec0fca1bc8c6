"""Who works in a folder: one live process at a time, on one machine or on several that share the folder.

Two witnesses, because neither is enough alone.

A lock of the kernel (flock) on the file `claim`. It falls the moment its process dies, however it dies, so what a dead
process of this machine held is taken over at once. Over a network it may reach the other machines or not (NFS mounted
with `nolock` or `local_lock`, Lustre without `-o flock`, most FUSE), and there is no way to ask.

A lease, the file `claim.<k>`, which says machine and process. It is created exclusively (O_EXCL, which NFS keeps from
version 3 on), and its holder renews its time of change every BEAT_SECONDS. The claim of another machine counts while it
is younger than LEASE_SECONDS by the clock of the file server: no clocks of two machines are compared. LEASE_SECONDS is
more than the 60 s for which an NFS client may believe its cache.

So whoever gets the lock looks at the newest lease. One of this machine is a dead process's, or it would have the lock;
one of another machine stands until it is silent for LEASE_SECONDS. To take over k is to create k + 1, which one of
several rivals can; one who finds yet another new number then gives way. A holder that was silent without being dead,
on a suspended machine say, finds the newer number at its next look and ends without a result. Until that look both may
write: to attempts of their own (k is the attempt's number too), and the same bits to the cell's checkpoints.
"""

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from dsresearch.schema import WriteError

LEASE_SECONDS = 120.0
BEAT_SECONDS = 10.0


class HeldError(Exception):
    """Another live process has the claim, or has taken it over."""


class Claim:
    """A folder that this process works in.

    Attributes:
        number: of this claim and of the attempt made under it, from 1.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.path = _lease(folder, number)
        self._ended = threading.Event()

    def check(self) -> None:
        """Raise HeldError where another process has taken over, InputError where the folder has vanished."""
        if not self.folder.is_dir():
            raise WriteError(self.folder, "it has vanished")
        if _numbers(self.folder)[-1:] != [self.number]:
            raise HeldError(f"{self.folder.name}: taken over, this process was silent for too long")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):  # `check` finds what is wrong
                os.utime(self.path)


@contextlib.contextmanager
def claimed(folder: Path, used: Iterable[int] = ()) -> Iterator[Claim]:
    """Hold a folder; its number is above those `used`.

    Raises HeldError where another live process holds it, InputError where it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(exist_ok=True)
            claim = _take(folder, stack, used)
        except OSError as error:
            raise WriteError(folder, error.strerror or str(error)) from None
        beat = threading.Thread(target=claim._beat, daemon=True)
        beat.start()
        try:
            yield claim
        finally:
            claim._ended.set()
            beat.join()
            with contextlib.suppress(OSError):
                claim.path.unlink()


def held(folder: Path) -> bool:
    """Whether a live process works in the folder, as far as can be told without taking it."""
    try:
        with open(folder / "claim", "rb") as lock:
            try:
                alone = _locked(lock.fileno(), fcntl.LOCK_SH)
            except BlockingIOError:
                return True
            numbers = _numbers(folder)
            return bool(numbers) and _stands(_lease(folder, numbers[-1]), lock.fileno(), alone)
    except OSError:
        return False


def _take(folder: Path, stack: contextlib.ExitStack, used: Iterable[int]) -> Claim:
    lock = stack.enter_context((folder / "claim").open("ab"))
    try:
        alone = _locked(lock.fileno(), fcntl.LOCK_EX)
    except BlockingIOError:
        raise HeldError(folder.name) from None
    earlier = _numbers(folder)
    if earlier and _stands(_lease(folder, earlier[-1]), lock.fileno(), alone):
        raise HeldError(folder.name)
    claim = Claim(folder, 1 + max([0, *earlier, *used]))
    try:
        handle = os.open(claim.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        raise HeldError(folder.name) from None  # a rival on another machine was first
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "host": os.uname().nodename, "process": os.getpid()}, file)
    except OSError:  # a full disk: an empty lease would stand for LEASE_SECONDS
        claim.path.unlink(missing_ok=True)
        raise
    if set(_numbers(folder)) - set(earlier) != {claim.number}:  # a rival who had seen another number
        claim.path.unlink(missing_ok=True)
        raise HeldError(folder.name)
    for number in earlier:
        _lease(folder, number).unlink(missing_ok=True)
    return claim


def _locked(handle: int, kind: int) -> bool:
    """Take the kernel's lock, or say that this file system has none. Raises BlockingIOError where it is taken."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # ENOLCK, ENOSYS, EOPNOTSUPP: the lease alone has to do
        return False
    return True


def _stands(path: Path, lock: int, alone: bool) -> bool:
    """Whether a lease is that of a process that may be alive; `alone`: nobody here holds the lock."""
    try:
        with open(path, encoding="utf-8") as file:  # opened, because that makes an NFS client ask the server
            changed = os.fstat(file.fileno()).st_mtime
            said = json.load(file)
    except FileNotFoundError:
        return True  # given back just now: this listing is old, the next one tells
    except ValueError:
        said = {}  # being written just now, or cut short by a full disk: its age decides
    if alone and isinstance(said, dict) and said.get("machine") == machine():
        return False
    with contextlib.suppress(OSError):
        os.utime(lock)
    return os.fstat(lock).st_mtime - changed < LEASE_SECONDS


def _numbers(folder: Path) -> list[int]:
    """Numbers of the leases in a folder, ascending."""
    return sorted(int(path.suffix[1:]) for path in folder.glob("claim.*") if path.suffix[1:].isdecimal())


def _lease(folder: Path, number: int) -> Path:
    return folder / f"claim.{number}"


def machine() -> str:
    """What tells this machine, since it was started, from all others; containers that share its kernel share this."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.uname().nodename
