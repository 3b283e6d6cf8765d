"""What was asked for and what was measured, from all pages: `uv run python benchmarks/aims.py`, written to aims.md."""

import re

from measure import HERE, write_page

LINE = re.compile(
    r"Asked of (?P<of>.+): (?P<asked>at (most|least) \S+)\. Measured: (?P<measured>\S+), (?P<found>\w+)\."
)
MADE = re.compile(r", (?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2}), commit (?P<commit>[0-9a-f]+)")


def main() -> None:
    rows = []
    for path in sorted(HERE.glob("*.md")):
        lines = path.read_text().splitlines()
        made = next(filter(None, map(MADE.search, lines)), None)
        rows += [
            f"| [{path.stem}]({path.name}) | {found['of']} | {found['asked']} | {found['measured']} | {found['found']} "
            f"| {made['day']} | {made['commit']} |"
            for found in map(LINE.match, lines)
            if found and made
        ]
    met = sum("| met |" in row for row in rows)
    lines = [
        f"{met} of {len(rows)} are met. Each page says how it was measured, and of which code. Not measured, for "
        "want of a GPU: a learning curve on one, embedding there, whether a compiled step is worth its compilation.",
        "",
        "| page | of | asked | measured | | on | commit |",
        "|---|---|---:|---:|---|---|---|",
        *rows,
    ]
    write_page("aims.md", "What was asked for", "uv run python benchmarks/aims.py", lines)


if __name__ == "__main__":
    main()
