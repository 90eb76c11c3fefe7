"""ResNet-18 beside torch's: the same state loaded into both, then compared tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as T
from tests.reference.networks import resnet18

LIMITS = {"float32": 1e-3, "float64": 1e-9}


@pytest.fixture(scope="module")
def start():
    """The state_dict of a ResNet-18 that torch initialised, as arrays.

    Biases of batch norm, which start at 0, are drawn: after two steps a bias that started at 0 is nothing but gradient,
    and at batch 1 torch's own float32 is then up to 5e-3 from its float64.
    """
    torch = pytest.importorskip("torch")
    state = torch.random.get_rng_state()
    torch.manual_seed(18)
    arrays = {name: value.numpy().copy() for name, value in resnet18(torch).state_dict().items()}
    torch.random.set_rng_state(state)
    draw = np.random.default_rng(18)
    for name, value in arrays.items():
        if name.endswith(".bias") and not value.any():
            value[...] = 0.1 * draw.standard_normal(value.shape)
    return arrays


def loaded(engine, start, dtype):
    """A ResNet-18 of `engine` with that state."""
    model = resnet18(engine).to(getattr(engine, dtype))
    matched = model.load_state_dict({name: engine.from_numpy(value.copy()) for name, value in start.items()})
    assert str(matched) == "<All keys matched successfully>"
    return model


def data(engine, batch, dtype):
    """Images and labels."""
    draw = np.random.default_rng(3)
    images = draw.standard_normal((batch, 3, 64, 64)).astype(dtype)
    return engine.from_numpy(images), engine.from_numpy(draw.integers(0, 1000, batch))


def relative(ours, theirs):
    """||ours - theirs|| / ||theirs||."""
    a, b = (np.asarray(t.detach().numpy(), np.float64) for t in (ours, theirs))
    assert a.shape == b.shape
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-300)


def step(engine, model, optimizer, images, labels):
    """One training step; returns scores and loss."""
    optimizer.zero_grad()
    scores = model(images)
    loss = engine.nn.functional.cross_entropy(scores, labels)
    loss.backward()
    optimizer.step()
    return scores, loss


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_agrees_with_torch(start, dtype, batch):
    """Scores, loss, all 62 gradients, and the parameters and running statistics after two steps agree with torch."""
    torch = pytest.importorskip("torch")
    pairs = []
    for engine in (T, torch):
        model = loaded(engine, start, dtype)
        optimizer = engine.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
        images, labels = data(engine, batch, dtype)
        scores, loss = step(engine, model, optimizer, images, labels)
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        step(engine, model, optimizer, images, labels)
        pairs.append((scores, loss, gradients, model.state_dict()))
    (scores, loss, gradients, state), (t_scores, t_loss, t_gradients, t_state) = pairs
    assert relative(loss, t_loss) <= 1e-5
    assert relative(scores, t_scores) <= LIMITS[dtype]
    assert list(gradients) == list(t_gradients)
    assert len(gradients) == 62
    far = {name: relative(g, t_gradients[name]) for name, g in gradients.items()}
    assert max(far.values()) <= LIMITS[dtype], max(far, key=far.get)
    assert list(state) == list(t_state)
    far = {name: relative(value, t_state[name]) for name, value in state.items()}
    assert max(far.values()) <= LIMITS[dtype], max(far, key=far.get)


def test_evaluation_agrees_with_torch(start):
    """In evaluation mode, with running statistics, scores and input gradient agree with torch."""
    torch = pytest.importorskip("torch")
    found = []
    for engine in (T, torch):
        model = loaded(engine, start, "float64").eval()
        images, labels = data(engine, 2, "float64")
        images.requires_grad_()
        scores = model(images)
        engine.nn.functional.cross_entropy(scores, labels).backward()
        found.append((scores, images.grad, model.bn1.num_batches_tracked))
    assert relative(found[0][0], found[1][0]) <= 1e-9
    assert relative(found[0][1], found[1][1]) <= 1e-9
    assert found[0][2].item() == found[1][2].item() == 0


def test_fine_tuning_moves_the_new_layer_alone():
    """With everything frozen but a new final layer, only that layer gets gradients and moves; the rest keeps its bits."""
    model = resnet18(T).requires_grad_(False)
    model.fc = T.nn.Linear(512, 10)
    optimizer = T.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    images, labels = data(T, 2, "float32")
    step(T, model, optimizer, images, labels % 10)
    assert sum(p.requires_grad for p in model.parameters()) == 2
    for name, p in model.named_parameters():
        new = name.startswith("fc.")
        assert (p.grad is not None) == new
        assert (p.detach().numpy().tobytes() == before[name].tobytes()) != new, name


def test_training_lowers_the_loss():
    """Twelve steps on two images bring the loss from ln(10) to nearly nothing."""
    model = resnet18(T, classes=10)
    optimizer = T.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9)
    images, labels = data(T, 2, "float32")
    losses = [step(T, model, optimizer, images, labels % 10)[1].item() for _ in range(12)]
    assert losses[0] > 1
    assert losses[-1] < 0.1
