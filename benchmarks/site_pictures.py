"""Pictures of the built site as a browser shows it, to be looked at: desktop (1280) and phone (390) width.

    .ci/docs && python benchmarks/site_pictures.py           .site/pictures/desktop-1.png, ..., phone-1.png, ...
    python benchmarks/site_pictures.py --pages index api/workflows

Needs Chromium (Debian: apt-get install --no-install-recommends chromium). Pages stand side by side in frames of one
sheet, since a headless window is not as narrow as a phone; the search page has a query typed in.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    "index",
    "phonons",
    "tutorials/crystal",
    "api/workflows",
    "cli/crystals",
    "search.html?q=thermal+conductivity",
    "finetuning",
    "troubleshooting",
]
WIDTHS = {"desktop": (1280, 3), "phone": (390, 8)}
"""Width in pixels, and pages on a sheet."""
HEIGHT = 1800


def sheet(site: Path, pages: list[str], width: int) -> str:
    """A page of frames, each as wide as the screen that it stands for."""
    frames = []
    for page in pages:
        name = page if ".html" in page else f"{page}.html"
        frames.append(f'<iframe src="{site.as_uri()}/{name}" width="{width}" height="{HEIGHT}"></iframe>')
    return f'<body style="margin:0;white-space:nowrap">{"".join(frames)}</body>'


def main() -> None:
    """Write the sheets and print their paths."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--site", type=Path, default=ROOT / ".site" / "html")
    parser.add_argument("--out", type=Path, default=ROOT / ".site" / "pictures")
    parser.add_argument("--pages", nargs="+", default=PAGES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for kind, (width, together) in WIDTHS.items():
        for number, first in enumerate(range(0, len(options.pages), together), 1):
            pages = options.pages[first : first + together]
            picture = options.out / f"{kind}-{number}.png"
            with tempfile.TemporaryDirectory() as folder:
                html = Path(folder) / "sheet.html"
                html.write_text(sheet(options.site.resolve(), pages, width), encoding="utf-8")
                shoot(html, picture, (width + 4) * len(pages))
            print(picture)


def shoot(html: Path, picture: Path, width: int) -> None:
    """A picture of a page by Chromium."""
    words = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
    ]
    words += [
        f"--window-size={width},{HEIGHT}",
        "--virtual-time-budget=8000",
        f"--screenshot={picture}",
        html.as_uri(),
    ]
    subprocess.run(words, check=True, capture_output=True, timeout=600)


if __name__ == "__main__":
    main()
