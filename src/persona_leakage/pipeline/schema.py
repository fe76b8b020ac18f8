"""What a study may say, as JSON schema, so that editors complete and check ``params.yaml``.

    python -m persona_leakage.pipeline.schema

It is made from ``study.parameters`` and from the settings of every behaviour. A study's first line
names the file: editors with YAML's language server read it (VS Code, Neovim, JetBrains).
"""

import json
from typing import Any

from persona_leakage.behaviours.behaviour import behaviour_class, known_behaviours
from persona_leakage.errors import command
from persona_leakage.files import Record, write_text
from persona_leakage.study.parameters import Study

SCHEMA = "params.schema.json"
# what pydantic calls a bound behind a validator of our own, and what the standard calls it
BOUNDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "lt": "exclusiveMaximum",
    "le": "maximum",
}


def schema() -> Record:
    """Return the schema of a study, draft 2020-12."""
    made = Study.model_json_schema()
    settings = {name: behaviour_class(name).model_json_schema() for name in known_behaviours()}
    made["$defs"]["BehaviourChoice"] = {
        "description": "Which behaviour is taught, with its own settings.",
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": list(settings)}},
        "oneOf": [
            {**of, "properties": {"name": {"const": name}, **of["properties"]}}
            for name, of in settings.items()
        ],
    }
    for word in ("title", "description"):
        made.pop(word)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of persona-leakage",
        **_standard(made),
    }


def _standard(part: Any, named: bool = False) -> Any:
    """Rename bounds, leave out titles that repeat names, join lines; ``named``: keys are names."""
    if isinstance(part, list):
        return [_standard(each) for each in part]
    if not isinstance(part, dict):
        return part
    if named:
        return {name: _standard(each) for name, each in part.items()}
    made = {}
    for key, value in part.items():
        if key == "description":
            made[key] = " ".join(value.split("\n\nAttributes")[0].replace("``", "`").split())
        elif key != "title":
            made[BOUNDS.get(key, key)] = _standard(value, key in ("properties", "$defs"))
    return made


@command
def main() -> None:
    """Write it beside ``params.yaml``."""
    write_text(SCHEMA, json.dumps(schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
