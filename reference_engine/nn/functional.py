"""torch.nn.functional: the operators of neural networks, without state. They are declared in ops/."""

from __future__ import annotations

from reference_engine.batching.examplewise import examplewise
from reference_engine.ops import registry, unordered
from reference_engine.ops.activations import gelu, glu, gumbel_softmax, log_softmax, normalize, softmax, softplus
from reference_engine.ops.activations import log_sigmoid as logsigmoid
from reference_engine.ops.affine import bilinear, linear
from reference_engine.ops.attention import multi_head_attention_forward, scaled_dot_product_attention
from reference_engine.ops.compositions import (
    celu,
    celu_,
    elu,
    elu_,
    hardsigmoid,
    hardswish,
    hardtanh,
    hardtanh_,
    leaky_relu,
    leaky_relu_,
    mish,
    relu,
    relu6,
    rrelu,
    rrelu_,
    selu,
    selu_,
    silu,
    softmin,
    softsign,
    tanhshrink,
    threshold,
    threshold_,
)
from reference_engine.ops.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_tbc,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from reference_engine.ops.ctc import ctc_loss
from reference_engine.ops.distances import cosine_similarity, pairwise_distance, pdist
from reference_engine.ops.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from reference_engine.ops.embedding import embedding, one_hot
from reference_engine.ops.embedding_bags import embedding_bag
from reference_engine.ops.folding import fold, unfold
from reference_engine.ops.gates import hardshrink, prelu, softshrink
from reference_engine.ops.likelihoods import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    gaussian_nll_loss,
    kl_div,
    nll_loss,
    poisson_nll_loss,
)
from reference_engine.ops.linear_cross_entropy import linear_cross_entropy
from reference_engine.ops.losses import (
    huber_loss,
    l1_loss,
    mse_loss,
    reduction_of,
    smooth_l1_loss,
    soft_margin_loss,
)
from reference_engine.ops.margins import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from reference_engine.ops.normalization import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from reference_engine.ops.padding import pad
from reference_engine.ops.pooling.functions import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool1d_with_indices,
    adaptive_max_pool2d,
    adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d,
    adaptive_max_pool3d_with_indices,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool1d_with_indices,
    max_pool2d,
    max_pool2d_with_indices,
    max_pool3d,
    max_pool3d_with_indices,
)
from reference_engine.ops.pooling.more import (
    fractional_max_pool2d,
    fractional_max_pool2d_with_indices,
    fractional_max_pool3d,
    fractional_max_pool3d_with_indices,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from reference_engine.ops.products import grouped_mm
from reference_engine.ops.resampling import (
    affine_grid,
    grid_sample,
    interpolate,
    upsample,
    upsample_bilinear,
    upsample_nearest,
)
from reference_engine.ops.shuffling import channel_shuffle, native_channel_shuffle, pixel_shuffle, pixel_unshuffle

sigmoid, tanh, relu_ = (registry.functions[name] for name in ("sigmoid", "tanh", "relu_"))
unordered.activations(globals())
for _name in (
    "binary_cross_entropy_with_logits", "dropout", "dropout1d", "dropout2d", "dropout3d", "gaussian_nll_loss", "gumbel_softmax",
    "multilabel_margin_loss", "soft_margin_loss",
):  # fmt: skip
    globals()[_name] = examplewise(globals()[_name])
