"""The folder of a compression that is not finished, from which another run goes on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..compiler import file
from ..compiler.ir import PenjingError
from .compression import Stage

__all__ = ["Work", "digest"]

_MARK, _LOCK = "made_with.json", "lock"
_WAY_OUT = "delete that folder, or name another output with -o"


@dataclass(frozen=True)
class Work:
    """A folder with the network and the `Stage` behind each step that is finished, by its number,
    and with the checkpoints of the step that is not.
    """

    folder: Path

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, made_with: Mapping[str, str], steps: Sequence[str]
               ) -> Iterator[Work]:
        """``folder``, new or of the same work, for one run at a time.

        Work is the same if all is that it was ``made_with``, and so are those of its ``steps`` that
        are finished: a recipe may be mended from the step on that failed. After an error
        before a step was finished, nothing is left. `PenjingError` if the folder is another's, or
        at work.
        """
        work = cls(folder)
        try:
            missing = [one for one in folder.parents if not one.exists()]
            is_new = not folder.exists() or {*folder.iterdir()} <= {
                folder / _LOCK, *file.leftovers(folder)}
            if not is_new:
                work._held()
            folder.mkdir(parents=True, exist_ok=True)
            lock = open(folder / _LOCK, "ab")  # noqa: SIM115
        except OSError as error:
            raise PenjingError(f"{folder}: cannot be used ({error.strerror}); name an output in a "
                               f"folder that you may write to") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PenjingError(f"{folder}: another run is at work there; wait for it, or name "
                                   f"another output with -o") from None
            wanted = {"made_with": dict(made_with), "steps": list(steps)}
            if not is_new:
                work._require(wanted)
            file.write_atomically(folder / _MARK, json.dumps(wanted).encode())
            try:
                yield work
            except Exception:
                if not work._finished and not work._is_begun(1):
                    work.remove()
                    with suppress(OSError):  # another has put something there
                        for parent in missing:
                            parent.rmdir()
                raise

    @property
    def _finished(self) -> int:
        """How many steps are."""
        return max((int(path.stem) for path in self.folder.glob("*.json")
                    if path.stem.isdecimal()), default=0)

    def _is_begun(self, number: int) -> bool:
        """Whether there is a checkpoint of a step, or a trial of it."""
        return any(self.folder.glob(f"{number}.tr*"))

    def _require(self, wanted: Mapping[str, Any]) -> None:
        """Make sure that nothing that is done is of other work than ``wanted``."""
        held, finished = self._held(), self._finished
        done = finished + self._is_begun(finished + 1)
        if held["made_with"] != wanted["made_with"]:
            if done:
                raise PenjingError(f"{self.folder}: it holds other work that was not "
                                   f"finished; {_WAY_OUT}")
            self.step(0, ".json").unlink(missing_ok=True)
        for number, step in enumerate(held["steps"][:done], 1):
            if wanted["steps"][number - 1:number] != [step]:
                what = f"its {number}.tr* there" if number > finished else "that folder"
                raise PenjingError(f"{self.folder}: step {number} was done in another way; "
                                   f"delete {what}, or name another output with -o")

    def _held(self) -> dict[str, Any]:
        """What the folder says that it is of."""
        try:
            held = json.loads((self.folder / _MARK).read_bytes())
        except (OSError, ValueError, RecursionError):
            held = None
        if isinstance(held, dict) and isinstance(held.get("made_with"), dict) and isinstance(
                held.get("steps"), list):
            return held
        raise PenjingError(f"{self.folder}: no work of Penjing, or damaged; {_WAY_OUT}")

    def remove(self) -> None:
        """Delete the folder; a run that this is stopped in can be repeated.

        What tells of finished steps goes first, that of the last one before others, and what the
        folder is of at last.
        """
        with suppress(OSError):
            for number in range(self._finished, -1, -1):
                self.step(number, ".json").unlink(missing_ok=True)
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != _MARK:
                    path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def step(self, number: int, suffix: str) -> Path:
        """A file of the step ``number``."""
        return self.folder / f"{number}{suffix}"

    def stage(self, number: int) -> Stage | None:
        """What was noted behind step ``number``, if that was finished; its network is there then.
        """
        path, network = self.step(number, ".json"), self.step(number, ".pt2")
        if not path.is_file():
            return None
        try:
            held = json.loads(path.read_bytes())
            if held["network"] == digest(network):
                return Stage.of(held["stage"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        raise PenjingError(f"{path}: it, or {network.name}, is damaged; delete {self.folder}, and "
                           f"begin anew")

    def note(self, number: int, stage: Stage) -> None:
        """Step ``number`` is finished."""
        noted = {"network": digest(self.step(number, ".pt2")), "stage": asdict(stage)}
        file.write_atomically(self.step(number, ".json"), json.dumps(noted).encode())


def digest(path: Path) -> str:
    """Tells the file from others."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); check the path") from None
