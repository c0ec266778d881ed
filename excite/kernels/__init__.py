"""Fused operators: batch norm, a channel's gate, shortcut and ReLU; dense blocks. See docs/speed.md."""

from excite.kernels.switch import kernels as kernels
