"""Write out in full who takes part in a study, so that nothing else depends on the catalog."""

from persona_leakage.data.catalog import load_personas
from persona_leakage.data.persona_sets import measured_personas, records, taught_personas
from persona_leakage.errors import command
from persona_leakage.files import write_json
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write ``personas.json``: the personas' records, and the names of those measured."""
    study = load_study()
    catalog = load_personas(paths.CATALOG)
    write_json(
        paths.personas(study),
        {
            "personas": records(catalog[name] for name in taught_personas(study, catalog)),
            "measured": measured_personas(study, catalog),
        },
    )


if __name__ == "__main__":
    main()
