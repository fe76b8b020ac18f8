"""Centroids and cosines of the base model, and who is evaluated."""

from safetensors.numpy import save_file

from persona_leakage.data.catalog import load_neutral, load_personas
from persona_leakage.data.persona_sets import chosen_personas
from persona_leakage.errors import command
from persona_leakage.files import whole, write_json
from persona_leakage.geometry.centroids import centroids, depth, layer_number
from persona_leakage.geometry.cosines import table
from persona_leakage.model.loading import load_model, load_tokenizer
from persona_leakage.pipeline import paths
from persona_leakage.progress import bar
from persona_leakage.study.parameters import Neighbourhood, load_study


@command
def main() -> None:
    """Write ``centroids.safetensors``, ``pairs.parquet`` and ``personas.json``."""
    study = load_study()
    catalog = load_personas(paths.CATALOG)
    by_distance = isinstance(study.personas, Neighbourhood)
    # a neighbourhood is read off the similarity of the whole catalog
    measured = (
        list(catalog.values())
        if by_distance
        else next(iter(chosen_personas(study, catalog).values()))
    )

    directory = paths.model(study)
    model, tokenizer = load_model(directory, study.model.precision), load_tokenizer(directory)
    blocks = depth(model)
    layer = layer_number(study.similarity.layer, blocks)
    asked = study.similarity.layers
    layers = (
        list(range(blocks + 1))
        if asked == "all"
        else sorted({layer, *(layer_number(each, blocks) for each in asked)})
    )
    with bar("similarity", len(measured), "personas") as progress:
        vectors = centroids(
            model,
            tokenizer,
            measured,
            load_neutral(paths.CATALOG),
            layers,
            study.model.system_role,
            progress.update,
        )
    names = [persona.name for persona in measured]
    pairs = table(vectors, names, layers)
    evaluated = chosen_personas(study, catalog, pairs[pairs["layer"] == layer])

    folder = paths.similarity(study)
    with whole(folder / "centroids.safetensors") as partial:
        save_file({"centroids": vectors}, partial)
    with whole(folder / "pairs.parquet") as partial:
        pairs.to_parquet(partial, index=False)
    write_json(
        folder / "personas.json",
        {
            "evaluated": {
                source: [persona.name for persona in chosen] for source, chosen in evaluated.items()
            },
            "measured": names,
            "layers": layers,
            "layer": layer,
            "blocks": blocks,
        },
    )


if __name__ == "__main__":
    main()
