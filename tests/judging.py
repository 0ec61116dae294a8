"""What every refusal of bad input must be like."""

from __future__ import annotations

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below ``folder`` with what it holds, and every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))}


def judge(status: int, out: str, err: str) -> None:
    """Exit status 2 and one line that tells the user what is wrong."""
    assert status == 2, err
    assert out == ""
    assert err.startswith("penjing: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    assert len(err) < 1000
