"""The digest of the code behind a number changes with what the code does and with nothing else."""

import json
import os
import re
import subprocess

import pytest

from vreid import provenance
from vreid.provenance import code_digest, commit, cpu_name, file_digest

FILES = {
    "__init__.py": "",
    "train.py": '''
"""Trains."""
import json

from vreid import losses
from vreid.data.clips import cut


def train(x):
    """Returns a number."""
    # the loss
    return losses.loss(cut(x)) + 1
''',
    "losses.py": "def loss(x):\n    return x * 2\n",
    "data/__init__.py": '"""Data."""\n',
    "data/clips.py": "from vreid.spec import SIZE\n\n\ndef cut(x):\n    return x[:SIZE]\n",
    "spec.py": "SIZE = 4\n",
    "report.py": "def report():\n    return 'fine'\n",
    "models/own.py": "METHOD = 1\n",
}


@pytest.fixture
def digest(tmp_path):
    """A function: the digest of vreid.train in a package whose files have been changed."""
    packages = iter(range(100))

    def of(changes=(), modules=("vreid.train",)):
        package = tmp_path / str(next(packages)) / "vreid"
        for name, text in (FILES | dict(changes)).items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return code_digest(*modules, package=package)

    return of


def edited(name, old, new):
    assert old in FILES[name]
    return {name: FILES[name].replace(old, new)}


def test_the_digest_does_not_depend_on_where_the_package_lies(digest):
    assert digest() == digest()
    assert re.fullmatch("[0-9a-f]{12}", digest())


@pytest.mark.parametrize(
    "edit",
    [
        edited("train.py", "# the loss", "# what is minimised, see Section 3"),
        edited("train.py", "    # the loss\n", ""),
        edited("train.py", '"""Trains."""', '"""Trains a network."""'),
        edited("train.py", '    """Returns a number."""\n', ""),
        edited("train.py", "losses.loss(cut(x)) + 1", "(\n        losses.loss(cut(x))\n        + 1\n    )"),
        edited("losses.py", "def", "# new\n\n\ndef"),
        edited("data/__init__.py", "Data", "The data"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(digest, edit):
    assert digest(edit) == digest()


@pytest.mark.parametrize(
    "edit",
    [
        edited("train.py", "+ 1", "+ 2"),
        edited("train.py", "return", "print(x)\n    return"),
        edited("losses.py", "x * 2", "x * 3"),
        edited("data/clips.py", "[:SIZE]", "[SIZE:]"),
        edited("spec.py", "4", "8"),
        edited("data/__init__.py", '"""Data."""\n', '"""Data."""\nimport os\n'),
        edited("__init__.py", "", "import warnings\n"),
    ],
)
def test_code_counts_also_of_what_is_imported_and_of_the_packages_around_it(digest, edit):
    assert digest(edit) != digest()


def test_a_text_that_code_uses_counts(digest):
    returned = edited("losses.py", "return x * 2", "return 'x'")
    assert digest(returned) != digest(edited("losses.py", "return x * 2", "return 'y'"))


def test_a_module_that_is_not_imported_does_not_count(digest):
    assert digest(edited("report.py", "fine", "bad")) == digest()
    assert digest({"models/other.py": "METHOD = 2\n"}) == digest()


def test_a_new_import_counts(digest):
    assert digest(edited("losses.py", "def", "import vreid.report\n\n\ndef")) != digest()


def test_an_import_within_a_function_counts(digest):
    lazy = edited("losses.py", "    return", "    from vreid.report import report\n\n    report()\n    return")
    assert digest(lazy) != digest(lazy | edited("report.py", "fine", "bad"))


def test_a_method_counts_where_it_is_named(digest):
    modules = ("vreid.train", "vreid.models.own")
    assert digest(modules=modules) != digest()
    assert digest(edited("models/own.py", "1", "2"), modules) != digest(modules=modules)


def test_a_circle_of_imports_comes_to_an_end(digest):
    assert digest(edited("spec.py", "SIZE", "import vreid.train\n\nSIZE"))


def test_a_module_that_does_not_exist_has_no_digest(digest):
    with pytest.raises(FileNotFoundError):
        digest(modules=["vreid.nonesuch"])


def test_the_digest_of_this_package_is_that_of_its_files():
    assert code_digest("vreid.train") == code_digest("vreid.train", package=provenance.PACKAGE)
    assert code_digest("vreid.train") != code_digest("vreid.score")


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path):
    for name, content in {"a": b"12", "b": b"12", "c": b"13"}.items():
        (tmp_path / name).write_bytes(content)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    assert commit() == ("", False)


def git(folder, *arguments):
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    me = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", folder, *me, *arguments]
    return subprocess.run(command, env=os.environ | own, check=True, capture_output=True, text=True).stdout


def test_in_a_checkout_the_commit_and_whether_the_sources_differ(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    monkeypatch.setattr(provenance, "PACKAGE", package)
    for variable in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where git runs the tests in a hook
        monkeypatch.delenv(variable, raising=False)
    (package / "code.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "package/code.py")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    (tmp_path / "result.csv").write_text("an untracked file is no change of the sources")
    assert commit() == (git(tmp_path, "rev-parse", "HEAD").strip(), False)
    (package / "code.py").write_text("2")
    assert commit()[1] is True
    (package / "code.py").write_text("1")
    assert commit()[1] is False
    (package / "model.py").write_text("a new file of the sources is one")
    assert commit()[1] is True


def test_a_machine_without_git_has_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == ("", False)


def test_the_processor_is_named_with_the_cores_of_this_process():
    assert re.fullmatch(r".+, [1-9][0-9]* cores", cpu_name())


@pytest.mark.parametrize("said, rendered", [({"rendered": True}, True), ({"rendered": False}, False), ({}, False)])
def test_a_manifest_says_whether_pictures_are_rendered(said, rendered, tmp_path):
    (tmp_path / "set.json").write_text(json.dumps(said))
    assert provenance.is_rendered(tmp_path / "set.json") == rendered
    assert not provenance.is_rendered(None)
