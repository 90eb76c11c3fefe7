"""Attention, bags of embeddings, normalisations with their statistics, dropout of features."""

from __future__ import annotations

import numpy as np
import pytest

import reference_engine as T
from tests.reference.against import arrays, same_as_torch
from tests.reference.ops.directions import slopes_are_those_of_differences

KEPT = np.array([[True, False, True], [False, False, False]])  # a row without anything kept

# fmt: off
ATTENTIONS = {  # function of (engine, q, k, v)
    "plain":      lambda e, q, k, v: e.nn.functional.scaled_dot_product_attention(q, k, v),
    "scale":      lambda e, q, k, v: e.nn.functional.scaled_dot_product_attention(q, k, v, scale=0.3),
    "causal":     lambda e, q, k, v: e.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
    "boolean":    lambda e, q, k, v: e.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=e.from_numpy(KEPT)),
    "float":      lambda e, q, k, v: e.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=v[0, :2, :3] * 0.5),
    "two groups": lambda e, q, k, v: e.nn.functional.scaled_dot_product_attention(
                      e.stack([q, 2 * q, q.flip(0), -q], 1), e.stack([k, k + 1], 1), e.stack([v, v.flip(1)], 1), enable_gqa=True),
}
# fmt: on


@pytest.mark.parametrize("case", ATTENTIONS)
def test_attention(case):
    """softmax(q k^T scale + mask) v: value and both derivatives."""
    function = ATTENTIONS[case]
    data = arrays(5, (2, 2, 4), (2, 3, 4), (2, 3, 3))
    slopes_are_those_of_differences(function, data)
    same_as_torch(function, data)


def heads(e, query, memory, weight, bias, **options):
    """Two heads over vectors of four, with weights of the outer maps made from one matrix."""
    return e.nn.functional.multi_head_attention_forward(
        query, memory, memory, 4, 2, weight, bias, options.pop("bias_k", None), options.pop("bias_v", None),
        options.pop("add_zero_attn", False), 0.0, weight[:4] * 0.5, bias[:4], **options)  # fmt: skip


PADDED = np.array([[False, False, True], [False, True, False]])
OPTIONS = {
    "plain": {},
    "each head": {"average_attn_weights": False},
    "without weights": {"need_weights": False},
    "zero attention": {"add_zero_attn": True},
    "padding": {"key_padding_mask": PADDED},
    "mask": {"attn_mask": np.arange(6.0).reshape(2, 3) / 5},
    "both masks": {"key_padding_mask": PADDED, "attn_mask": np.array([[False, True, False], [False, False, False]])},
    "mask of each head": {"attn_mask": np.arange(24.0).reshape(4, 2, 3) / 9},
    "biases of keys": {"bias_k": np.full((1, 1, 4), 0.3), "bias_v": np.full((1, 1, 4), -0.2)},
}


@pytest.mark.parametrize("case", OPTIONS)
def test_several_heads(case):
    """Result and weights, with masks and additions."""

    def function(e, query, memory, weight, bias):
        made = {k: e.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in OPTIONS[case].items()}
        out, seen = heads(e, query, memory, weight, bias, **made)
        return out * out if seen is None else e.cat([out.flatten(), (seen * seen).flatten()])

    data = arrays(6, (2, 2, 4), (3, 2, 4), (12, 4), (12,))
    slopes_are_those_of_differences(function, data)
    same_as_torch(function, data, order=1 if case == "without weights" else 2)  # torch's fused kernel has no second


@pytest.mark.parametrize("batch_first", [False, True])
def test_module_of_heads_agrees_with_torch(batch_first):
    """The module has torch's parameters and computes the same from them, batched or not."""
    torch = pytest.importorskip("torch")
    results = []
    for e in (torch, T):
        module = e.nn.MultiheadAttention(
            4, 2, kdim=3, vdim=5, add_bias_kv=True, batch_first=batch_first, dtype=e.float64
        )
        with e.no_grad():
            for i, p in enumerate(module.parameters()):
                p.copy_(e.linspace(-1, 1, p.numel(), dtype=e.float64).view(p.shape) * (i + 1))
        q, k, v = (e.from_numpy(x) for x in arrays(2, (2, 3, 4), (2, 3, 3), (2, 3, 5)))
        out, seen = module(q, k, v)
        single = module(q[0], k[0], v[0])[0]
        (out.sum() + seen.pow(2).sum() + single.sum()).backward()
        results.append([out, seen, single, *[p.grad for p in module.parameters()]])
        names = [n for n, _ in module.named_parameters()]
    assert names[:3] == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    for ours, theirs in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-9)


# --- bags --------------------------------------------------------------------------------------------------------------

INDICES = np.array([2, 0, 2, 1, 2])


def bag(e, w, **options):
    offsets = e.tensor(options.pop("offsets", [0, 2, 2, 3]))
    return e.nn.functional.embedding_bag(e.from_numpy(INDICES), w, offsets, **options)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("options", [{}, {"padding_idx": -1}, {"include_last_offset": True}, {"offsets": [0]}])
def test_bags(mode, options):
    """Sum, mean or maximum of each bag, an empty one too."""
    function = lambda e, w: bag(e, w, mode=mode, **options) ** 2
    slopes_are_those_of_differences(function, arrays(3, (4, 2)), second=False, forward=False)
    same_as_torch(function, arrays(4, (4, 2)), order=1)


def test_weighted_bags():
    """Each sample has a weight, which is learned too."""
    function = lambda e, w, p: bag(e, w, mode="sum", per_sample_weights=p) ** 2
    slopes_are_those_of_differences(function, arrays(5, (3, 2), (5,)), second=False, forward=False)
    same_as_torch(function, arrays(6, (3, 2), (5,)), order=1)


def test_bags_by_frequency():
    """scale_grad_by_freq divides each row's gradient by how often the row occurs."""
    w = T.ones(4, 1, requires_grad=True)
    bag(T, w, mode="sum", scale_grad_by_freq=True).sum().backward()
    assert w.grad.flatten().tolist() == [1.0, 1.0, 1.0, 0.0]


def test_sparse_bags():
    """sparse=True gives one row of gradient for each sample that counts."""
    w = T.ones(4, 1, requires_grad=True)
    bag(T, w, sparse=True, padding_idx=1).sum().backward()
    assert w.grad.is_sparse
    assert w.grad._indices().tolist() == [[2, 0, 2, 2]]
    assert w.grad._values().flatten().tolist() == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_have_no_second_derivative(engine, mode):
    """As torch declares."""
    w, v = engine.ones(3, 2, requires_grad=True), engine.ones(4, 2, requires_grad=True)
    (g,) = engine.autograd.grad(bag(engine, w, mode=mode), w, v, create_graph=True)
    with pytest.raises(NotImplementedError, match="the derivative for '_embedding_bag_backward' is not implemented"):
        g.sum().backward()


# --- statistics ----------------------------------------------------------------------------------------------------------

# fmt: off
NATIVE = {  # function of (engine, x, weight, bias)
    "batch":    lambda e, x, w, b: e.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5)[0],
    "fixed":    lambda e, x, w, b: e.native_batch_norm(x, w, b, x[0, :, 0, 0].detach(), x[0, :, 0, 1].detach() ** 2 + 1, False, 0.1, 1e-5)[0],
    "legit":    lambda e, x, w, b: e.ops.aten._native_batch_norm_legit(x, w, b, e.zeros(4, dtype=e.float64), e.ones(4, dtype=e.float64), True, 0.1, 1e-5)[0],
    "update":   lambda e, x, w, b: e.ops.aten._batch_norm_with_update(x, w, b, e.zeros(4, dtype=e.float64), e.ones(4, dtype=e.float64), 0.1, 1e-5)[0],
    "layer":    lambda e, x, w, b: e.native_layer_norm(x.transpose(1, 3), (4,), w, b, 1e-5)[0],
    "group":    lambda e, x, w, b: e.cat([t.flatten() for t in e.native_group_norm(x, w, b, 2, 4, 4, 2, 1e-5)]),
    "response": lambda e, x, w, b: e.nn.functional.local_response_norm(x * w.view(4, 1, 1), 3, alpha=0.7, k=2.0) * b.view(4, 1, 1),
}
# fmt: on


@pytest.mark.parametrize("case", NATIVE)
def test_normalisations_with_statistics(case):
    """Value and both derivatives; those of group norm also through mean and deviation."""
    function = lambda e, x, w, b: NATIVE[case](e, x, w, b) ** 2
    data = arrays(9, (2, 4, 2, 2), (4,), (4,))
    if case != "fixed":  # its statistics are constants, made of x
        slopes_are_those_of_differences(function, data)
    same_as_torch(function, data, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("name", ["batch", "layer", "group"])
def test_statistics_agree_with_torch(name):
    """Mean and 1 / deviation in torch's shapes, and whether they are differentiable."""
    torch = pytest.importorskip("torch")
    calls = {
        "batch": lambda e, x: e.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5),
        "layer": lambda e, x: e.native_layer_norm(x, (2,), None, None, 1e-5),
        "group": lambda e, x: e.native_group_norm(x, None, None, 2, 4, 2, 2, 1e-5),
    }
    found = [calls[name](e, e.from_numpy(arrays(1, (2, 4, 2))[0]).requires_grad_()) for e in (T, torch)]
    for ours, theirs in zip(*found, strict=True):
        assert ours.requires_grad == theirs.requires_grad
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-9)
        assert tuple(ours.shape) == tuple(theirs.shape)


# --- dropout ---------------------------------------------------------------------------------------------------------------


def test_feature_alpha_dropout_drops_whole_channels(engine):
    """Each channel of each sample has one value, of two that keep mean 0 and variance 1."""
    engine.manual_seed(1)
    x = engine.ones(4, 50, 3, requires_grad=True)
    y = engine.nn.functional.feature_alpha_dropout(x, 0.5, training=True)
    y.sum().backward()
    a = (0.5 * (1 + 0.5 * 1.7580993408473766**2)) ** -0.5
    kept = (y[:, :, 0] > 0).double()
    assert engine.equal(y, y[:, :, :1].expand(4, 50, 3))
    np.testing.assert_allclose(x.grad.numpy(), (a * kept[:, :, None].expand(4, 50, 3)).numpy(), rtol=1e-6)
    assert 0 < kept.sum() < 200


def test_native_dropout_returns_its_mask(engine):
    """The result is the input times mask / (1 - p), and so is the gradient."""
    x = engine.ones(40, requires_grad=True)
    y, mask = engine.native_dropout(x, 0.75, True)
    y.sum().backward()
    assert mask.dtype is engine.bool
    assert y.tolist() == x.grad.tolist() == [4.0 if kept else 0.0 for kept in mask.tolist()]
    back = engine.ops.aten.native_dropout_backward(engine.ones(2), engine.tensor([True, False]), 4.0)
    assert back.tolist() == [4.0, 0.0]


@pytest.mark.parametrize("name", ["dropout", "alpha_dropout", "feature_alpha_dropout", "feature_dropout"])
def test_in_place_dropout(engine, name):
    """The form that ends with an underscore changes its input."""
    x = engine.ones(8, 8)
    y = getattr(engine, f"{name}_")(x, 0.5, True)
    assert y is x
    assert len(set(x.flatten().tolist())) == 2
    assert getattr(engine, f"{name}_")(engine.ones(8, 8), 0.5, False).tolist() == engine.ones(8, 8).tolist()


# fmt: off
ERRORS = [
    (RuntimeError, "Explicit attn_mask should not be set when is_causal=True", lambda e: e.nn.functional.scaled_dot_product_attention(*[e.ones(2, 2)] * 3, attn_mask=e.ones(2, 2), is_causal=True)),
    (RuntimeError, "Expected query, key, and value to have the same dtype", lambda e: e.nn.functional.scaled_dot_product_attention(e.ones(2, 2), e.ones(2, 2), e.ones(2, 2).double())),
    (RuntimeError, "Expected attn_mask dtype to be bool or float or to match query dtype", lambda e: e.nn.functional.scaled_dot_product_attention(*[e.ones(2, 2)] * 3, attn_mask=e.ones(2, 2).long())),
    (RuntimeError, "Number of heads in key and value must divide the number of heads in", lambda e: e.nn.functional.scaled_dot_product_attention(e.ones(1, 4, 3, 2), *[e.ones(1, 3, 3, 2)] * 2, enable_gqa=True)),
    (AssertionError, "embed_dim must be divisible by num_heads", lambda e: e.nn.MultiheadAttention(4, 3)),
    (RuntimeError, "Need attn_mask if specifying the is_causal hint", lambda e: e.nn.MultiheadAttention(4, 2)(*[e.ones(2, 4)] * 3, is_causal=True)),
    (AssertionError, "Expected key_padded_mask.shape[1] to be 2, but got 3", lambda e: e.nn.MultiheadAttention(4, 2)(*[e.ones(2, 3, 4)] * 3, key_padding_mask=e.zeros(3, 3).bool())),
    (ValueError, "offsets has to be a 1D Tensor but got None", lambda e: e.nn.functional.embedding_bag(e.tensor([0]), e.ones(2, 2))),
    (ValueError, "if input is 2D, then offsets has to be None", lambda e: e.nn.functional.embedding_bag(e.tensor([[0]]), e.ones(2, 2), e.tensor([0]))),
    (ValueError, "mode has to be one of sum, mean or max", lambda e: e.nn.functional.embedding_bag(e.tensor([[0]]), e.ones(2, 2), mode="foo")),
    (RuntimeError, "offsets[0] has to be 0", lambda e: e.nn.functional.embedding_bag(e.tensor([0, 1]), e.ones(2, 2), e.tensor([1]))),
    (RuntimeError, "not in the valid range [0, 2)", lambda e: e.nn.functional.embedding_bag(e.tensor([[5]]), e.ones(2, 2))),
    (RuntimeError, "padding_idx must be within the number of embeddings, -2 through 1, but got 5", lambda e: e.nn.functional.embedding_bag(e.tensor([[0]]), e.ones(2, 2), padding_idx=5)),
    (RuntimeError, "Expected weight to be a vector of size equal to the number of channels", lambda e: e.nn.functional.group_norm(e.ones(1, 4, 2), 2, e.ones(3))),
    (RuntimeError, "Expected normalized_shape to be at least 1-dimensional", lambda e: e.nn.functional.layer_norm(e.ones(2), ())),
    (RuntimeError, "mixed dtype (CPU): all inputs must share same datatype.", lambda e: e.nn.functional.layer_norm(e.ones(2).double(), (2,), e.ones(2))),
    (RuntimeError, "Feature dropout requires at least 2 dimensions in the input", lambda e: e.nn.functional.feature_alpha_dropout(e.ones(2), 0.5, True)),
    (RuntimeError, "dropout1d: Expected 2D or 3D input, but received a 1D input.", lambda e: e.nn.functional.dropout1d(e.ones(2))),
    (RuntimeError, "result type Float can't be cast to the desired output type Long", lambda e: e.nn.functional.dropout(e.ones(2).long())),
]
# fmt: on


@pytest.mark.parametrize(("error", "message", "program"), ERRORS, ids=[e[1][:40] for e in ERRORS])
def test_errors(engine, error, message, program):
    """Type and text are torch's."""
    with pytest.raises(error) as e:
        program(engine)
    assert message in str(e.value)
