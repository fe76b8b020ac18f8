"""Compute the base model's centroids of the personas."""

from safetensors.numpy import save_file

from persona_leakage.data.catalog import load_neutral
from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.errors import command
from persona_leakage.files import read_as, sha256, whole, write_json
from persona_leakage.geometry.centroids import centroids, depth, layer_number
from persona_leakage.model.chat import RENDERED_DATE, rendered_system
from persona_leakage.model.loading import dtype, load_model, load_tokenizer
from persona_leakage.model.self_check import check_fast_path
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.earlier import arithmetic, bring_back, computed_with, remember
from persona_leakage.progress import bar
from persona_leakage.study.parameters import load_study


@command
def main() -> None:
    """Write ``centroids.safetensors``; ``manifest.json``: who and which layers they are of.

    And ``rendered.json``: what the chat template writes for each who takes part, measured or not,
    for the stages that need no more of a tokenizer than this.
    """
    study = load_study()
    participants = read_as(paths.personas(study), Participants)
    everyone = by_name(participants.personas)
    measured = [everyone[name] for name in participants.measured]
    neutral, folder = load_neutral(paths.CATALOG), paths.centroids(study)
    key = {
        "personas": [[persona.name, persona.prompt] for persona in participants.personas],
        "measured": participants.measured,
        "neutral": neutral,
        "similarity": study.similarity.model_dump(mode="json"),
        "stage": sha256(__file__),
        **arithmetic(study),
        **computed_with(study, ("geometry", "model")),
    }
    if bring_back(folder, key):
        return
    directory = paths.model(study)
    model, tokenizer = load_model(directory, study.model.precision), load_tokenizer(directory)
    served = check_fast_path(model, tokenizer)
    blocks = depth(model)
    layer = layer_number(study.similarity.layer, blocks)
    named_layers = study.similarity.layers
    layers = (
        list(range(blocks + 1))
        if named_layers == "all"
        else sorted({layer, *(layer_number(each, blocks) for each in named_layers)})
    )
    with bar("centroids", len(measured), "personas") as progress:
        vectors = centroids(
            model,
            tokenizer,
            measured,
            neutral,
            layers,
            study.model.system_role,
            progress.update,
        )
    rendered = {
        name: rendered_system(tokenizer, persona.prompt, study.model.system_role)
        for name, persona in everyone.items()
    }
    with whole(folder) as partial:
        partial.mkdir()
        save_file({"centroids": vectors}, partial / "centroids.safetensors")
        write_json(
            partial / "manifest.json",
            {
                "personas": [persona.name for persona in measured],
                "layers": layers,
                "layer": layer,
                "blocks": blocks,
                "served": served,
                "precision": str(dtype(study.model.precision)).removeprefix("torch."),
                "rendered_date": RENDERED_DATE.isoformat(),
            },
        )
        write_json(partial / paths.rendered(study).name, rendered)
    remember(folder, key)


if __name__ == "__main__":
    main()
