"""Write out in full who is evaluated for each source."""

import pandas as pd

from persona_leakage.data.persona_sets import evaluated_personas, from_records, records
from persona_leakage.errors import command
from persona_leakage.files import read_json, write_json
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write ``evaluated.json``: names by source, and the records of all of them."""
    study = load_study()
    participants = read_json(paths.personas(study))
    everyone = from_records(participants["personas"])
    measured = {name: everyone[name] for name in participants["measured"]}
    layer = read_json(paths.centroids(study) / "manifest.json")["layer"]
    pairs = pd.read_parquet(paths.pairs(study))
    evaluated = evaluated_personas(study, measured, pairs, layer)
    anyone = {name for names in evaluated.values() for name in names}
    write_json(
        paths.evaluated(study),
        {
            "evaluated": evaluated,
            "personas": records(measured[name] for name in measured if name in anyone),
        },
    )


if __name__ == "__main__":
    main()
