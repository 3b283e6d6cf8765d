"""Where a number comes from: the code, the commit and the machine behind a result."""

import ast
import functools
import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parent


def code_digest(*modules: str, package: Path = PACKAGE) -> str:
    """12 hex digits over the meaning of the code that `modules` use: comments, docstrings and layout do not count.

    `modules` are names such as "vreid.train"; what they import from this package, at whatever depth, counts too.
    A workflow cannot see these imports, so its rules take this digest as a parameter.
    """
    digest = hashlib.sha256()
    for path in sorted(_closure(frozenset(_path(name, package) for name in modules), package)):
        digest.update(f"{path.relative_to(package)} {_meaning(path)}".encode())
    return digest.hexdigest()[:12]


def _path(module: str, package: Path) -> Path:
    parts = module.split(".")[1:]
    folder = package.joinpath(*parts)
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


@functools.cache
def _closure(paths: frozenset[Path], package: Path) -> frozenset[Path]:
    seen, left = set(), set(paths)
    while left:
        path = left.pop()
        seen.add(path)
        left |= _imports(path, package) - seen
    return frozenset(seen)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def _imports(path: Path, package: Path) -> frozenset[Path]:
    """The files of the package that are run when `path` is imported, those of the folders around it among them."""
    names = {".".join(["vreid", *folder.parts]) for folder in path.relative_to(package).parents}
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in names if name.split(".")[0] == "vreid"}
    return frozenset(p for name in ours if (p := _path(name, package)).is_file())


@functools.cache
def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body.pop(0)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def file_digest(path: str | Path) -> str:
    """12 hex digits over the content of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def is_rendered(manifest: Path | None) -> bool:
    """Whether a dataset's pictures are drawn: its manifest says so, and a dataset without one is filmed."""
    return manifest is not None and bool(json.loads(manifest.read_text()).get("rendered"))


def commit() -> tuple[str, bool]:
    """(commit, whether the sources differ from it); ("", False) outside a git checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return head, bool(_git("status", "--porcelain", "--", str(PACKAGE)))
    except (OSError, subprocess.CalledProcessError):
        return "", False


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def here(*modules: str) -> dict[str, str | bool]:
    """The code of `modules`, the commit and the processor, as a part of a result's record."""
    head, dirty = commit()
    return {"code_digest": code_digest(*modules), "commit": head, "dirty": dirty, "host_cpu": cpu_name()}


def cpu_name() -> str:
    """The processor's own name, with the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        )
        name = next(lines, name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
