"""What the campaigns counted: docs/reliability/*.json, and the tables between the markers."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
NUMBERS = ROOT / "docs" / "reliability"


def read(name: str) -> dict[str, Any] | None:
    """Read what a campaign has counted so far.

    Parameters
    ----------
    name : str
        Of the campaign.
    """
    file = NUMBERS / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write(name: str, content: dict[str, Any]) -> None:
    """Keep a campaign's numbers and write its table into the document.

    Parameters
    ----------
    name : str
        Of the campaign: the marker in the document.
    content : dict
        JSON.
    """
    NUMBERS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (NUMBERS / f"{name}.json").write_text(text, encoding="utf-8")
    document = DOCUMENT.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise SystemExit(f"{DOCUMENT}: no markers of {name}")
    table = f"{begin}\n{TABLES[name](content)}\n{end}"
    DOCUMENT.write_text(pattern.sub(lambda _: table, document), encoding="utf-8")


def _table(heads: list[str], rows: list[list[Any]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _kills(content: dict[str, Any]) -> str:
    columns = ["kills", "too late", "blocked", "lost", "different", "done twice", "left over"]
    columns.append("running")
    rows = [
        [name, *(counts.get(column, 0) for column in columns)]
        for name, counts in content["counts"].items()
    ]
    rows.append(["**all**", *(sum(row[i] for row in rows) for i in range(1, len(columns) + 1))])
    faults = content["faults"]
    return f"{_table(['stage or command', *columns], rows)}\n\n{content['seconds']} s. " + (
        "No fault." if not faults else f"Faults: {'; '.join(faults)[:600]}"
    )


def _inputs(content: dict[str, Any]) -> str:
    columns = ["examples", "accepted", "refused"]
    rows = [
        [name, *(counts.get(column, 0) for column in columns)]
        for name, counts in content["counts"].items()
    ]
    rows.append(["**all**", *(sum(row[i] for row in rows) for i in range(1, len(columns) + 1))])
    return (
        f"{_table(['what', *columns], rows)}\n\n"
        f"{content['seconds']} s. Tracebacks, messages of several lines or over 300 characters, "
        f"nonsense accepted: {content['faults']}. Inputs that once failed, replayed each time: "
        f"{content['kept']}."
    )


def _disk(content: dict[str, Any]) -> str:
    columns = ["refused", "done without the log", "badly told", "blocked", "lost", "different"]
    columns.append("left over")
    rows = [[name, *(n.get(each, 0) for each in columns)] for name, n in content["counts"].items()]
    rows.append(["**all**", *(sum(row[i] for row in rows) for i in range(1, len(columns) + 1))])
    return _table(["stage or command", *columns], rows)


def _same(content: dict[str, Any]) -> str:
    rows = [[name, each["files"], each["different"]] for name, each in content["runs"].items()]
    return _table(["what", "files compared", "different"], rows)


def _load(content: dict[str, Any]) -> str:
    rows = [[name, *row] for name, row in content["rows"].items()]
    return _table(["what", "processor's seconds", "peak MiB", "size, growth"], rows)


def _audit(content: dict[str, Any]) -> str:
    columns = ["packages in the lock", "advisories", "newest of", "naming a package", "that hold"]
    row = [content[key] for key in ("packages", "advisories", "newest", "named")]
    told = "".join(f"\n- {each}" for each in content["found"])
    return _table(columns, [[*row, len(content["found"])]]) + (f"\n{told}" if told else "")


TABLES = {
    "kill": _kills,
    "inputs": _inputs,
    "disk": _disk,
    "same": _same,
    "load": _load,
    "pythons": _same,
    "audit": _audit,
}
