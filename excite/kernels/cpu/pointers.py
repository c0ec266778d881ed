"""Typed pointers from addresses, and loads and stores of float32 and bfloat16, which numba lacks."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

intrinsic: Any = extending.intrinsic  # Any: type checkers see the signatures of the decorated functions

Float32 = types.CPointer(types.float32)
BFloat16 = types.CPointer(types.uint16)  # the upper half of a float32


def _pointer(kind: types.CPointer, bits: ir.Type) -> Any:
    @intrinsic
    def at(typing: Any, address: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], bits.as_pointer())

        return kind(types.int64), build

    return at


float32_at = _pointer(Float32, ir.FloatType())
bfloat16_at = _pointer(BFloat16, ir.IntType(16))


def _loader(written: bool) -> Any:
    @intrinsic
    def loader(typing: Any, pointer: Any, index: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            number = builder.load(builder.gep(arguments[0], [arguments[1]]))
            number.set_metadata("alias.scope" if written else "noalias", _outputs(builder))
            if pointer == Float32:
                return number
            bits = builder.shl(builder.zext(number, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(bits, ir.FloatType())

        return types.float32(pointer, types.int64), build

    return loader


def _outputs(builder: ir.IRBuilder) -> Any:
    """The alias scope of all memory that is written to.

    Without it, LLVM does not vectorize loops over several maps, because each input may overlap each output.
    """
    domain = builder.module.add_metadata(["excite"])
    return builder.module.add_metadata([builder.module.add_metadata(["excite outputs", domain])])


# The number at ``pointer[index]``, as float32: ``load`` reads an input, which does not overlap any output;
# ``fetch`` reads an output.
load, fetch = _loader(written=False), _loader(written=True)


@intrinsic
def store(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Store a float32 at ``pointer[index]``; bfloat16 is rounded to nearest, ties to even."""
    wide = pointer == Float32

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        place = builder.gep(arguments[0], [arguments[1]])
        value = arguments[2]
        if not wide:
            word, half = ir.IntType(32), ir.IntType(16)
            bits = builder.bitcast(value, word)
            above = builder.lshr(bits, word(16))
            rounded = builder.add(builder.add(bits, word(0x7FFF)), builder.and_(above, word(1)))
            is_number = builder.fcmp_ordered("ord", value, value)
            # Rounding could turn a NaN into an infinity.
            bits16 = builder.select(is_number, builder.lshr(rounded, word(16)), word(0x7FC0))
            value = builder.trunc(bits16, half)
        builder.store(value, place).set_metadata("alias.scope", _outputs(builder))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.float32), build


@intrinsic
def masked(typing: Any, y: Any, g: Any) -> Any:
    """The gradient of ReLU without a branch: g where the output y is positive, else 0."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(ir.FloatType(), 0.0)
        return builder.select(builder.fcmp_ordered(">", arguments[0], zero), arguments[1], zero)

    return types.float32(types.float32, types.float32), build
