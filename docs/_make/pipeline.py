"""The pipeline as a picture: the stages of ``dvc.yaml`` and what they read of each other.

    python docs/_make/pipeline.py

writes ``docs/pipeline.svg``. Stages of a cell stand apart by their colour. An arrow that others
imply is left out: ``report`` reads ``geometry``'s table through ``analyse``, for instance. Every
stage waits for ``study``, which validates the parameters; it is drawn without arrows.
"""

from html import escape
from pathlib import Path

import networkx as nx
import yaml

ROOT = Path(__file__).parent.parent.parent
PICTURE = ROOT / "docs/pipeline.svg"
FIRST = "study"  # every stage waits for it
WIDTH, HEIGHT, PASSAGE, GAP, ROW, EDGE = 168, 44, 8, 26, 84, 14
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1b1b1b}.out{font-size:10.5px;fill:#555}"
    "rect{stroke:#5a6b7b;fill:#eef3f7}.cell{fill:#fff0d9;stroke:#a8731a}"
    "path{fill:none;stroke:#6b7785;stroke-width:1.3}"
)


def stages() -> nx.DiGraph:
    """Read the stages, with ``out`` (what each makes) and ``cell`` (whether one of every cell)."""
    described = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    graph = nx.DiGraph()
    outs, deps = {}, {}
    for name, stage in described.items():
        if "foreach" in stage:
            continue  # the same stage for the cells beside the grid
        [out] = stage["outs"]
        outs[name] = out if isinstance(out, str) else next(iter(out))
        deps[name] = stage["deps"]
        graph.add_node(name, out=outs[name], cell="matrix" in stage)
    for name, read in deps.items():
        for other, out in outs.items():
            if other not in (name, FIRST) and any(_within(each, out) for each in read):
                graph.add_edge(other, name)
    return graph


def _within(one: str, other: str) -> bool:
    """Tell whether a path is another, lies in it, or holds it."""
    return (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/")


def layers(graph: nx.DiGraph) -> tuple[nx.DiGraph, list[list[str]]]:
    """Put stages into rows, each below all that it reads, ordered so that few arrows cross.

    Rows that an arrow passes have a place for it, called after its two ends (Sugiyama, Tagawa &
    Toda 1981; order by the mean place of the neighbours).

    Parameters
    ----------
    graph : DiGraph
        Of ``stages``, without arrows that others imply.

    Returns
    -------
    DiGraph
        The same with the places in the arrows.
    list of list of str
        The rows, from the left.
    """
    rows = [sorted(names) for names in nx.topological_generations(graph)]
    row_of = {name: row for row, names in enumerate(rows) for name in names}
    proper = nx.DiGraph()
    proper.add_nodes_from(row_of)
    for start, end in sorted(graph.edges):
        way = [start]
        for row in range(row_of[start] + 1, row_of[end]):
            way.append(f"{start} {end} {row}")
            rows[row].append(way[-1])
        nx.add_path(proper, [*way, end])
    for sweep in range(8):
        neighbours = proper.predecessors if sweep % 2 == 0 else proper.successors
        for names in rows if sweep % 2 == 0 else rows[::-1]:
            at = {name: k / max(len(row) - 1, 1) for row in rows for k, name in enumerate(row)}
            wanted = {}
            for name in names:
                beside = [at[each] for each in neighbours(name)] or [at[name]]
                wanted[name] = sum(beside) / len(beside)
            names.sort(key=lambda name: (wanted[name], name))
    return proper, rows


def picture() -> str:
    """Write the picture: the same text for the same ``dvc.yaml``."""
    whole = stages()
    drawn = nx.transitive_reduction(whole)
    drawn.remove_node(FIRST)
    proper, rows = layers(drawn)
    rows[0].insert(0, FIRST)
    room = {name: WIDTH if name in whole else PASSAGE for names in rows for name in names}
    right = max(sum(room[name] + GAP for name in names) for names in rows) - GAP + 2 * EDGE
    middle = {}
    for row, names in enumerate(rows):
        x = (right - sum(room[name] + GAP for name in names) + GAP) / 2
        for name in names:
            middle[name] = (x + room[name] / 2, EDGE + row * ROW + HEIGHT / 2)
            x += room[name] + GAP
    bottom = EDGE + (len(rows) - 1) * ROW + HEIGHT + EDGE
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom}" '
        'role="img" aria-labelledby="title desc">',
        '<title id="title">The stages of dvc.yaml</title>',
        f'<desc id="desc">{escape(_told(drawn))}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M1,1 L7,4 L1,7"/></marker></defs>',
        f'<rect width="{right}" height="{bottom}" style="fill:#fff;stroke:none"/>',
    ]
    for start, end in sorted(proper.edges):
        (x0, y0), (x1, y1) = middle[start], middle[end]
        y0 += HEIGHT / 2 if start in whole else 0
        y1 -= HEIGHT / 2 if end in whole else 0
        half = (y0 + y1) / 2
        tip = ' marker-end="url(#tip)"' if end in whole else ""
        lines.append(f'<path{tip} d="M{x0},{y0} C{x0},{half} {x1},{half} {x1},{y1}"/>')
    for name, stage in whole.nodes.items():
        x, y = middle[name][0] - WIDTH / 2, middle[name][1] - HEIGHT / 2
        out = stage["out"].removeprefix("outputs/${study}/").split("/${item")[0]
        out = out.replace("${study}", "STUDY").replace("${model.name}", "MODEL")
        kind = ' class="cell"' if stage["cell"] else ""
        lines.append(
            f'<rect{kind} x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f'<text x="{x + 10}" y="{y + 18}">{name}</text>'
            f'<text class="out" x="{x + 10}" y="{y + 35}">'
            f"{escape(out)}{'/CELL' if stage['cell'] else ''}</text>"
        )
    return "\n".join([*lines, "</svg>", ""])


def _told(graph: nx.DiGraph) -> str:
    return "; ".join(
        f"{name} reads {', '.join(sorted(graph.predecessors(name)))}"
        for name in nx.lexicographical_topological_sort(graph)
        if graph.in_degree(name)
    )


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
