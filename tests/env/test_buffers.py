import numpy as np

from ploutos.env.buffers import Buffers


def test_array_that_somebody_holds_is_never_handed_out_again():
    buffers = Buffers((2, 3))
    held = [buffers.take().array for _ in range(10)]
    assert len({id(array) for array in held}) == 10
    for array, number in zip(held, range(10), strict=True):
        array[:] = number
    assert [array[0, 0] for array in held] == list(range(10))
    assert not np.shares_memory(held[0], held[1])


def test_array_that_is_held_by_a_view_alone_is_not_handed_out():
    buffers = Buffers((2, 3))
    views = [
        view(buffers.take().array) for view in (lambda a: a[0], memoryview, np.transpose, iter)
    ]
    taken = buffers.take().array
    for view in views[:3]:
        assert not np.shares_memory(np.asarray(view), taken)


def test_dropped_array_is_used_again():
    buffers = Buffers((2, 3))
    address = buffers.take().array.ctypes.data
    again = buffers.take()
    assert again.array.ctypes.data == again.address == address


def test_fresh_array_is_float32_of_the_shape():
    array = Buffers((4, 5)).take().array
    assert (array.shape, array.dtype) == ((4, 5), np.float32)
