"""How long functions and files are, how many public functions say what they do, and what stands in
the product twice:

    python Testing/house_figures.py              the table of the whole product and of its folders
    python Testing/house_figures.py --worst 20   and what is longest, undocumented, there twice

A function's lines are all from `def` to its end, its docstring included. Public is what neither
begins with an underscore itself nor is part of a class that does, nor stands inside of another
function; properties count, tests do not. Repetition is counted on lines with something in them,
without indentation, comments and imports.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = (ROOT / "FewShotSAM", ROOT / "FewShotSAMLib")
SHORT = 20  # a short function has fewer lines
RUN = 10  # lines that must not stand twice


@dataclass(frozen=True)
class Function:
    """One function or method: where it begins, its lines, whether it is public and documented."""

    path: Path
    line: int
    name: str
    lines: int
    public: bool
    documented: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line} {self.name}"


@dataclass(frozen=True)
class Figures:
    """What is measured of some files.

    Attributes:
        functions: all of them, the longest first.
        files: (lines, path), the longest first.
        repeated: (first place, second place) of every run of `RUN` lines.
    """

    functions: Sequence[Function]
    files: Sequence[tuple[int, Path]]
    repeated: Sequence[tuple[str, str]]

    @property
    def short(self) -> float:
        """The part of the functions that are short."""
        return sum(one.lines < SHORT for one in self.functions) / max(len(self.functions), 1)

    @property
    def documented(self) -> float:
        """The part of the public functions that have a docstring."""
        public = [one.documented for one in self.functions if one.public]
        return sum(public) / max(len(public), 1)

    def row(self) -> str:
        """The figures on one line, as `HEAD` says."""
        longest = self.functions[0].lines if self.functions else 0
        return (
            f"{len(self.files):>6}{self.files[0][0]:>9}{len(self.functions):>11}"
            f"{100 * self.short:>10.1f} %{longest:>9}{100 * self.documented:>13.1f} %"
            f"{len(self.repeated):>8}"
        )


HEAD = f" files  longest  functions  below {SHORT}   longest     docstrings  twice"


def measure(paths: Sequence[Path]) -> Figures:
    """The figures of Python files."""
    functions = [one for path in paths for one in functions_of(path)]
    functions.sort(key=lambda one: -one.lines)
    files = sorted(((len(_lines(path)), path) for path in paths), reverse=True)
    return Figures(functions, files, list(repeated_runs(paths)))


def product_files(*folders: Path) -> list[Path]:
    """The Python files below some folders; the whole product's by default."""
    return sorted(path for folder in folders or PRODUCT for path in folder.rglob("*.py"))


def functions_of(path: Path) -> Iterator[Function]:
    """Every function of a file, those inside of others as well."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def below(node: ast.AST, public: bool) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            inside = public
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                open_to_all = public and not child.name.startswith("_")
                yield Function(
                    path, child.lineno, child.name, child.end_lineno - child.lineno + 1,
                    open_to_all, ast.get_docstring(child) is not None,
                )  # fmt: skip
                inside = False
            elif isinstance(child, ast.ClassDef):
                inside = public and not child.name.startswith("_")
            yield from below(child, inside)

    yield from below(tree, True)


def repeated_runs(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Where `RUN` lines of code stand a second time; overlapping runs count once."""
    seen: dict[tuple[str, ...], tuple[Path, int]] = {}
    for path in paths:
        code = list(_code_lines(path))
        last = -RUN
        for start in range(len(code) - RUN + 1):
            run = tuple(text for _, text in code[start : start + RUN])
            other, line = seen.setdefault(run, (path, code[start][0]))
            if (other, line) != (path, code[start][0]) and start - last >= RUN:
                last = start
                yield _place(other, line), _place(path, code[start][0])


def _code_lines(path: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_lines(path), start=1):
        text = line.strip()
        if text and not text.startswith(("#", "import ", "from ")):
            yield number, text


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def _rooms() -> Iterator[tuple[str, list[Path]]]:
    yield "the product", product_files()
    for top in PRODUCT:
        yield top.name, product_files(top)
        for folder in sorted(path for path in top.iterdir() if list(path.glob("*.py"))):
            yield f"  {folder.name}", product_files(folder)


def main() -> None:
    """Print the table, and what is worst where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="how many of each")
    worst = parser.parse_args().worst
    print(f"{'':<20}{HEAD}")
    for name, paths in _rooms():
        print(f"{name:<20}{measure(paths).row()}")
    if worst:
        figures = measure(product_files())
        for one in figures.functions[:worst]:
            print(f"{one.lines:>4} lines  {one}")
        for lines, path in figures.files[:worst]:
            print(f"{lines:>4} lines  {path.relative_to(ROOT).as_posix()}")
        bare = [one for one in figures.functions if one.public and not one.documented]
        for one in bare[:worst]:
            print(f"no docstring  {one}")
        for first, second in figures.repeated[:worst]:
            print(f"twice  {first} = {second}")


if __name__ == "__main__":
    main()
