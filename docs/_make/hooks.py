"""What the pages have and no file in ``docs``: the reference, the parameters, what is linked to.

- A page of reference per room of ``src/persona_leakage``, from its docstrings.
- The parameters, in the place of ``<!-- parameters -->``, from ``params.schema.json``.
- What a page links to in the repository outside ``docs``: a module leads to its reference, any
  other file is copied beside the pages. A link to nothing ends the build.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
SOURCE = "src/persona_leakage"
ROOMS = (
    *("study", "data", "model", "behaviours", "training", "geometry", "analysis", "report"),
    "pipeline",
)
OUTSIDE = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the rooms to the navigation.

    Parameters
    ----------
    config : MkDocsConfig
        Of ``mkdocs.yml``.
    """
    for section in config.nav or []:
        [(title, pages)] = section.items()
        if title == "Reference":
            pages.append({"Code": [{room: f"reference/{room}.md"} for room in ROOMS]})
    return config


def modules(room: str) -> list[str]:
    """Name the modules of a room, as they are imported.

    Parameters
    ----------
    room : str
        Of ``ROOMS``.
    """
    files = sorted((ROOT / SOURCE / room).glob("*.py"))
    return [f"persona_leakage.{room}.{file.stem}" for file in files if file.stem != "__init__"]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of reference, and the files that pages link to.

    Parameters
    ----------
    files : Files
        Those of ``docs``.
    config : MkDocsConfig
        Of ``mkdocs.yml``.
    """
    for room in ROOMS:
        says = (ROOT / SOURCE / room / "__init__.py").read_text(encoding="utf-8").strip('"\n')
        text = "\n\n".join([f"# {room}", says, *(f"::: {name}" for name in modules(room))])
        files.append(File.generated(config, f"reference/{room}.md", content=text + "\n"))
    wanted = {
        path
        for file in files.documentation_pages()
        for link, _ in OUTSIDE.findall(file.content_string)
        if (path := _copied(file.src_uri, link)) is not None
    }
    for path in sorted(wanted):
        source = str(ROOT / path)
        files.append(File.generated(config, f"repository/{path}", abs_src_path=source))
    return files


def _copied(page: str, link: str) -> str | None:
    """Say which file of the repository a link is to, where a copy of it stands beside the pages."""
    path = _path(page, link)
    if _instead(path) or path.startswith("docs/"):
        return None
    if not (ROOT / path).is_file():
        raise PluginError(f"docs/{page}: links to {link}, which is no file of the repository")
    # the page of a report has the same tables, and shows its figures
    return str(Path(path).with_suffix(".html")) if _is_report(path) else path


def _path(page: str, link: str) -> str:
    return os.path.normpath(Path("docs", page).parent / link).replace(os.sep, "/")


def _is_report(path: str) -> bool:
    return path.startswith("reports/") and path.endswith("report.md")


def _instead(path: str) -> str | None:
    """Name the page that stands for a file: of reference for a module, the first for the README."""
    if path == "README.md":
        return "index.md"
    found = re.fullmatch(rf"{SOURCE}/(\w+)/(\w+)\.py", path)
    if found is None:
        return None
    return f"reference/{found[1]}.md#persona_leakage.{found[1]}.{found[2]}"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of ``docs`` to what stands for them; write the parameters.

    Parameters
    ----------
    markdown : str
        Of a page.
    page : Page
        Which one.
    config : MkDocsConfig
        Of ``mkdocs.yml``.
    files : Files
        With those of ``on_files``.
    """

    def pointed(match: re.Match[str]) -> str:
        path = _path(page.file.src_uri, match[1])
        if path.startswith("docs/"):
            return match[0]
        target = _instead(path) or f"repository/{_copied(page.file.src_uri, match[1])}"
        up = "../" * page.file.src_uri.count("/")
        return f"]({up}{target})"

    markdown = OUTSIDE.sub(pointed, markdown)
    return markdown.replace("<!-- parameters -->", parameters())


def parameters() -> str:
    """Write every section of a study as a table: key, what it may be, default, what it says."""
    schema = json.loads((ROOT / "params.schema.json").read_text(encoding="utf-8"))
    parts = {"the study": schema, **schema["$defs"]}
    written = []
    for name, part in parts.items():
        if "oneOf" in part:
            written.append(f"## {name}\n\n{part['description']}")
        for each in part.get("oneOf", [part]):  # of a behaviour, one for each
            of_behaviour = each["properties"].get("name", {}).get("const")
            title = f"### {of_behaviour}" if of_behaviour else f"## {name}"
            what = each.get("description", "")
            rows = [
                f"| `{key}`{'' if key in each.get('required', ()) else ' (optional)'} "
                f"| {_kind(of)} | {_default(of)} | {_cell(of.get('description', ''))} |"
                for key, of in each["properties"].items()
            ]
            head = ["| key | may be | default | |", "| --- | --- | --- | --- |"]
            written.append("\n".join([title, "", what, "", *head, *rows]))
    return "\n\n".join(written)


def _default(of: dict[str, Any]) -> str:
    return f"`{json.dumps(of['default'])}`" if of.get("default") not in (None, {}, []) else ""


def _kind(of: dict[str, Any]) -> str:
    """Say what a value may be, as a reader of YAML would."""
    if "$ref" in of:
        name = of["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if options := of.get("anyOf") or of.get("oneOf"):
        return " or ".join(_kind(each) for each in options)
    if "const" in of or "enum" in of:
        return ", ".join(f"`{each}`" for each in of.get("enum", [of.get("const")]))
    kind = of["type"]
    if kind == "array":
        return f"list of: {_kind(of['items'])}"
    if kind == "object":
        inside = of.get("patternProperties") or {"": of["additionalProperties"]}
        return f"by name: {_kind(next(iter(inside.values())))}"
    names = {
        "string": "text",
        "integer": "whole number",
        "boolean": "true, false",
        "null": "`null`",
    }
    return names.get(kind, kind) + _bounds(of)


def _bounds(of: dict[str, Any]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    told = [
        f"{sign} {of[key]:g}"
        for key, sign in signs.items()
        if key in of and of[key] < 2**31 - 1  # which stands for none
    ]
    if "pattern" in of:
        told.append(f"like `{of['pattern']}`")
    return f" {', '.join(told)}" if told else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
