"""numpy arrays as raw bytes, Arrow tables as Arrow's own stream; both are read again without a copy.

Nothing here imports numpy or Arrow to write: a value of theirs is only met where they are imported.
"""

import base64
import math
import pickle
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec

from cerebelum_nb.codec.known import NotPlain, Reading, Writing
from cerebelum_nb.errors import PayloadRejected


def written(value: Any, to: Writing, depth: int) -> Any:
    """An array, a number or a table as JSON and raw bytes.

    Raises:
        NotPlain: It is something else.
    """
    kind = type(value)
    home = str(kind.__module__).partition(".")[0]
    module = sys.modules.get(home)
    if module is not None and home == "numpy":
        return _of_numpy(module, value, to, depth)
    if module is not None and home == "pyarrow" and (name := _arrow_name(module, kind)):
        to.enter(value, depth)
        return to.tag("arrow", [name, to.beside(_arrow_stream(module, name, value))])
    raise NotPlain


# numpy --------------------------------------------------------------------------------------------------------------


def _of_numpy(np: Any, value: Any, to: Writing, depth: int) -> Any:
    kind = type(value)
    if kind is np.ndarray:
        to.enter(value, depth)
        return _array(np, value, to, depth)
    if issubclass(kind, np.generic):
        if kind is np.str_ or kind is np.bytes_:  # as raw bytes they would lose zeros at their end
            base = str if kind is np.str_ else bytes
            return to.tag("np." + kind.__name__, to.inner(base.__getitem__(value, slice(None)), to, depth))
        return to.tag("scalar", [_descr(np, value.dtype), base64.b64encode(value.tobytes()).decode("ascii")])
    if kind is np.ma.MaskedArray:
        to.enter(value, depth)
        mask = None if value.mask is np.ma.nomask else _array(np, value.mask, to, depth)
        filled = None if value._fill_value is None else _array(np, np.asarray(value._fill_value), to, depth)  # noqa: SLF001
        data = _array(np, np.asarray(value.data), to, depth)
        return to.tag("masked", [data, mask, filled, bool(value.hardmask)])
    if kind is np.recarray:
        to.enter(value, depth)
        plain = value.view(np.dtype((np.void, value.dtype)), np.ndarray)
        return to.tag("recarray", _array(np, plain, to, depth))
    raise NotPlain


def _array(np: Any, array: Any, to: Writing, depth: int) -> Any:
    order = _order(array)
    if array.dtype == np.dtype("O"):
        items = array.ravel("C").tolist()
        return to.tag("objects", [to.inner(items, to, depth + 1), list(array.shape), order])
    descr = _descr(np, array.dtype)
    if array.nbytes == 0:
        return to.tag("array", [descr, list(array.shape), order, -1])
    return to.tag("array", [descr, list(array.shape), order, to.beside(memoryview(_raw(np, array, order)))])


def _order(array: Any) -> str:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _raw(np: Any, array: Any, order: str) -> Any:
    """An array's bytes; its own memory, unless it has strides."""
    return (array.T if order == "F" else np.ascontiguousarray(array)).reshape(-1).view(np.uint8)


def reduced(array: Any) -> Any:
    """An array as pickle takes it: exact, and beside the pickle. numpy itself loses the order of bytes of some."""
    np: Any = sys.modules["numpy"]
    try:
        descr = _descr(np, array.dtype)
    except NotPlain:
        return array.__reduce_ex__(5)
    order = _order(array)
    raw = pickle.PickleBuffer(_raw(np, array, order)) if array.nbytes else None
    return rebuilt, (descr, array.shape, order, raw)


def rebuilt(descr: Any, shape: tuple[int, ...], order: str, raw: Any) -> Any:
    """The array again, over the same bytes where they stand beside the pickle."""
    np, dtype = _dtype(descr)
    if raw is None:
        return np.empty(shape, dtype, order)
    raw = bytearray(raw) if isinstance(raw, bytes) else raw
    return np.ndarray(shape, dtype, np.frombuffer(raw, np.uint8), order=order)


def _descr(np: Any, dtype: Any) -> Any:
    if dtype.hasobject:
        raise NotPlain
    descr = np.lib.format.dtype_to_descr(dtype) if dtype.names is not None else dtype.str
    if np.lib.format.descr_to_dtype(descr) != dtype or dtype.metadata:  # a type of somebody's own
        raise NotPlain
    return descr


def _dtype(descr: Any) -> Any:
    import numpy as np  # noqa: PLC0415  only a process that gets an array pays for it

    dtype = np.lib.format.descr_to_dtype(_with_tuples(descr))
    if dtype.hasobject:  # raw bytes as pointers
        raise PayloadRejected("an array of objects cannot come as raw bytes")
    return np, dtype


def _with_tuples(descr: Any) -> Any:
    """JSON made lists of the tuples in a structured dtype's description."""
    if not isinstance(descr, list):
        return descr
    if len(descr) == 2 and isinstance(descr[1], list) and all(isinstance(n, int) for n in descr[1]):
        return _with_tuples(descr[0]), tuple(descr[1])  # a field that is an array itself
    return [
        (tuple(field[0]) if isinstance(field[0], list) else field[0], _with_tuples(field[1]), *map(tuple, field[2:]))
        for field in descr
    ]


def _read_array(item: Any, of: Reading) -> Any:
    descr, shape, order, number = item
    np, dtype = _dtype(descr)
    if number < 0:
        if math.prod(shape) * dtype.itemsize:  # it would show what lay in memory
            raise PayloadRejected("an array came without its bytes")
        return np.empty(shape, dtype, order)
    return np.ndarray(shape, dtype, np.frombuffer(of.buffers[number], np.uint8), order=order)


def _read_objects(item: Any, of: Reading) -> Any:
    import numpy as np  # noqa: PLC0415  only a process that gets an array pays for it

    items, shape, order = item
    items = of.inner(items, of)
    flat = np.empty(len(items), dtype=object)
    for place, one in enumerate(items):  # at once, lists among them would be taken for rows
        flat[place] = one
    return np.asarray(flat.reshape(shape), order=order)


def _read_scalar(item: Any, _: Reading) -> Any:
    np, dtype = _dtype(item[0])
    return np.frombuffer(base64.b64decode(item[1]), dtype)[0]


def _read_masked(item: Any, of: Reading) -> Any:
    import numpy as np  # noqa: PLC0415  only a process that gets an array pays for it

    data, mask, filled, hard = (of.inner(part, of) for part in item)
    mask = np.ma.nomask if mask is None else mask
    return np.ma.MaskedArray(data, mask=mask, fill_value=filled, hard_mask=hard)


def _read_recarray(item: Any, of: Reading) -> Any:
    import numpy as np  # noqa: PLC0415  only a process that gets an array pays for it

    return of.inner(item, of).view(np.recarray)


def _read_text(name: str) -> Callable[[Any, Reading], Any]:
    def read(item: Any, of: Reading) -> Any:
        import numpy as np  # noqa: PLC0415  only a process that gets an array pays for it

        return getattr(np, name)(of.inner(item, of))

    return read


def kept_before(data: memoryview) -> Any:
    """An array as it was kept on disk until version 0.2: a description and the raw bytes in one piece."""
    end = 4 + int.from_bytes(data[:4], "big")
    descr, shape, order = msgspec.json.decode(data[4:end])
    np, dtype = _dtype(descr)
    return np.ndarray(shape, dtype, np.frombuffer(data[end:], np.uint8).copy(), order=order)


# Arrow --------------------------------------------------------------------------------------------------------------


def _arrow_name(pa: Any, kind: type) -> str:
    if kind in (pa.Table, pa.RecordBatch, pa.ChunkedArray):
        return kind.__name__
    return "Array" if issubclass(kind, pa.Array) else ""


def _arrow_stream(pa: Any, name: str, value: Any) -> memoryview:
    """Arrow's stream of a table."""
    if name == "Array":
        value = pa.RecordBatch.from_arrays([value], names=["0"])
    elif name == "ChunkedArray":
        value = pa.Table.from_arrays([value], names=["0"])
    elif not value.num_columns:
        raise NotPlain  # its number of rows is not in the stream
    sink = pa.BufferOutputStream()
    try:
        with pa.ipc.new_stream(sink, value.schema) as stream:
            stream.write(value)
    except pa.ArrowException as exc:
        raise NotPlain from exc
    return memoryview(sink.getvalue())


def _read_arrow(item: Any, of: Reading) -> Any:
    import pyarrow as pa  # noqa: PLC0415  only a process that gets a table pays for it

    name, number = item
    with pa.ipc.open_stream(pa.py_buffer(of.buffers[number])) as stream:
        if name in ("RecordBatch", "Array"):
            batch = stream.read_next_batch()
            if of.safe_only:
                batch.validate(full=True)
            return batch if name == "RecordBatch" else batch.column(0)
        table = stream.read_all()
    if of.safe_only:
        table.validate(full=True)
    return table if name == "Table" else table.column(0)


READ: Final[dict[str, Callable[[Any, Reading], Any]]] = {
    "$array": _read_array,
    "$objects": _read_objects,
    "$scalar": _read_scalar,
    "$masked": _read_masked,
    "$recarray": _read_recarray,
    "$np.str_": _read_text("str_"),
    "$np.bytes_": _read_text("bytes_"),
    "$arrow": _read_arrow,
}
