"""Models with inserted attention can be copied, saved, traced, compiled, exported, and trained."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
import torchvision
from torch import nn

from excite.errors import ExciteError
from excite.insertion.insert import convert, insert, inserted_sites, remove
from tests.insertion.nets import build, images, logits, unsettle

PLACEMENTS = ["standard", "pre", "post", "identity", "inner"]


def resnet(placement: str = "standard", **options: object) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=5)
    unsettle(model)
    return insert(model.eval(), placement=placement, **options)


X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_copies_and_pickles_compute_the_same(placement: str) -> None:
    model = resnet(placement)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)]  # noqa: S301
    for other in copies:
        assert [type(module) for module in other.modules()] == [type(module) for module in model.modules()]
        assert inserted_sites(other) == inserted_sites(model)
        assert torch.equal(logits(other, X), logits(model, X))
        assert len(list(remove(other).parameters())) == 62


def test_weights_load_into_a_model_with_newly_inserted_attention() -> None:
    model, fresh = resnet(), insert(torchvision.models.resnet18(num_classes=5)).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(logits(fresh, X), logits(model, X))


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_fx_traces_it(placement: str, training: bool) -> None:
    model = resnet(placement).train(training)
    graph = torch.fx.symbolic_trace(model)
    expected = copy.deepcopy(model)(X)
    torch.testing.assert_close(copy.deepcopy(graph)(X), expected)
    assert set(graph.state_dict()) == set(model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_export_takes_it(placement: str) -> None:
    model = resnet(placement)
    program = torch.export.export(model, (X,))
    torch.testing.assert_close(program.module()(X), logits(model, X))
    assert set(program.state_dict) == set(model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:convnext_atto", "timm:vgg11_bn"])
def test_export_takes_other_families(name: str) -> None:
    model, x = insert(build(name), reduction=4), images(name)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), logits(model, x))


@pytest.mark.slow
@pytest.mark.parametrize("placement", ["standard", "identity"])
def test_compile_takes_it_in_one_graph(placement: str) -> None:
    torch._dynamo.reset()
    model = resnet(placement)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(logits(compiled, X), logits(model, X))


@pytest.mark.slow
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_new_parameter_learns_by_the_second_step(placement: str) -> None:
    model = resnet(placement, identity=True, reduction=4).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters() if ".attention." in name}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X), torch.tensor([0, 1])).backward()
        optimizer.step()
    assert before
    for name, parameter in model.named_parameters():
        if name in before:
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0, name


def test_distributed_training_takes_it(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(resnet().train())
        for _ in range(2):
            model(X).sum().backward()
        assert model.module.layer1[0].bn2.attention.fc1.weight.grad is not None
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("library", ["torch", "timm"])
def test_synchronized_batch_norm_keeps_the_attention(library: str) -> None:
    model = resnet()
    keys, expected = list(model.state_dict()), logits(model, X)
    change = (
        nn.SyncBatchNorm.convert_sync_batchnorm if library == "torch" else timm.layers.convert_sync_batchnorm
    )
    changed = convert(copy.deepcopy(model), change)
    assert isinstance(changed.layer1[0].bn2, nn.SyncBatchNorm)
    assert list(changed.state_dict()) == keys
    torch.testing.assert_close(logits(changed, X), expected)
    with pytest.raises(
        ExciteError, match=r"layer1.0.bn2: the attention is never called, because a SyncBatchNorm"
    ):
        inserted_sites(change(copy.deepcopy(model)))


def test_hooks_modes_dtypes_devices_and_frozen_weights_are_kept() -> None:
    model = torchvision.models.resnet18().to(torch.bfloat16).eval()
    seen = []
    model.layer1[0].bn2.register_forward_hook(lambda module, inputs, output: seen.append(module))
    model.layer1[0].conv1.weight.requires_grad = False
    model.layer2.train()
    gated = insert(model)
    assert {p.dtype for p in gated.parameters()} == {torch.bfloat16}
    assert gated(X.bfloat16()).dtype == torch.bfloat16
    assert seen == [gated.layer1[0].bn2]
    assert not gated.layer1[0].conv1.weight.requires_grad
    modes = {path: module.training for path, module in model.named_modules()}
    for path, module in gated.named_modules():
        assert module.training == modes.get(path.partition(".attention")[0])
    assert next(insert(model.to("meta")).layer1[0].bn2.attention.parameters()).is_meta


def test_the_callers_random_state_determines_the_weights_and_does_not_change() -> None:
    model = torchvision.models.resnet18()
    torch.manual_seed(3)
    first = insert(model)
    after = torch.rand(())
    torch.manual_seed(3)
    assert torch.equal(torch.rand(()), after)
    torch.manual_seed(3)
    again = insert(model).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.state_dict().items())
    torch.manual_seed(4)
    other = insert(model)
    assert not torch.equal(other.layer1[0].bn2.attention.fc1.weight, first.layer1[0].bn2.attention.fc1.weight)
    assert not torch.equal(first.layer1[0].bn2.attention.fc1.weight, first.layer1[1].bn2.attention.fc1.weight)


@pytest.mark.slow
def test_the_fifty_sites_of_resnet152_share_the_values_of_the_original() -> None:
    model = torchvision.models.resnet152()
    values = [parameter.data_ptr() for parameter in model.parameters()]
    gated = insert(model)
    assert [parameter.data_ptr() for parameter in model.parameters()] == values
    assert len(inserted_sites(gated)) == 50
    assert not inserted_sites(model)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)
def test_insertion_needs_no_memory_beyond_the_copy_and_the_new_parameters() -> None:
    code = """
from pathlib import Path
import torchvision
from excite.insertion.insert import insert
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
insert(torchvision.models.resnet18())  # what is imported and allocated once
model = torchvision.models.resnet152()
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = status("VmRSS")
attended = insert(model)
size = sum(tensor.numel() * tensor.element_size() for tensor in attended.state_dict().values())
print((status("VmHWM") - before) / size)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9 < float(done.stdout) < 1.1
