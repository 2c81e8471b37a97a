"""The rules of the house that ruff knows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff(command):
    ruff = [sys.executable, "-m", "ruff", *command, "."]
    result = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_pre_commit_takes_the_same_ruff():
    pins = [
        re.findall(r'"(ruff\b[^"]*)"', (ROOT / name).read_text())
        for name in ("pyproject.toml", ".pre-commit-config.yaml")
    ]
    assert pins[1] == 2 * pins[0] != []
