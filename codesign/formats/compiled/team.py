"""Runs a compiled loop in the threads of torch's own OpenMP, so that no second set of threads contends for the cores.

Threads that have just computed a product for torch wait for more by spinning: a pool of our own would share a core with
them, and waking it takes longer than rounding an activation.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from codesign.openmp import libraries

_WORD, _INT, _POINTER, _VOID = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer(), ir.VoidType()


@cache
def openmp() -> tuple[int, int, int]:
    """The addresses of GOMP_parallel, omp_get_thread_num and omp_get_num_threads of torch's OpenMP; zeros without one.

    Other makes of OpenMP for Linux have GNU's entry points as well.
    """
    for library in libraries():
        try:
            found = (library.GOMP_parallel, library.omp_get_thread_num, library.omp_get_num_threads)
        except AttributeError:
            continue
        a, b, c = (ctypes.cast(each, ctypes.c_void_p).value or 0 for each in found)
        return a, b, c
    return 0, 0, 0


@intrinsic
def share(_context: Any, team: Any, loop: Any, threads: Any, first: Any, last: Any, before: Any, after: Any) -> Any:
    """Call ``loop(*before, a, b, *after)`` for parts a .. b of first .. last, in as many threads; returns nothing.

    team: `openmp`, unused with one thread. loop: a compiled function that raises nothing. before, after: tuples.
    """
    word = types.int64
    types_of_loop = (*before.types, word, word, *after.types)
    loop.dispatcher.compile(types_of_loop)
    signature = types.none(types.UniTuple(word, 3), loop, word, word, word, before, after)

    def emit(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        addresses, _, count, *bounds, head, tail = args
        compiled = loop.dispatcher.overloads[types_of_loop]
        context.active_code_library.add_linking_library(compiled.library)
        shared = [*(builder.extract_value(addresses, i) for i in (1, 2)), *bounds, head, tail]
        frame = cgutils.alloca_once(builder, ir.LiteralStructType([each.type for each in shared]))
        for i, each in enumerate(shared):
            builder.store(each, cgutils.gep_inbounds(builder, frame, 0, i))

        def function(name: str, arguments: list[Any]) -> tuple[Any, Any, list[Any]]:
            kind = ir.FunctionType(_VOID, [_POINTER, *arguments])
            made = ir.Function(builder.module, kind, f"{name}_{compiled.fndesc.mangled_name}")
            made.linkage = "internal"
            inside = ir.IRBuilder(made.append_basic_block())
            held = inside.bitcast(made.args[0], frame.type)
            return made, inside, [inside.load(cgutils.gep_inbounds(inside, held, 0, i)) for i in range(len(shared))]

        part, inside, (_, _, begin, end, head, tail) = function("part", [_WORD, _WORD])
        _, place, places = part.args
        length = inside.sub(end, begin)
        cuts = [inside.sdiv(inside.mul(length, at), places) for at in (place, inside.add(place, ir.Constant(_WORD, 1)))]
        values = [inside.extract_value(head, i) for i in range(len(before.types))]
        values += [inside.add(begin, cut) for cut in cuts]
        values += [inside.extract_value(tail, i) for i in range(len(after.types))]
        context.call_internal_no_propagate(inside, compiled.fndesc, compiled.signature, values)
        inside.ret_void()

        member, inside, (number, size, *_) = function("member", [])
        counts = [
            inside.sext(inside.call(inside.inttoptr(each, ir.FunctionType(_INT, []).as_pointer()), []), _WORD)
            for each in (number, size)
        ]
        inside.call(part, [member.args[0], *counts])
        inside.ret_void()

        data = builder.bitcast(frame, _POINTER)
        with builder.if_else(builder.icmp_signed("==", count, ir.Constant(_WORD, 1))) as (alone, together):
            with alone:
                builder.call(part, [data, ir.Constant(_WORD, 0), ir.Constant(_WORD, 1)])
            with together:
                kind = ir.FunctionType(_VOID, [member.type, _POINTER, _INT, _INT])
                parallel = builder.inttoptr(builder.extract_value(addresses, 0), kind.as_pointer())
                builder.call(parallel, [member, data, builder.trunc(count, _INT), ir.Constant(_INT, 0)])
        return context.get_dummy_value()

    return signature, emit
