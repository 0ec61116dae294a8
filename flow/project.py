"""The folder that ``penjing compile`` writes: what is in it, written whole or not at all.

DIR holds ``network.penjing``, ``plan.json``, ``<network>.v`` with ``memories/`` (the contents of
its large memories), ``penjing.json`` (what else the later commands must know), ``model.pt2``,
``.tflite`` or ``.onnx`` where the network came from another framework, ``<command>.json`` with
each command's last result (``simulate_<layer>.json``: that of a layer alone), ``simulator/``
(simulators, kept by content), ``board/`` (the bitstream and how it came about) and ``report.html``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import __version__, boards
from ..boards.link_cost import planned_link
from ..boards.protocol import Identity
from ..compiler import file
from ..compiler.compress.inputs import InputCode
from ..compiler.cost import Resources
from ..compiler.dataflow import plan_file
from ..compiler.dataflow.design import Design
from ..compiler.dataflow.plan import Plan
from ..compiler.dataflow.report import Removed
from ..compiler.ir import Integers, Network, PenjingError
from ..hdl.emit import Verilog
from ..sim import tail
from .data import Data, naming

__all__ = ["Project", "Settings", "create"]

MARK = "penjing.json"
"""The file that makes a folder a project."""
NETWORK = "network.penjing"
PLAN = "plan.json"
MODELS = {"pytorch": "model.pt2", "pt2e": "model.pt2", "tflite": "model.tflite",
          "onnx": "model.onnx"}
"""The copy of what the network came from, by framework."""
SIMULATOR = "simulator"
BOARD = "board"

RESULT_VERSION = 1
"""Of the files that `Project.record` writes."""

_MAX_MARK_BYTES = 64 << 20
_MAX_RESULT_BYTES = 64 << 20


@dataclass(frozen=True)
class Settings:
    """What the network and the plan do not say.

    ``framework`` is where the network came from: ``pytorch``, ``pt2e`` (PyTorch, quantized there),
    ``tflite``, ``onnx`` or None. ``result`` is the output that was taken, if there were several.
    ``axes`` are those of (height, width, channels) that an image of the framework has, in its own
    order; axes of one element are left out. None where it is that of the network's input.
    ``removed`` are the channels, by layer, that the network had before it was reduced.
    """

    framework: str | None = None
    result: str | None = None
    axes: tuple[int, ...] | None = None
    version: str = __version__
    removed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Project:
    """A compiled network in its folder ``path``."""

    path: Path
    network: Network
    plan: Plan
    settings: Settings

    @classmethod
    def open(cls, path: str | Path) -> Project:
        """The project in the folder ``path``; `PenjingError` where it is none or is damaged."""
        path = Path(path)
        if not path.is_dir():
            raise PenjingError(f"{path}: no such folder; make it with penjing compile MODEL "
                               f"--board B -o {path}")
        settings = _read_settings(path / MARK)
        network = file.load(path / NETWORK)
        sizes = [size for size in network.input_type.shape if size > 1]
        if settings.axes not in (None, *permutations(range(len(sizes)))):
            raise PenjingError(f"{path / MARK}: damaged; compile the network again")
        if not settings.removed.keys() <= {layer.name for layer in network.layers}:
            raise PenjingError(f"{path / MARK}: it tells of other layers than {path / NETWORK}; "
                               f"compile the network again")
        return cls(path, network, plan_file.load(path / PLAN, network), settings)

    @property
    def removed(self) -> tuple[Removed, ...]:
        """What each layer has lost because nobody read it, or it was constant."""
        return removed(self.network, self.settings)

    @property
    def design(self) -> Design:
        """Its hardware."""
        return Design(self.network, self.plan)

    @property
    def verilog(self) -> Path:
        """The accelerator's Verilog."""
        return self.path / f"{self.network.name}.v"

    def read_verilog(self) -> Verilog:
        """The Verilog with its memories; `PenjingError` where it cannot be read."""
        try:
            return Verilog.read(self.verilog)
        except (OSError, UnicodeDecodeError):
            raise PenjingError(
                f"{self.verilog}: cannot be read; compile the network again") from None

    @property
    def model(self) -> Path | None:
        """The file of another framework that the network came from, if it is at hand."""
        if self.settings.framework is None:
            return None
        path = self.path / MODELS[self.settings.framework]
        return path if path.is_file() else None

    @property
    def code(self) -> InputCode:
        """How the user's data stand for the input integers."""
        return InputCode(self.network.input_type)

    def answers(self, outputs: Integers) -> NDArray[Any]:
        """What the host makes of the network's ``outputs`` (…, C), by `penjing.sim.tail`."""
        return tail.answers(self.network.tail, outputs)

    @property
    def identity(self) -> Identity:
        """By what a board tells, and `penjing.host.Link` checks, that it runs this network."""
        # Whose weights come in later, all networks of its shape are.
        loads = self.design.filling() is not None
        digest = (plan_file.shape_digest(self.plan, self.network) if loads
                  else hashlib.sha256(file.to_bytes(self.network)).digest())
        return Identity(digest[:8], self.network.input_type, self.network.output_type,
                        self.network.tail)

    @property
    def link(self) -> Resources | None:
        """Predicted cells of the board's serial link; None where the board has none."""
        board = boards.find(self.plan.board)
        return planned_link(board, self.design) if board.platform else None

    def integers(self, images: Data) -> Integers:
        """The network's input (N, H, W, C) for ``images``; `PenjingError` if they do not fit."""
        return integers(self.network, self.settings, images)

    def record(self, command: str, result: Mapping[str, Any]) -> None:
        """Keep ``result`` as the last one of ``command``, see `recorded`."""
        document = {"version": RESULT_VERSION,
                    "project": plan_file.digest(self.plan, self.network),
                    "sha256": _digest(result), "result": result}
        text = json.dumps(document, allow_nan=False) + "\n"
        file.write_atomically(self.path / f"{command}.json", text.encode())

    def recorded(self, command: str) -> dict[str, Any] | None:
        """The last result of ``command`` for this network and plan, if there is one.

        Those of other versions of the file count as none; `PenjingError` where it is damaged.
        """
        path = self.path / f"{command}.json"
        try:
            with open(path, "rb") as stream:
                document = json.loads(stream.read(_MAX_RESULT_BYTES))
            if document["version"] != RESULT_VERSION:
                return None
            result = document["result"]
            if not isinstance(result, dict) or document["sha256"] != _digest(result):
                raise ValueError
            stale = document["project"] != plan_file.digest(self.plan, self.network)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PenjingError(f"{path}: cannot be read ({error.strerror}); delete it, or run the "
                               "command again") from None
        except (ValueError, TypeError, KeyError, RecursionError):
            raise PenjingError(f"{path}: damaged or edited; delete it, or run the command again"
                               ) from None
        return None if stale else result


def removed(network: Network, settings: Settings) -> tuple[Removed, ...]:
    """What each layer of ``network`` has lost."""
    return tuple(Removed(name, len(gone), len(gone) + network.type_of(name).shape[2])
                 for name, gone in settings.removed.items())


def create(path: str | Path, network: Network, plan: Plan, settings: Settings, verilog: Verilog,
           result: Mapping[str, Any], model: Path | None = None) -> Project:
    """Write a project to the folder ``path``, in place of the project that is there, if any.

    The folder appears whole, or what was there stays as it was. `PenjingError` where ``path`` is
    something else than an empty folder or a project, or cannot be written.
    """
    path = Path(path)
    check_target(path)
    with _new_folder(path) as folder:
        file.save(network, folder / NETWORK)
        plan_file.save(plan, network, folder / PLAN)
        verilog.write(folder, f"{network.name}.v")
        if model is not None and settings.framework is not None:
            _copy(model, folder / MODELS[settings.framework], settings.framework)
        (folder / "compile.json").write_bytes(_dump(result))
        (folder / MARK).write_bytes(_dump(asdict(settings)))
    return Project(path, network, plan, settings)


def integers(network: Network, settings: Settings, images: Data) -> Integers:
    """The input (N, H, W, C) of ``network`` for ``images``; `PenjingError` if they do not fit."""
    x, kind = images.x, network.input_type
    if settings.framework == "tflite":
        sizes = [size for size in kind.shape if size > 1]
        axes = settings.axes or tuple(range(len(sizes)))
        shape = tuple(sizes[axis] for axis in axes)
        if tuple(size for size in x.shape[1:] if size > 1) in (shape, (kind.elements,)):
            back = [axes.index(axis) + 1 for axis in range(len(axes))]
            x = x.reshape(len(x), *shape).transpose(0, *back).reshape(len(x), *kind.shape)
    with naming(images.path):
        return InputCode(kind).integers(x)


def _copy(model: Path, target: Path, framework: str) -> None:
    """Write what the network came from to ``target``, with the data that lie beside it."""
    if framework != "onnx":
        shutil.copyfile(model, target)
        return
    from ..compiler.load import onnx

    target.write_bytes(onnx.read(model))


def check_target(path: str | Path) -> None:
    """Refuse, before any work is done, a ``path`` that `create` would not replace."""
    path = Path(path)
    try:
        taken = path.exists() or path.is_symlink()
        if taken and path.resolve() == Path.cwd():
            raise PenjingError(f"{path}: it is the current folder, which compiling replaces; name "
                               f"another with -o")
        if taken and not path.is_dir():
            raise PenjingError(f"{path}: it is no folder; choose another name with -o")
        if taken and any(path.iterdir()) and not (path / MARK).is_file():
            raise PenjingError(f"{path}: it holds files that are no Penjing project; choose "
                               f"another folder with -o")
        parent = path.resolve().parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise PenjingError(f"{path}: {parent} is no folder that you may write to; choose "
                               f"another with -o")
    except OSError as error:
        raise PenjingError(f"{path}: {error.strerror}; choose another folder with -o") from None


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that takes the place of ``path`` at the end, or leaves no trace."""
    target = path.resolve()
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, since only within one file system do folders move at once.
        workshop = Path(tempfile.mkdtemp(prefix=f".{target.name[:32]}-", dir=target.parent))
        try:
            (workshop / "new").mkdir()
            yield workshop / "new"
            _replace(target, workshop / "new", workshop / "old")
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except BaseException as error:
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise PenjingError(f"{path}: cannot be written ({error.strerror}); choose another "
                               f"folder with -o") from None
        raise


def _replace(target: Path, new: Path, old: Path) -> None:
    """Let ``new`` take the place of ``target``, which becomes ``old`` if it is there.

    Built simulators move over: they are kept by content, so they stay true.
    """
    if not target.exists():
        new.replace(target)
        return
    target.replace(old)
    try:
        new.replace(target)
    except BaseException:
        old.replace(target)
        raise
    if (old / SIMULATOR).is_dir():
        (old / SIMULATOR).replace(target / SIMULATOR)


def _digest(result: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def _dump(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _read_channels(value: object) -> dict[str, tuple[int, ...]]:
    """Channels by layer; `ValueError` unless each layer's are different ones in their order."""
    if not isinstance(value, dict):
        raise ValueError
    found = {}
    for name, channels in value.items():
        if (not isinstance(channels, list) or any(type(one) is not int for one in channels)
                or channels != sorted({one for one in channels if one >= 0})):
            raise ValueError
        found[name] = tuple(channels)
    return found


def _read_settings(path: Path) -> Settings:
    way_out = "compile the network again"
    try:
        with open(path, "rb") as stream:
            value = json.loads(stream.read(_MAX_MARK_BYTES))
        settings = Settings(**value)
        if settings.axes is not None:  # lists, in JSON
            settings = replace(settings, axes=tuple(settings.axes))
        settings = replace(settings, removed=_read_channels(settings.removed))
    except FileNotFoundError:
        raise PenjingError(f"{path.parent}: no Penjing project; make it with penjing compile MODEL "
                           f"--board B -o {path.parent}") from None
    except OSError as error:
        raise PenjingError(f"{path}: cannot be read ({error.strerror}); {way_out}") from None
    except (ValueError, TypeError, RecursionError):
        raise PenjingError(f"{path}: damaged; {way_out}") from None
    if settings.framework not in (None, *MODELS) or not isinstance(settings.result, str | None):
        raise PenjingError(f"{path}: damaged; {way_out}")
    return settings
