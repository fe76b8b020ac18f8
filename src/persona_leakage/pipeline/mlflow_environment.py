"""Make plain ``mlflow run .`` use the locked environment instead of building one of its own.

MLflow looks for a project's environment under its environment root, by a name made from
``python_env.yaml``, and uses the one it finds. ``make setup`` writes that file (it names this very
folder, and git ignores it) and puts a link of that name to the environment that uv made.
"""

import sys
from pathlib import Path

from mlflow.utils.environment import _PythonEnv
from mlflow.utils.virtualenv import _get_mlflow_virtualenv_root, _get_virtualenv_name


def main() -> None:
    """Write ``python_env.yaml`` and the link."""
    project = Path.cwd()
    version = ".".join(map(str, sys.version_info[:3]))
    file = project / "python_env.yaml"
    file.write_text(f"python: {version}\nbuild_dependencies: []\ndependencies: [-e {project}]\n")
    name = _get_virtualenv_name(_PythonEnv.from_yaml(file), project)
    link = Path(_get_mlflow_virtualenv_root()) / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(sys.prefix)


if __name__ == "__main__":
    main()
