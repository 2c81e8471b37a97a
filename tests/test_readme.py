"""What the README and the pages say can be typed, and what they name is there."""

import re
from pathlib import Path

import numpy as np
import pytest

from sklearn_featalign import __version__

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
START = (ROOT / "docs/start.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
COMMANDS = re.findall(r"^pip install .*$", README, re.MULTILINE)


def run_blocks(text):
    """Return what the Python blocks of a page leave, run in order."""
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, namespace)
    return namespace


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


def test_python_examples_run():
    namespace = run_blocks(README)
    assert namespace["pipeline"].score(namespace["X"], namespace["y"]) > 0.95
    assert namespace["found"] > 0.95


def test_python_examples_of_the_start_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(500, 10))
    np.save("clip.npy", Z @ rng.normal(size=(10, 60)))
    np.save("dino.npy", Z @ rng.normal(size=(10, 80)))
    namespace = run_blocks(START)
    assert (tmp_path / "retrieval.png").stat().st_size > 1000
    assert namespace["A"].shape == (500, 60)
    assert namespace["pipeline"].score(namespace["X"], namespace["y"]) > 0.95
    assert namespace["search"].best_score_ > 0.9
    assert namespace["found_apart"] > 0.95
    assert namespace["found_by_training"] > 0.95
    assert namespace["found_jointly"] >= namespace["found"] > 0.95
    own = np.arange(len(namespace["neighbors"]))[:, None]
    found = (namespace["neighbors"] == own).any(axis=1).mean()
    assert found == namespace["found_jointly"]
    assert namespace["accuracy"] > 0.9
    assert len(namespace["display"].ax_.get_lines()) == 2
    assert np.isnan(namespace["before"].affinities).any()
    assert not np.isnan(namespace["after"].affinities).any()
    Z, Z_again = namespace["Z"], namespace["Z_again"]
    np.testing.assert_allclose(Z_again, Z, rtol=1e-3, atol=0.1)
    assert len(set(namespace["representatives"])) > 55
    assert namespace["outlier_scores"].shape == (900,)
    shown = capsys.readouterr().out
    assert "of 897 rows" in shown
    (own_files,) = re.findall(r"([\d.]+)% of 125 rows find their pair", shown)
    assert float(own_files) > 90


@pytest.mark.parametrize("page", ["two_encoders", "pictures_and_words", "layers"])
def test_python_examples_of_cases_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(80, 10))
    X, Y = Z @ rng.normal(size=(10, 30)), Z @ rng.normal(size=(10, 20))
    for name in ("minilm", "pictures"):
        np.save(f"{name}.npy", X[:60])
    for name in ("wordllama", "texts"):
        np.save(f"{name}.npy", Y[:60])
    for name in ("minilm_index", "all_pictures"):
        np.save(f"{name}.npy", X[60:])
    for name in ("wordllama_queries", "queries"):
        np.save(f"{name}.npy", Y[60:])
    np.savez("layers.npz", first=X, second=Y)
    namespace = run_blocks((ROOT / f"docs/{page}.md").read_text())
    if page == "layers":
        assert namespace["after"].agreement[0, 1] > 0.9
        assert namespace["before"].measure_name == "linear CKA"
    else:
        assert (namespace["nearest"][:, 0] == np.arange(20)).mean() > 0.9
        assert "left-out" in capsys.readouterr().out


def test_the_citation_is_of_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {__version__}\n" in citation


def test_benchmarks_that_are_named_exist():
    text = "".join(page.read_text() for page in PAGES)
    scripts = set(re.findall(r"benchmarks/\w+\.py", text))
    assert scripts and all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    text = re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]*)\)", text)
    files = {link.split("#")[0] for link in links if "://" not in link} - {""}
    assert not [name for name in files if not (page.parent / name).is_file()]


def test_what_the_page_on_the_house_names_is_there():
    text = (ROOT / "docs/how_it_is_built.md").read_text()
    places = re.findall(r"\| (`[^|]*`) in `(\S+\.py)` \|", text)
    assert len(places) > 10
    for names, file in places:
        source = (ROOT / "sklearn_featalign" / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            defined = rf"^(def|class) {name}\b|^{name} = "
            assert re.search(defined, source, re.MULTILINE), (file, name)
