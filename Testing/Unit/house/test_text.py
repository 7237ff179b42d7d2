"""What the repository's text must not say, and what the README must."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import FewShotSAMLib
from FewShotSAMLib.apps.main import command_parser

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MACHINE_PATHS = re.compile(r"(?<![\w.~*])(?:/(?:work|root|tmp|home|opt|mnt)/\w|[A-Z]:\\Users)")
TEXT = {".py", ".md", ".toml", ".txt", ".json", ".s4ext", ".cmake", ".ui", ".html", ".cfg", ""}


def tracked_text() -> list[Path]:
    """Every text file that git knows, or that lies in the tree where there is no git."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout.decode("utf-8")  # fmt: skip
        paths = [ROOT / name for name in listing.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        folders = ("FewShotSAM", "FewShotSAMLib", "Testing", "Resources")
        paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
        paths += [path for path in ROOT.iterdir() if not path.name.startswith(".")]
    return [path for path in paths if path.suffix in TEXT and path.is_file()]


def test_no_path_of_one_machine():
    files = tracked_text()
    assert len(files) > 20
    for path in files:
        found = MACHINE_PATHS.search(path.read_text(encoding="utf-8"))
        assert found is None, f"{path}: {found[0]}"


def test_no_drawer_for_odds_and_ends():
    names = {path.stem.lower() for path in tracked_text()}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}


def test_readme_commands_are_understood():
    text = README.replace("\\\n", " ")
    commands = re.findall(r"^fewshotsam (.+)$", text, flags=re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        args = command_parser().parse_args(shlex.split(command.split("  #")[0]))
        assert args.command in command


def test_readme_python_names_exist():
    names = re.findall(r"\bfss\.(\w+)", README)
    assert "load_segmenter" in names
    for name in names:
        assert hasattr(FewShotSAMLib, name), name


def test_readme_shows_pictures_that_are_there_and_its_limits():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file(), picture
    assert "not a medical device" in README


def test_the_readme_is_short_and_leads_to_every_page():
    assert README.count("\n") <= 130
    led = set(re.findall(r"\]\(docs/([\w-]+\.md)\)", README))
    assert led | {"index.md"} == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_clone_stays_small():
    sizes = [path.stat().st_size for path in (ROOT / "Resources").rglob("*") if path.is_file()]
    assert max(sizes) <= 10_000_000
    assert sum(sizes) <= 25_000_000
