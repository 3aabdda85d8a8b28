"""Arrays over memory that something else owns. In: an address, a shape, a dtype. Out: an array.

Such arrays are not counted by reference, so that inner loops do not count either. Whoever makes one
sees to it that the memory outlives it.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numba.np import arrayobj

from ploutos.compiled import compiled

# What a processor reads of memory at once.
LINE_BYTES = 64


def _array_at(readonly: bool) -> Any:
    """Return the compiled function (address, shape, dtype) -> array over the memory there."""

    @intrinsic
    def array_at(
        _typing: Any, address: types.Type, shape: types.BaseTuple, dtype: types.NumberClass
    ) -> tuple[Signature, Any]:
        kind = types.Array(dtype.dtype, len(shape), "C", readonly=readonly)

        def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
            array = context.make_array(kind)(context, builder)
            integer = context.get_value_type(types.intp)
            of_value = context.get_data_type(kind.dtype)
            itemsize = integer(context.get_abi_sizeof(of_value))
            sizes = cgutils.unpack_tuple(builder, values[1], count=len(shape))
            strides = [itemsize]
            for size in reversed(sizes[1:]):
                strides.insert(0, builder.mul(strides[0], size))
            arrayobj.populate_array(
                array,
                data=builder.inttoptr(values[0], of_value.as_pointer()),
                shape=sizes,
                strides=strides,
                itemsize=itemsize,
                meminfo=None,
                parent=None,
            )
            return array._getvalue()

        return kind(address, shape, dtype), generate

    return array_at


readable_at = _array_at(readonly=True)
writable_at = _array_at(readonly=False)


@compiled
def flat_row(values: np.ndarray, row: int) -> np.ndarray:
    """Return row `row` of (T, N, F) float32 values as (N*F,), which `reshape` would call C for."""
    length = values.shape[1] * values.shape[2]
    return readable_at(values.ctypes.data + row * length * values.itemsize, (length,), np.float32)


@intrinsic
def prefetch(_typing: Any, address: types.Type) -> tuple[Signature, Any]:
    """Ask for the memory at an address before it is needed; any address will do."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> ir.Value:
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # To be read, kept close, data.
        builder.call(function, [builder.inttoptr(values[0], byte), flag(0), flag(3), flag(1)])
        return cgutils.get_null_value(ir.IntType(64))

    return types.int64(types.intp), generate


@compiled
def copy_values(values: np.ndarray, out: np.ndarray) -> None:
    """Copy one row of values into another; an assignment would be compiled with all its errors."""
    for i in range(out.shape[0]):
        out[i] = values[i]
