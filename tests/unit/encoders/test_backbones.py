"""Encoders give the features of the published block loops, and take weights from files and from nowhere else."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from anomalib_flows.core.errors import InputError
from anomalib_flows.encoders.encoder import Encoder
from anomalib_flows.encoders.weights import weights_follow

SWIN = {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 3, 4)}
# timm gives features in five ways: layers as they are or flattened, a class of its own, block by block, NHWC.
KINDS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "test_resnet": ((64, 96), {}),
    "test_efficientnet": ((64, 96), {}),
    "mobilenetv2_035": ((64, 96), {"pad_type": "same"}),
    "test_convnext": ((64, 96), {}),
    "swin_tiny_patch4_window7_224": ((64, 96), SWIN),
}
DEIT, CAIT, VIT = "deit_tiny_distilled_patch16_224", "cait_xxs24_224", "test_vit"
every_kind = pytest.mark.parametrize("name", [*KINDS, VIT])


def create(name: str, size: tuple[int, int], args: dict[str, Any] | None = None) -> nn.Module:
    """Create the whole model, as timm makes it."""
    sized = {"img_size": size} if name.startswith(("swin", "deit", "cait")) or name == VIT else {}
    return timm.create_model(name, **sized, **(args or {})).eval()


def size_and_args(name: str) -> tuple[tuple[int, int], dict[str, Any]]:
    return KINDS.get(name, ((160, 160), {}))


def save(state: dict[str, Tensor], file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, file)
    else:
        torch.save(state, file)
    return file


@torch.no_grad()
def deit_loop(model: nn.Module, images: Tensor, last_block: int) -> Tensor:
    """Tokens after a block of a distilled DeiT and the final norm, without class and distillation token."""
    x = model.patch_embed(images)
    extra = [token.expand(len(x), -1, -1) for token in (model.cls_token, model.dist_token)]
    x = model.pos_drop(torch.cat([*extra, x], dim=1) + model.pos_embed)
    for i in range(last_block + 1):
        x = model.blocks[i](x)
    return model.norm(x)[:, 2:]


@torch.no_grad()
def cait_loop(model: nn.Module, images: Tensor, last_block: int) -> Tensor:
    """Tokens after a block of CaiT's trunk, which has no class token, and the final norm."""
    x = model.pos_drop(model.patch_embed(images) + model.pos_embed)
    for i in range(last_block + 1):
        x = model.blocks[i](x)
    return model.norm(x)


def as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    return tokens.permute(0, 2, 1).reshape(len(tokens), -1, height, width)


@pytest.mark.parametrize("size", [(224, 224), (96, 160)], ids=str)
@pytest.mark.parametrize(("name", "loop", "layer"), [(DEIT, deit_loop, 7), (CAIT, cait_loop, 20)])
def test_transformers_equal_the_block_loop(tmp_path, disturb, relative_error, name, loop, layer, size) -> None:
    model = disturb(create(name, size), scale=0.02)
    encoder = Encoder(size, name, save(model.state_dict(), tmp_path / "w.safetensors"), layers=[layer])
    images = torch.randn(2, 3, *size)
    (features,) = encoder(images)
    expected = as_map(loop(model, images, layer), size[0] // 16, size[1] // 16)
    assert encoder.shapes == [tuple(expected.shape[1:])]
    assert relative_error(features, expected) < 1e-5
    other = as_map(loop(model, images, layer - 1), size[0] // 16, size[1] // 16)
    assert relative_error(features, other) > 1e-3


def test_weights_of_one_image_size_serve_another(tmp_path, disturb, relative_error) -> None:
    native = disturb(create(DEIT, (224, 224)), scale=0.02)
    encoder = Encoder((96, 160), DEIT, save(native.state_dict(), tmp_path / "w.safetensors"), layers=[7])
    model = create(DEIT, (96, 160))
    positions = resample_abs_pos_embed(native.pos_embed, (6, 10), (14, 14), num_prefix_tokens=2)
    model.load_state_dict(native.state_dict() | {"pos_embed": positions})
    images = torch.randn(2, 3, 96, 160)
    assert relative_error(encoder(images)[0], as_map(deit_loop(model, images, 7), 6, 10)) < 1e-5


@pytest.mark.parametrize(("name", "layer"), [(DEIT, 7), (CAIT, 15), (VIT, 3)])
def test_by_default_transformers_give_the_block_at_two_thirds(name, layer) -> None:
    with weights_follow():
        assert Encoder((160, 160), name).network.indices == [layer]


@pytest.mark.parametrize("final_norm", [False, True])
def test_tokens_of_blocks_come_as_they_are_or_normed(tmp_path, disturb, relative_error, final_norm) -> None:
    model = disturb(create(VIT, (160, 96)), scale=0.1)
    file = save(model.state_dict(), tmp_path / "w.safetensors")
    encoder = Encoder((160, 96), VIT, file, layers=[1, 3, 5], final_norm=final_norm)
    outputs: list[Tensor] = []
    for i in (1, 3, 5):
        model.blocks[i].register_forward_hook(lambda module, given, output: outputs.append(output))
    images = torch.randn(2, 3, 160, 96)
    with torch.no_grad():
        model(images)
        tokens = [model.norm(output) if final_norm else output for output in outputs]
    assert model.num_prefix_tokens == 1
    for feature, expected in zip(encoder(images), tokens, strict=True):
        assert relative_error(feature, as_map(expected[:, 1:], 10, 6)) < 1e-5


@pytest.mark.parametrize(
    ("name", "depths", "blocks"),
    [
        ("deit_tiny_patch16_224", (3 / 12, 7 / 12, 11 / 12), [2, 6, 10]),
        ("deit_tiny_patch16_224", (0.01, 1.0, 1.0), [0, 11]),
        (CAIT, (3 / 12, 7 / 12, 11 / 12), [5, 13, 21]),
    ],
)
def test_blocks_are_chosen_by_their_share_of_the_depth(name, depths, blocks) -> None:
    with weights_follow():
        assert Encoder((32, 32), name, depths=depths).network.indices == blocks
        assert Encoder((32, 32), name, layers=[3], depths=depths).network.indices == [3]


@pytest.mark.parametrize(
    ("name", "wanted", "found"),
    [
        ("test_resnet", (8, 16, 32), [8, 16, 32]),
        ("test_resnet", (2, 32), [2, 32]),
        ("test_resnet", (64,), [2, 4, 8, 16, 32]),
    ],
)
def test_maps_are_chosen_by_their_strides(name, wanted, found) -> None:
    encoder = Encoder((64, 128), name, "random", strides=wanted)
    assert [(64 // h, 128 // w) for _, h, w in encoder.shapes] == [(s, s) for s in found]


def reflect_by_hand(model: nn.Module) -> nn.Module:
    """Let a layer of its own reflect the border before each convolution that looks beyond it."""
    convolutions = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d) and any(m.padding)]
    assert convolutions
    for name, convolution in convolutions:
        rows, columns = convolution.padding
        convolution.padding = (0, 0)
        reflected = nn.Sequential(nn.ReflectionPad2d((columns, columns, rows, rows)), convolution)
        model.set_submodule(name, reflected)
    return model


@pytest.mark.parametrize("name", ["test_resnet", "resnet18", "test_efficientnet"])
def test_borders_are_reflected_for_every_convolution(tmp_path, relative_error, name) -> None:
    torch.manual_seed(0)
    file = save(create(name, (64, 96)).state_dict(), tmp_path / "w.safetensors")
    zeros, reflect = (Encoder((64, 96), name, file, layers=[1, 2, 3], padding=p) for p in ("zeros", "reflect"))
    model = timm.create_model(name, features_only=True, out_indices=(1, 2, 3)).eval()
    model.load_state_dict(load_file(file), strict=False)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = reflect_by_hand(model)(images)
    for feature, wanted, other in zip(reflect(images), expected, zeros(images), strict=True):
        assert relative_error(feature, wanted) < 1e-5
        assert relative_error(feature, other) > 1e-3


def test_reflected_borders_do_not_reach_the_interior() -> None:
    encoders = []
    for padding in ("zeros", "reflect"):
        torch.manual_seed(0)
        encoders.append(Encoder((256, 192), "resnet18", "random", layers=[1, 2], padding=padding))
    images = torch.randn(1, 3, 256, 192)
    for zeros, reflect, far in zip(*(encoder(images) for encoder in encoders), (7, 9), strict=True):
        differs = ((zeros - reflect).abs() > 1e-5 * zeros.abs().max()).any(1)[0]
        assert not bool(differs[far:-far, far:-far].any())
        assert all(bool(side.any()) for side in (differs[0], differs[-1], differs[:, 0], differs[:, -1]))


def test_maps_too_small_to_be_reflected_are_refused() -> None:
    Encoder((32, 32), "test_resnet", "random", layers=[4])
    with pytest.raises(InputError, match="`image.size` 32,32 does not suit the backbone test_resnet"):
        Encoder((32, 32), "test_resnet", "random", layers=[4], padding="reflect")


@pytest.mark.parametrize(("size", "whole"), [((238, 238), (240, 240)), ((100, 96), (112, 96))], ids=str)
def test_images_that_patches_do_not_fill_are_stretched_by_what_they_lack(size, whole) -> None:
    torch.manual_seed(0)
    encoder = Encoder(size, DEIT, "random")
    assert encoder.shapes[0][1:] == (whole[0] // 16, whole[1] // 16)
    images = torch.randn(1, 3, *size)
    stretched = F.interpolate(images, whole, mode="bilinear", align_corners=False)
    torch.testing.assert_close(encoder(images), encoder(stretched))


@every_kind
@pytest.mark.parametrize("form", ["safetensors", "pt", "wrapped.pth", "legacy.pth"])
def test_features_are_those_of_the_whole_model_with_the_file(tmp_path, disturb, relative_error, name, form) -> None:
    size, args = size_and_args(name)
    model = disturb(create(name, size, args), scale=0.02)
    file = tmp_path / f"weights.{form}"
    if form == "wrapped.pth":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": t for k, t in model.state_dict().items()}}, file)
    elif form == "legacy.pth":
        torch.save(model.state_dict(), file, _use_new_zipfile_serialization=False)
    else:
        save(model.state_dict(), file)
    encoder = Encoder(size, name, file, timm_args=args)
    images = torch.randn(2, 3, *size)
    features = encoder(images)

    layers = encoder.network.indices if name == VIT else [i for i, s in enumerate(strides(model)) if s in (4, 8, 16)]
    with torch.no_grad():
        expected = model.forward_intermediates(
            images, indices=layers, norm=name == VIT, output_fmt="NCHW", intermediates_only=True
        )
    assert len(features) == len(expected) == len(encoder.shapes) == len(layers)
    for feature, wanted, shape in zip(features, expected, encoder.shapes, strict=True):
        assert tuple(feature.shape) == tuple(wanted.shape) == (2, *shape)
        assert relative_error(feature, wanted) < 1e-5
    strides_found = {size[0] // h for _, h, _ in encoder.shapes} | {size[1] // w for _, _, w in encoder.shapes}
    assert strides_found == ({16} if name == VIT else {4, 8, 16})
    assert not any(p.requires_grad for p in encoder.parameters())


def strides(model: nn.Module) -> list[int]:
    return [info["reduction"] for info in model.feature_info]


def test_models_whose_authors_have_a_format_of_their_own_read_state_dicts_too(tmp_path) -> None:
    name, size = "vit_tiny_patch16_224", (32, 48)
    assert timm.get_pretrained_cfg(name).custom_load
    model = timm.create_model(name, img_size=size)
    encoder = Encoder(size, name, save(model.state_dict(), tmp_path / "w.safetensors"))
    assert torch.equal(encoder.network.model.pos_embed, model.pos_embed)


def test_chosen_layers_come_in_their_order(tmp_path) -> None:
    encoder = Encoder((64, 96), "test_resnet", "random", layers=[0, 2, 4])
    assert [(h, w) for _, h, w in encoder.shapes] == [(32, 48), (8, 12), (2, 3)]


@every_kind
def test_incomplete_files_are_refused(tmp_path, name) -> None:
    size, args = size_and_args(name)
    state = create(name, size, args).state_dict()
    body = [key for key in state if state[key].is_floating_point() and not is_head(key)]
    for key in (body[0], body[len(body) // 2], body[-1]):
        file = save({k: t for k, t in state.items() if k != key}, tmp_path / "incomplete.safetensors")
        with pytest.raises(InputError, match="incomplete.safetensors") as raised:
            Encoder(size, name, file, timm_args=args)
        # Some networks are flattened by timm: stages.0 becomes stages_0.
        assert key.replace(".", "_") in str(raised.value).replace(".", "_")


def is_head(key: str) -> bool:
    """Whether feature maps can do without a weight."""
    return key.startswith(("head", "fc.", "classifier", "conv_head", "bn2.", "norm_pre", "norm."))


@pytest.mark.parametrize("other", ["test_efficientnet", "test_vit", "test_convnext"])
@every_kind
def test_weights_of_another_model_are_refused(tmp_path, name, other) -> None:
    size, args = size_and_args(name)
    file = save(create(other, size_and_args(other)[0]).state_dict(), tmp_path / "other.safetensors")
    if name == other:
        Encoder(size, name, file)
        return
    with pytest.raises(InputError, match="other.safetensors"):
        Encoder(size, name, file, timm_args=args)


def test_weights_of_a_wider_model_of_the_kind_are_refused(tmp_path) -> None:
    file = save(create("mobilenetv2_050", (64, 64)).state_dict(), tmp_path / "wider.pt")
    with pytest.raises(InputError, match="wider.pt"):
        Encoder((64, 64), "mobilenetv2_035", file)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}, torch.zeros(3), {"state_dict": {}}], ids=str)
def test_files_without_a_state_dict_are_refused(tmp_path, no_network, content) -> None:
    file = tmp_path / "odd.pt"
    torch.save(content, file)
    with pytest.raises(InputError, match="odd.pt"):
        Encoder((64, 64), "test_resnet", file)


@pytest.mark.parametrize("name", ["noise.safetensors", "noise.pt", "noise"])
@pytest.mark.parametrize("content", [b"", b"weights?", bytes(range(256)) * 40], ids=len)
def test_unreadable_files_are_refused(tmp_path, name, content) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=name):
        Encoder((64, 64), "test_resnet", file)


class Hostile:
    """Unpickling one makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pkl", ".safetensors", ".npz"])
@pytest.mark.parametrize("form", ["plain", "zip", "legacy"])
def test_code_in_a_pickle_is_not_executed(tmp_path, form, suffix) -> None:
    target, file = tmp_path / "made", tmp_path / f"hostile{suffix}"
    content = {"state_dict": create("test_resnet", (64, 64)).state_dict(), "extra": Hostile(target)}
    if form == "plain":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(InputError, match=f"hostile{suffix}"):
        Encoder((64, 64), "test_resnet", file)
    assert not target.exists()
    if form == "plain":
        pickle.loads(file.read_bytes())  # noqa: S301 (the proof that it would have been)
        assert target.exists()


@pytest.mark.parametrize("missing", ["nowhere.safetensors", "folder", "Pretrained"])
def test_missing_files_are_refused(tmp_path, missing) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"{missing} is neither 'pretrained' nor 'random' nor an existing file"):
        Encoder((64, 64), "test_resnet", tmp_path / missing)


def test_unknown_backbones_bring_close_names() -> None:
    with pytest.raises(InputError, match=r"no backbone 'resnet81': did you mean .*'resnet18'"):
        Encoder((64, 64), "resnet81", "random")


class ProxyError(Exception):
    """What the hub's client raises behind a proxy is no ``OSError``."""


@pytest.mark.parametrize("error", [ConnectionError("refused"), FileNotFoundError("not cached"), ProxyError("407")])
@pytest.mark.parametrize("name", ["resnet18", DEIT])
def test_without_the_hub_three_ways_out_are_named(monkeypatch, name, error) -> None:
    create_model = timm.create_model

    def unreachable(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        if pretrained:
            raise error
        return create_model(model_name, **kwargs)

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(InputError) as raised:
        Encoder((64, 64), name)
    check_ways_out(str(raised.value), name)


def test_without_a_network_three_ways_out_are_named(monkeypatch, no_network, tmp_path) -> None:
    """The hub's client would try for a minute, so it is told not to."""
    offline = []
    create_model = timm.create_model

    def create_and_look(*args: Any, **kwargs: Any) -> nn.Module:
        offline.append(constants.is_offline_mode())
        return create_model(*args, **kwargs)

    monkeypatch.setattr(timm, "create_model", create_and_look)
    monkeypatch.setattr("anomalib_flows.encoders.weights.getproxies", dict)
    with pytest.raises(InputError) as raised:
        Encoder((64, 64), "test_resnet", timm_args={"cache_dir": str(tmp_path)})
    assert offline[-1]
    assert not constants.is_offline_mode()
    check_ways_out(str(raised.value), "test_resnet")


@pytest.mark.parametrize("name", ["test_mambaout", "botnet50ts_256", "resnet18.other"])
def test_a_network_without_published_weights_is_refused(no_network, name) -> None:
    with pytest.raises(InputError, match=f"no pretrained weights of {name}: give a file with weights as `weights`"):
        Encoder((64, 64), name)


def test_weights_in_timms_cache_need_no_network(monkeypatch, no_network, tmp_path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    hub = tmp_path / f"models--{timm.get_pretrained_cfg('test_resnet').hf_hub_id.replace('/', '--')}"
    (hub / "refs").mkdir(parents=True)
    (hub / "snapshots/1").mkdir(parents=True)
    (hub / "refs/main").write_text("1")
    save(state, hub / "snapshots/1/model.safetensors")
    monkeypatch.setattr("anomalib_flows.encoders.weights.getproxies", dict)
    network = Encoder((64, 64), "test_resnet", timm_args={"cache_dir": str(tmp_path)}).network.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.items())


def check_ways_out(message: str, name: str) -> None:
    for part in ("`backbone` tf_efficientnet_lite0", name, "connect to the network", "as `weights`"):
        assert part in message


def test_no_weights_are_read_where_they_follow(monkeypatch, no_network) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("timm.models._builder.load_pretrained", refuse)
    for name in ("test_resnet", VIT):
        for weights in ("pretrained", "/nowhere/weights.safetensors"):
            with weights_follow():
                assert Encoder((160, 160), name, weights).shapes


def test_weights_are_wanted_again_afterwards_even_after_an_error() -> None:
    with pytest.raises(KeyError), weights_follow():
        raise KeyError
    with pytest.raises(InputError, match="nowhere"):
        Encoder((64, 64), "test_resnet", "/nowhere/weights.safetensors")


def test_timm_args_reach_the_model(tmp_path, relative_error) -> None:
    same = timm.create_model("mobilenetv2_035", pad_type="same", features_only=True, out_indices=(1, 2, 3)).eval()
    file = save(create("mobilenetv2_035", (64, 64)).state_dict(), tmp_path / "w.safetensors")
    same.load_state_dict(load_file(file), strict=False)
    images = torch.randn(1, 3, 64, 64)
    padded = Encoder((64, 64), "mobilenetv2_035", file, timm_args={"pad_type": "same"})(images)
    plain = Encoder((64, 64), "mobilenetv2_035", file)(images)
    for feature, other, expected in zip(padded, plain, same(images), strict=True):
        assert relative_error(feature, expected) < 1e-5
        assert relative_error(other, expected) > 1e-3


@pytest.mark.parametrize("name", ["test_resnet", VIT])
def test_unknown_timm_args_are_refused(name) -> None:
    with pytest.raises(InputError, match=rf"{name}.*timm_args.*'colour'"):
        Encoder((160, 160), name, "random", timm_args={"colour": 3})


@pytest.mark.parametrize("weights", ["random", "pretrained"])
@pytest.mark.parametrize("key", ["pretrained", "checkpoint_path", "pretrained_cfg_overlay", "out_indices"])
def test_timm_args_cannot_bring_weights(no_network, weights, key) -> None:
    with pytest.raises(InputError, match=rf"timm_args.*'{key}'"):
        Encoder((64, 64), "test_resnet", weights, timm_args={key: "evil.pt"})


def test_normalisation_is_timms_unless_stated() -> None:
    config = timm.create_model("mobilenetv2_035").default_cfg
    encoder = Encoder((64, 64), "mobilenetv2_035", "random")
    assert (encoder.mean, encoder.std) == (config["mean"], config["std"])
    halves = (0.5, 0.5, 0.5)
    assert Encoder((64, 64), "mobilenetv2_035", "random", mean=halves, std=halves).mean == halves


@pytest.mark.slow
def test_real_weights_load_as_plain_timm_does(relative_error) -> None:
    folder = os.environ.get("ANOMALIB_FLOWS_WEIGHTS")
    if not folder:
        pytest.skip("ANOMALIB_FLOWS_WEIGHTS is not set")
    file, args = Path(folder) / "mobilenetv2_100_tf_in1k.safetensors", {"pad_type": "same"}
    plain = timm.create_model("mobilenetv2_100", pretrained=False, features_only=True, out_indices=(1, 2, 3), **args)
    missing = plain.load_state_dict(load_file(file), strict=False).missing_keys
    assert all(key.endswith("num_batches_tracked") for key in missing)
    images = torch.randn(2, 3, 224, 256)
    features = Encoder((224, 256), "mobilenetv2_100", file, timm_args=args)(images)
    for feature, expected in zip(features, plain.eval()(images), strict=True):
        assert relative_error(feature, expected) < 1e-5


def test_convolutions_that_pad_by_themselves_cannot_reflect() -> None:
    with pytest.raises(
        InputError, match=r"`padding` reflect does not go with .*: choose `padding` zeros, or leave out pad_type"
    ):
        Encoder((64, 64), "mobilenetv2_100", "random", timm_args={"pad_type": "same"}, padding="reflect")
