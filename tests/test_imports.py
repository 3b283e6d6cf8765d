"""Imports run one way, so that every part can be read, used and changed without those after it."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import vreid

PACKAGE = Path(vreid.__file__).parent

BASE = {
    "losses",
    "distances",
    "metrics",
    "spec",
    "errors",
    "files",
    "progress",
    "provenance",
    "checkpoints",
    "termination",
    "locks",
}
WORK = {"train", "embed", "attend", "hardware", "cost", "completion", "outline", "plan"}
ROOMS = {"data", "fetch", "models", "walkers", "experiment"}

# What each room may import, itself included. All other modules are the side of the report.
MAY_IMPORT = {
    "base": {"base"},
    "data": {"base", "data"},
    "fetch": {"base", "fetch"},
    "walkers": {"base", "data", "walkers"},
    "models": {"base", "data", "models"},
    "work": {"base", "data", "models", "work"},
    "report": {"base", "data", "report"},
    "experiment": {"base", "fetch", "models", "work", "report", "experiment"},
    "__main__": {"base", "data", "fetch", "walkers", "models", "work", "report"},
}
NEEDED_TO_TRAIN = {"torch", "torchvision", "numpy", "pandas"}


def room_of(module: str) -> str:
    first = module.split(".")[1]
    if first in ROOMS or first == "__main__":
        return first
    return "base" if first in BASE else "work" if first in WORK else "report"


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by name; the package itself, which is empty, left out."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts:
            found[".".join(["vreid", *parts])] = path
    return found


@cache
def imports(module: str, within_functions: bool = True) -> frozenset[str]:
    """Ours by full name (vreid.losses), others by the name of their package (torch)."""
    tree = ast.parse(modules()[module].read_text())
    nodes = list(ast.walk(tree)) if within_functions else list(outside_functions(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by a relative name"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = full & modules().keys()
            names |= inner or {node.module}
    return frozenset(name if name in modules() else name.split(".")[0] for name in names)


def outside_functions(node: ast.AST):
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from outside_functions(child)


def everything_behind(*names: str, within_functions: bool = True) -> set[str]:
    """What is imported by these modules, by what they import, and so on."""
    seen, left = set(), set(names)
    while left:
        name = left.pop()
        seen.add(name)
        left |= (imports(name, within_functions) if name in modules() else frozenset()) - seen
    return seen


def ours(names) -> set[str]:
    return {name for name in names if name in modules()}


def methods() -> list[str]:
    """The models that a run can name: those with a METHOD."""
    return [n for n, path in modules().items() if room_of(n) == "models" and "\nMETHOD = " in path.read_text()]


REPORT = [name for name in modules() if room_of(name) == "report"]
EXPERIMENT = [name for name in modules() if room_of(name) == "experiment"]


def test_the_package_is_seen():
    """The tests below say nothing about modules that are not found."""
    assert {"vreid.losses", "vreid.data.clips", "vreid.models.multitask", "vreid.train"} <= modules().keys()
    assert {"vreid.losses", "vreid.data.clips", "vreid.models.method", "torch"} <= imports("vreid.train")
    assert {"vreid.score", "vreid.tables", "vreid.figures.curves", "vreid.results"} <= set(REPORT)
    assert {"vreid.experiment.runs", "vreid.experiment.preflight"} <= set(EXPERIMENT)
    assert "vreid.models.multitask" in methods()


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_from_the_rooms_before_its_own(module):
    allowed = MAY_IMPORT[room_of(module)]
    astray = {name for name in ours(imports(module)) if room_of(name) not in allowed}
    assert not astray


def test_no_imports_go_round_in_a_circle():
    for module in modules():
        behind = ours(everything_behind(*imports(module)))
        assert module not in behind


def test_the_losses_and_the_distances_import_nothing_of_ours():
    for module in ("vreid.losses", "vreid.distances", "vreid.errors", "vreid.progress"):
        assert not ours(imports(module))


def test_no_method_imports_another():
    for module in modules():
        if room_of(module) == "models":
            assert not imports(module) & set(methods())


def test_walkers_know_of_the_data_only_how_it_is_written():
    allowed = {"vreid.errors", "vreid.files", "vreid.progress", "vreid.locks"}
    for module in modules():
        if room_of(module) == "walkers":
            others = {n for n in ours(imports(module)) if room_of(n) not in ("walkers", "data")}
            assert others <= allowed, module


@pytest.mark.parametrize("module", REPORT)
def test_the_side_of_the_report_has_no_torch_behind_it(module):
    assert not {"torch", "torchvision"} & everything_behind(module)


def test_nothing_imports_the_command_line_or_snakemake():
    for module in modules():
        assert not {"vreid.__main__", "snakemake"} & imports(module), module


def test_training_and_embedding_need_torch_torchvision_numpy_and_pandas_alone():
    behind = everything_behind("vreid.train", "vreid.embed", *methods(), within_functions=False)
    others = behind - modules().keys() - sys.stdlib_module_names - {"vreid"}
    assert others <= NEEDED_TO_TRAIN


def run_without(blocked, code) -> None:
    lines = ["import sys", f"sys.modules.update(dict.fromkeys({sorted(blocked)!r}))", code]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_training_and_embedding_start_where_nothing_else_is_installed():
    """Pillow stays: torchvision itself imports it."""
    absent = {"scipy", "yaml", "jinja2", "matplotlib", "snakemake", "tabulate", "pygments"}
    run_without(absent, f"import vreid.train, vreid.embed, {', '.join(methods())}")


def test_the_command_line_and_the_side_of_the_report_start_without_torch():
    run_without({"torch", "torchvision", "snakemake"}, f"import vreid.__main__, {', '.join(REPORT)}")


def test_what_every_job_reads_starts_without_torch():
    """Snakemake evaluates its rules again in each."""
    run_without({"torch", "torchvision", "snakemake"}, f"import {', '.join(EXPERIMENT)}")
