"""Write out in full who is evaluated for each source."""

from persona_leakage.data.persona_sets import (
    Participants,
    by_name,
    evaluated_personas,
    records,
)
from persona_leakage.errors import command
from persona_leakage.files import read_as, read_table, write_json
from persona_leakage.geometry.cosines import PAIRS, Layer
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write ``evaluated.json``: names by source, and the records of all of them."""
    study = load_study()
    participants = read_as(paths.personas(study), Participants)
    everyone = by_name(participants.personas)
    measured = {name: everyone[name] for name in participants.measured}
    layer = read_as(paths.centroids(study) / "manifest.json", Layer).layer
    pairs = read_table(paths.pairs(study), PAIRS)
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
