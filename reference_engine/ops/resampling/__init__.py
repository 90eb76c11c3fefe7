"""Resampling: taps.py says what each output position is made of, interpolation.py resizes, grids.py samples at points."""

from reference_engine.ops.resampling.grids import affine_grid, grid_sample
from reference_engine.ops.resampling.interpolation import interpolate, upsample, upsample_bilinear, upsample_nearest
