"""TypeScript checks the playground's modules, which have types in comments."""

import subprocess
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent
TSC = CLIENTS / "node_modules" / ".bin" / "tsc"


@pytest.mark.node
def test_the_scripts_of_the_playground_are_type_correct() -> None:
    checked = subprocess.run([TSC, "-p", CLIENTS], capture_output=True, text=True, check=False)
    assert checked.stdout + checked.stderr == ""
