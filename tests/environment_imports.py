"""What rules, scripts and environment files say of one another, read from their text: nothing is run or imported."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src"
# What conda-forge calls a package of PyPI's, and an OpenCV that holds the same module as the lock's.
ALIASES = {"pytorch-gpu": "torch", "faiss-gpu": "faiss-cpu", "opencv-python": "opencv-python-headless"}
# What an environment holds that is no Python package.
TOOLS = {"python", "pip", "cuda-version", "cxx-compiler", "libgl"}


def canonical(name: str) -> str:
    """A distribution's name as PyPI compares names; the lock's name for what is called otherwise elsewhere."""
    name = re.sub(r"[-_.]+", "-", name).lower()
    return ALIASES.get(name, name)


def locked_versions() -> dict[str, str]:
    """Distribution -> version of constraints.txt."""
    lines = (ROOT / "envs/constraints.txt").read_text().split()
    return {canonical(name): version for name, version in (line.split("==") for line in lines)}


def environment_packages(path: Path) -> dict[str, str | None]:
    """Package -> version (None where any will do) of an environment file, conda's and pip's."""
    listed: list[str] = []
    for entry in yaml.safe_load(path.read_text())["dependencies"]:
        listed += [entry] if isinstance(entry, str) else entry["pip"]
    pairs = (re.fullmatch(r"([\w.-]+?)(?:==?([\w.]+))?", entry) for entry in listed)
    return {pair[1] if pair[1] in TOOLS else canonical(pair[1]): pair[2] for pair in pairs if pair}


class Rule(NamedTuple):
    """A rule's file and text, the environment files that it may run in, and the scripts that it runs."""

    place: str
    text: str
    environments: list[Path]
    scripts: list[str]


def rules(folder: Path = ROOT / "workflow/rules") -> list[Rule]:
    """All rules of a folder of .smk files, those written in a loop once."""
    found = []
    for path in sorted(folder.glob("*.smk")):
        text = path.read_text()
        choice = [word for word in re.findall(r'"(\w+)"', text) if (ROOT / f"workflow/scripts/{word}.py").exists()]
        for part in re.split(r"^ *rule\b", text, flags=re.MULTILINE)[1:]:
            name = (re.match(r"\s*(\w+):|:\s*name:\s*(.+)", part) or ["", "?", ""])[0]
            scripts = re.findall(r"workflow/scripts/([\w{}.]+?)\.py", part)
            named = [word for script in scripts for word in (choice if "{" in script else [script])]
            found.append(Rule(f"{path.name}: {' '.join(name.split())}", part, _environments(part), named))
    return found


def _environments(rule: str) -> list[Path]:
    match = re.search(r"^ *conda:\s*(\S+)", rule, re.MULTILINE)
    if match is None:
        return []
    names = {"TRAIN_ENVIRONMENT": ("train", "train-gpu")}.get(match[1]) or (Path(match[1].strip('"')).stem,)
    return [ROOT / f"envs/{name}.yaml" for name in names]


def imported_modules(script: Path) -> tuple[set[str], set[str]]:
    """The library's modules that a script may import, by whatever path, and the other top-level modules they import.

    Imports inside functions count, those for type checkers alone do not. A module that is named when the program runs
    (`import_module(f"{__name__}.{kind}")`) may be any of that package.
    """
    own: set[str] = set()
    others: set[str] = set()
    waiting = [("", script)]
    while waiting:
        module, path = waiting.pop()
        for name in _names(path, module):
            if name.partition(".")[0] != "vlrepro":
                others.add(name.partition(".")[0])
                continue
            for part in _modules(name):
                if part not in own:
                    own.add(part)
                    waiting.append((part, _file(part)))
    return own, others


def imports_of(module: str, function: str | None = None) -> set[str]:
    """The distributions that the text of a module of the library, or of one of its functions, imports."""
    tree: ast.AST = ast.parse(_file(module).read_text())
    if function:
        (tree,) = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    return distributions_of({name.partition(".")[0] for name in _imports(tree, module)})


def taken_from(module: str, other: str) -> set[str]:
    """The names that a module of the library imports from another one; "*" for the other as a whole."""
    names = _names(_file(module), module)
    return {
        name.removeprefix(f"{other}.") if name != other else "*" for name in names if f"{name}.".startswith(f"{other}.")
    }


def distributions_of(modules: set[str]) -> set[str]:
    """The distributions that hold top-level modules; the standard library's are in none."""
    return {canonical(name) for module in modules for name in _known().get(module, ())}


_known = cache(packages_distributions)


@cache
def _names(path: Path, module: str) -> tuple[str, ...]:
    return tuple(_imports(ast.parse(path.read_text()), module))


def _file(module: str) -> Path:
    path = LIBRARY.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _modules(name: str) -> Iterator[str]:
    """A module with the packages around it, which Python imports first; what is no module is a name inside one."""
    stem, star = name.removesuffix(".*"), name.endswith(".*")
    parts = stem.split(".")
    yield from (part for n in range(1, len(parts) + 1) if _file(part := ".".join(parts[:n])).is_file())
    if star:
        folder = LIBRARY.joinpath(*parts)
        yield from (f"{stem}.{path.stem}" for path in sorted(folder.glob("*.py")) if path.stem != "__init__")


def _imports(tree: ast.AST, module: str) -> Iterator[str]:
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        for statement in tree.orelse:
            yield from _imports(statement, module)
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, f"{module}: a relative import"
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    elif isinstance(tree, ast.Call) and ast.unparse(tree.func).split(".")[-1] in ("import_module", "find_spec"):
        yield from _named_at_run_time(tree.args[0], module)
    for child in ast.iter_child_nodes(tree):
        yield from _imports(child, module)


def _named_at_run_time(argument: ast.expr, module: str) -> Iterator[str]:
    if isinstance(argument, ast.Constant):
        yield argument.value
    elif isinstance(argument, ast.JoinedStr):
        text = ast.unparse(argument)[2:-1].replace("{__name__}", module)
        yield re.sub(r"\{.*", "*", text)
