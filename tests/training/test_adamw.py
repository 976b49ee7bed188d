"""AdamW without torch's class: the same bits, and a state that torch's can go on with."""

import torch

from tinyllm.training.adamw import AdamW

SETTINGS = {"lr": 0.02, "betas": (0.9, 0.95), "weight_decay": 0.1}


def weights():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, generator=generator) for size in ((40, 24), (17,), (3, 1))]


def take_steps(optimizer, owned, seeds):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for weight in owned:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
        optimizer.zero_grad()


def test_it_has_the_bits_and_the_state_of_torchs():
    ours, theirs = weights(), weights()
    optimizer, reference = (
        AdamW(ours, **SETTINGS),
        torch.optim.AdamW(theirs, fused=True, **SETTINGS),
    )
    take_steps(optimizer, ours, range(5))
    take_steps(reference, theirs, range(5))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    state, expected = optimizer.state_dict()["state"], reference.state_dict()["state"]
    assert state.keys() == expected.keys()
    for index, values in expected.items():
        assert {name: value.dtype for name, value in state[index].items()} == {
            name: value.dtype for name, value in values.items()
        }
        assert all(torch.equal(state[index][name], value) for name, value in values.items())


def test_it_goes_on_with_the_state_of_torchs():
    ours, theirs = weights(), weights()
    reference = torch.optim.AdamW(theirs, fused=True, **SETTINGS)
    take_steps(reference, theirs, range(3))
    for weight, other in zip(ours, theirs, strict=True):
        weight.copy_(other)
    optimizer, kept = AdamW(ours, **SETTINGS), reference.state_dict()["state"]
    copied = {i: {name: v.clone() for name, v in state.items()} for i, state in kept.items()}
    optimizer.load_state_dict({"state": copied})
    take_steps(optimizer, ours, [3])
    take_steps(reference, theirs, [3])
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_weights_without_a_gradient_stay_as_they_are():
    used, unused = weights()[:2]
    before, optimizer = unused.clone(), AdamW([used, unused], **SETTINGS)
    take_steps(optimizer, [used], range(2))
    assert torch.equal(unused, before)
    assert list(optimizer.state_dict()["state"]) == [0]
