"""What the README says can be typed: its commands and its Python."""

import re
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^pip install .*$", README, re.MULTILINE)


def test_two_commands_do_everything():
    job, tests = COMMANDS
    install = r'pip install -e "\.\[{}\]" -c constraints-cpu\.txt && {}'
    assert re.fullmatch(install.format("benchmarks", r"python (\S+)"), job)
    assert (ROOT / job.split()[-1]).is_file()
    assert re.fullmatch(install.format("test", "pytest"), tests)


def test_ci_runs_the_command_of_the_readme():
    pattern = re.search(r"grep -E '(.*)' README.md", (ROOT / ".ci/run").read_text())
    selected = [line for line in README.splitlines() if re.search(pattern[1], line)]
    assert selected == [COMMANDS[1]]


def test_python_examples_run(capsys):
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(block, namespace)
    assert namespace["pipeline"].score(namespace["X"], namespace["y"]) > 0.95
    assert namespace["search"].best_score_ > 0.9
    assert namespace["found_apart"] > 0.95
    assert namespace["found_by_training"] > 0.95
    assert namespace["found_jointly"] >= namespace["found"] > 0.95
    own = np.arange(len(namespace["neighbors"]))[:, None]
    found = (namespace["neighbors"] == own).any(axis=1).mean()
    assert found == namespace["found_jointly"]
    assert namespace["accuracy"] > 0.9
    Z, Z_again = namespace["Z"], namespace["Z_again"]
    np.testing.assert_allclose(Z_again, Z, rtol=1e-3, atol=0.1)
    assert len(set(namespace["representatives"])) > 55
    assert namespace["outlier_scores"].shape == (900,)
    assert "of 897 rows" in capsys.readouterr().out


def test_benchmarks_of_the_readme_exist():
    scripts = set(re.findall(r"benchmarks/\w+\.py", README))
    assert scripts and all((ROOT / script).is_file() for script in scripts)
