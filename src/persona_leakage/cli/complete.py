"""What a shell asks for when a word is half typed: names that begin so.

Where nothing can be read nothing is said: a shell has no place for a message. Each function imports
what it needs, since help waits for this module.
"""

from contextlib import suppress

from persona_leakage.errors import InputError


def personas(incomplete: str) -> list[str]:
    """Name the catalog's personas that begin so.

    Parameters
    ----------
    incomplete : str
        What has been typed.
    """
    from persona_leakage.data.catalog import load_personas
    from persona_leakage.pipeline import paths

    try:
        names = list(load_personas(paths.AUTHORED))
    except InputError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def sources(incomplete: str) -> list[str]:
    """Name the sources of the study of ``params.yaml``, then everyone else who can be one.

    Parameters
    ----------
    incomplete : str
        What has been typed.
    """
    from persona_leakage.study.parameters import load_study

    try:
        sources = load_study().sources
    except InputError:
        sources = []
    names = dict.fromkeys([*sources, *personas(incomplete)])
    return [name for name in names if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Name the study of ``params.yaml`` and those of ``studies`` that begin so.

    Parameters
    ----------
    incomplete : str
        What has been typed.
    """
    from persona_leakage.pipeline import switch
    from persona_leakage.study.parameters import load_study

    names = [file.stem for file in sorted(switch.STUDIES.glob("*.yaml"))]
    with suppress(InputError):
        names.append(load_study().study)
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def cells(incomplete: str) -> list[str]:
    """Name the cells of the study of ``params.yaml`` that begin so.

    Parameters
    ----------
    incomplete : str
        What has been typed.
    """
    from persona_leakage.study.parameters import load_study

    try:
        names = [str(cell) for cell in load_study().cells]
    except InputError:
        return []
    return [name for name in names if name.startswith(incomplete)]
