"""torch.nn: modules, which compose operators and add no rule of derivative."""

from reference_engine.nn import functional, init, parameter, utils
from reference_engine.nn.modules.activation import (
    CELU,
    ELU,
    GELU,
    GLU,
    SELU,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softmin,
    Softplus,
    Softshrink,
    Softsign,
    Tanh,
    Tanhshrink,
    Threshold,
)
from reference_engine.nn.modules.container import ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from reference_engine.nn.modules.linear import Bilinear, Flatten, Identity, Linear, Unflatten
from reference_engine.nn.modules.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
    SmoothL1Loss,
)
from reference_engine.nn.modules.module import Module
from reference_engine.nn.parameter import Buffer, Parameter
