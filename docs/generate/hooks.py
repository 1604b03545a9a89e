"""What MkDocs does beside rendering: generated parts, measured reports as pages, and links that lead out of docs/.

A page writes ``<!-- generated: NAME -->`` where a part stands that follows from the code (see PARTS). Links to other
files of the repository are written as GitHub wants them, relative to the page. Those to Markdown files become pages of
the site; what is no page is named by its path.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from codesign.hardware import schedule  # noqa: E402  # found by the path above
from docs.generate import api, cli, constants, formats, space  # noqa: E402  # found by the path above

PARTS: dict[str, Callable[[], str]] = {
    "api": api.part,
    "commands": cli.part,
    "constants": constants.part,
    "cost rules": lambda: schedule.__doc__ or "",
    "space": space.part,
    "phones": constants.phones,
    "unit errors": constants.unit_errors,
    "formats": formats.table,
    "grammar": formats.rules_of_names,
    "format examples": formats.examples,
}
REPORTS = (  # pages of the repository that are pages of the site, too
    "README.md",
    "README.zh-CN.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "reports/*.md",
    "reports/*/*.md",
    "codesign/models/*/CARD.md",
    "examples/*/*.md",
)
_MARK = re.compile(r"<!-- generated: (?P<name>[\w ]+) -->")
_LINK = re.compile(r"(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s]+)\)")
_FENCED = re.compile(r"(^ *```.*?^ *```)", re.M | re.S)


def reports() -> tuple[str, ...]:
    """The paths of REPORTS, from the root of the repository."""
    return tuple(str(path.relative_to(ROOT)) for pattern in REPORTS for path in sorted(ROOT.glob(pattern)))


def on_files(files: Any, config: Any) -> Any:
    """Add the reports, below repository/."""
    from mkdocs.structure.files import File, InclusionLevel

    for path in reports():
        content = (ROOT / path).read_text(encoding="utf-8")
        added = File.generated(config, f"repository/{path}", content=content)
        added.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(added)
    for picture in sorted((ROOT / "reports").glob("*/*.svg")):
        path = str(picture.relative_to(ROOT))
        files.append(File.generated(config, f"repository/{path}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in the generated parts, and lead links to where their targets stand on the site."""
    known = {file.src_uri for file in files}
    text = _MARK.sub(lambda found: PARTS[found["name"]](), markdown)
    pieces = _FENCED.split(text)
    for i in range(0, len(pieces), 2):  # what stands between pieces of code
        pieces[i] = _LINK.sub(lambda found: _led(found, page.file.src_uri, known), pieces[i])
    return "".join(pieces)


def _led(found: re.Match[str], page: str, known: set[str]) -> str:
    target, _, anchor = found["target"].partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return found[0]
    here = PurePosixPath(page.removeprefix("repository/") if page.startswith("repository/") else f"docs/{page}")
    there = normpath(str(here.parent / target))
    uri = there.removeprefix("docs/") if there.startswith("docs/") else f"repository/{there}"
    if uri in known:
        led = relpath(uri, str(PurePosixPath(page).parent))
        return f"{found['text']}({led}{'#' + anchor if anchor else ''})"
    if not (ROOT / there).exists():
        raise ValueError(f"{page}: {target} leads nowhere")
    return f"{found['text'].lstrip('!')[1:-1]} (`{there}`)"
