"""Behavioural Verilog of library cells, to simulate a synthesised netlist without the models of a PDK."""

from __future__ import annotations

from collections.abc import Iterable

from codesign.errors import InputError, nearest
from codesign.hardware.calibration.liberty.library import Cell, Library
from codesign.hardware.calibration.liberty.logic import BooleanExpression
from codesign.hardware.calibration.liberty.lookup import at, table_of


def verilog_models(library: Library, cells_used: Iterable[str]) -> str:
    """One module per cell: assignments for gates, an ``always`` block for flip-flops, whose initial state is 0.

    Raises InputError for a cell that is not in the library, or that is neither a gate nor a flip-flop.
    """
    return "\n".join(_model(library_cell(library, name)) for name in sorted(set(cells_used)))


def library_cell(library: Library, name: str) -> Cell:
    """The cell called `name`. Raises InputError if it is missing, or neither a gate nor a flip-flop."""
    cell = library.cells.get(name)
    if cell is None:
        raise InputError(f"the library {library.name} has no cell {name!r}{nearest(name, library.cells)}")
    if cell.latch or not cell.functions:
        raise InputError(f"cell {name!r} of {library.name} is neither a gate nor a flip-flop")
    return cell


def _model(cell: Cell) -> str:
    ports = [f"input {pin}" for pin in cell.inputs_ff] + [f"output {pin}" for pin in cell.functions]
    lines = [f"module {cell.name}({', '.join(ports)});"]
    ff = cell.ff
    if ff is not None:
        lines += [f"  reg {ff.state};", f"  initial {ff.state} = 1'b0;", f"  wire {ff.inverse} = ~{ff.state};"]
        events, branches = [_edge(ff.clocked_on)], []
        for condition, value in ((ff.clear, 0), (ff.preset, 1)):
            if condition is not None:
                events.append(_edge(condition))
                branches.append(f"if ({condition.verilog()}) {ff.state} <= 1'b{value}; else ")
        update = f"{''.join(branches)}{ff.state} <= {ff.next_state.verilog()};"
        lines.append(f"  always @({' or '.join(events)}) {update}")
    lines += [f"  assign {pin} = {function.verilog()};" for pin, function in cell.functions.items()]
    return "\n".join([*lines, "endmodule", ""])


def _edge(expression: BooleanExpression) -> str:
    """The Verilog event at which a pin, or its complement, becomes true."""
    inner = expression.operands[0] if expression.kind == "not" else expression
    if inner.kind != "var":
        raise InputError(f"a flip-flop with the event {expression.verilog()} cannot be modelled")
    return f"{'posedge' if expression.kind == 'var' else 'negedge'} {inner.name}"


def cells_delay(library: Library) -> tuple[float, float]:
    """(clock-to-output delay, setup time) of the flip-flop that units use, in ps; the slower of rise and fall.

    Evaluated at an operating point typical of small units: a load of four of the smallest inverters and the slew of the
    table's second point. 0 if the library has no delay tables.
    """
    cell = library.flip_flop
    assert cell.ff is not None
    load = 4 * next(iter(library.inverter.inputs_ff.values())) / library.load_ff
    delays = [
        at(table, table.index_1[1] if len(table.index_1) > 1 else 0.0, load)
        for arc in cell.ff.timing
        for kind in ("cell_rise", "cell_fall")
        if (table := table_of(arc, kind)) is not None
    ]
    setups = [
        at(table, *(index[1] if len(index) > 1 else 0.0 for index in (table.index_1, table.index_2)))
        for arc in cell.ff.setup
        for kind in ("rise_constraint", "fall_constraint")
        if (table := table_of(arc, kind)) is not None
    ]
    return max(delays, default=0.0) * library.time_ps, max(setups, default=0.0) * library.time_ps
