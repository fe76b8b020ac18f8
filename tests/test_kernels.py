"""What libraries do not promise: in one module, and here it is told which of them has changed."""

import ast
import inspect
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from persona_leakage.errors import InputError
from persona_leakage.model import kernels
from persona_leakage.pipeline.lock import mend

PACKAGE = ROOT / "src" / "persona_leakage"
# what Python documents of modules, classes and errors
ALLOWED = {
    *("__name__", "__module__", "__file__", "__doc__", "__init__", "__path__", "__bases__"),
    "__cause__",
}


def is_private(name: str) -> bool:
    return name.startswith("_") and name not in ALLOWED


def private_uses(source: str) -> list[str]:
    """Private names of others: attributes, but for one's own, and what is imported."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own or node.attr.startswith("__"):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "super":
            continue
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "getattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                found.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            found += [ast.unparse(node)] if any(map(is_private, names)) else []
    return found


def test_one_module_alone_touches_private_names_of_libraries():
    files = [file for file in PACKAGE.rglob("*.py") if file.name != "kernels.py"]
    assert {str(file): uses for file in files if (uses := private_uses(file.read_text()))} == {}
    assert private_uses((PACKAGE / "model" / "kernels.py").read_text())  # the scan sees them


@pytest.mark.parametrize(
    "source",
    [
        "module.__class__ = Other",
        "torch.ops.aten._flash(x)",
        "made.__dict__.update(a)",
        "from torch._C import x",
        "from mlflow.store import _hidden",
        "setattr(config, '_n_gpu', 1)",
    ],
)
def test_the_scan_sees_each_way_of_touching_a_private_name(source):
    assert private_uses(source)


def test_torch_has_the_product_of_onednn():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("torch without oneDNN")
    assert hasattr(torch.ops.mkldnn, "_linear_pointwise"), (
        "torch has no mkldnn._linear_pointwise any more: processors of AMD fall back to a slower "
        "product (kernels.product)"
    )


def test_torch_has_attention_over_stretches():
    assert kernels.varlen_attn is not None, (
        "torch.nn.attention.varlen.varlen_attn is gone: GPUs fall back to padded rows "
        "(kernels.attends_to_stretches)"
    )
    taken = set(inspect.signature(kernels.varlen_attn).parameters)
    assert {"scale", "window_size"} <= taken, "varlen_attn takes other arguments: kernels._within"


def test_without_attention_over_stretches_rows_are_padded(monkeypatch):
    monkeypatch.setattr(kernels, "varlen_attn", None)
    on_gpu = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    assert not kernels.attends_to_stretches(on_gpu)


def test_a_layer_of_another_class_holds_the_same_parameters():
    layer = torch.nn.Linear(4, 3)
    made = kernels.recast(layer, kernels.ProcessorLinear)
    assert type(made) is kernels.ProcessorLinear and type(layer) is torch.nn.Linear
    assert [*map(id, made.parameters())] == [*map(id, layer.parameters())]


def test_a_layer_that_keeps_its_parameters_elsewhere_is_told():
    class Hidden:
        """As a module would be that torch compiled into something else."""

        def parameters(self):
            return iter([1, 2][: len(self.__dict__)])

    hidden = Hidden()
    with pytest.raises(InputError, match="no longer keeps a module's parameters"):
        kernels.recast(hidden, Hidden)


def test_a_lock_file_is_taken_as_it_is_where_dvc_has_no_such_schema(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dvc.schema", None)
    (tmp_path / "dvc.lock").write_text("schema: '9.0'\n")
    mend(tmp_path)
    assert (tmp_path / "dvc.lock").exists()


def test_dvc_has_the_schema_of_its_lock_file():
    schema = pytest.importorskip("dvc.schema")
    assert hasattr(schema, "COMPILED_LOCKFILE_SCHEMA"), (
        "DVC's schema of dvc.lock is elsewhere: one that was cut short where it is still YAML is "
        "not noticed (pipeline.lock)"
    )
