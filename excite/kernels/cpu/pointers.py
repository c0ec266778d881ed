"""What numba lacks for loops over memory by address: typed pointers, and bfloat16 beside float32."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types

intrinsic: Any = extending.intrinsic  # to the type checker these are called as they are written

Float32 = types.CPointer(types.float32)
BFloat16 = types.CPointer(types.uint16)  # the upper half of a float32


def _pointer(kind: types.CPointer, bits: ir.Type) -> Any:
    @intrinsic
    def at(typing: Any, address: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
            return builder.inttoptr(given[0], bits.as_pointer())

        return kind(types.int64), build

    return at


float32_at = _pointer(Float32, ir.FloatType())
bfloat16_at = _pointer(BFloat16, ir.IntType(16))


def _loader(written: bool) -> Any:
    @intrinsic
    def loader(typing: Any, pointer: Any, index: Any) -> Any:
        def build(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
            found = builder.load(builder.gep(given[0], [given[1]]))
            found.set_metadata("alias.scope" if written else "noalias", _outputs(builder))
            if pointer == Float32:
                return found
            bits = builder.shl(builder.zext(found, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
            return builder.bitcast(bits, ir.FloatType())

        return types.float32(pointer, types.int64), build

    return loader


def _outputs(builder: ir.IRBuilder) -> Any:
    """The scope of all memory that is written to. Without it a loop over many maps is not vectorized: the
    compiler would have to check each input against each output."""
    domain = builder.module.add_metadata(["excite"])
    return builder.module.add_metadata([builder.module.add_metadata(["excite outputs", domain])])


# The number at ``pointer[index]``, as float32: ``load`` of an input, which overlaps no output, and ``fetch``
# of an output.
load, fetch = _loader(written=False), _loader(written=True)


@intrinsic
def store(typing: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Put a float32 at ``pointer[index]``; bfloat16 is rounded to the nearest, of two to the even one."""
    wide = pointer == Float32

    def build(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        place = builder.gep(given[0], [given[1]])
        value = given[2]
        if not wide:
            word, half = ir.IntType(32), ir.IntType(16)
            bits = builder.bitcast(value, word)
            above = builder.lshr(bits, word(16))
            rounded = builder.add(builder.add(bits, word(0x7FFF)), builder.and_(above, word(1)))
            number = builder.fcmp_ordered("ord", value, value)
            # Rounding could turn a NaN into an infinity.
            kept = builder.select(number, builder.lshr(rounded, word(16)), word(0x7FC0))
            value = builder.trunc(kept, half)
        builder.store(value, place).set_metadata("alias.scope", _outputs(builder))
        return context.get_dummy_value()

    return types.void(pointer, types.int64, types.float32), build


@intrinsic
def kept(typing: Any, y: Any, g: Any) -> Any:
    """The gradient g of a rectifier where its output y is above zero, else 0; without a branch."""

    def build(context: Any, builder: ir.IRBuilder, signature: Any, given: Any) -> Any:
        zero = ir.Constant(ir.FloatType(), 0.0)
        return builder.select(builder.fcmp_ordered(">", given[0], zero), given[1], zero)

    return types.float32(types.float32, types.float32), build
