"""Write the addresses of a repository into a copy of the tree: links of README.md, and project.urls.

    python .ci/addresses.py FOLDER https://host/owner/jmp-calc

An index shows README.md without the files beside it, so that relative links lead nowhere there.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

BRANCH = "main"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\n)*)\]\((?!https?://|#)([^)\s]+)\)")


def absolute(text: str, repository: str) -> str:
    """Markdown whose relative links and pictures lead to the repository."""

    def address(match: re.Match[str]) -> str:
        kind = "raw" if match[1] else "blob"
        return f"{match[1]}[{match[2]}]({repository}/{kind}/{BRANCH}/{match[3]})"

    return LINK.sub(address, text)


def with_urls(pyproject: str, repository: str) -> str:
    """pyproject.toml with the addresses among ``project.urls``."""
    pages = {
        "Repository": "",
        "Documentation": f"/tree/{BRANCH}/docs",
        "Changelog": f"/blob/{BRANCH}/CHANGELOG.md",
        "Issues": "/issues",
    }
    lines = "".join(f'{name} = "{repository}{page}"\n' for name, page in pages.items())
    return pyproject.replace("[project.urls]\n", f"[project.urls]\n{lines}", 1)


def main(folder: Path, repository: str) -> None:
    """Rewrite the two files of a copy."""
    repository = repository.rstrip("/")
    if not re.fullmatch(r"https://[\w.-]+/[\w./-]+", repository):
        sys.exit(f"{repository} is no address such as https://host/owner/jmp-calc")
    for name, change in (("README.md", absolute), ("pyproject.toml", with_urls)):
        path = folder / name
        path.write_text(change(path.read_text(encoding="utf-8"), repository), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
