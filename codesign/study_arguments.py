"""The options of the commands that take a finished study."""

from __future__ import annotations

import argparse
from pathlib import Path

from codesign.commands.values import above_zero, folder, positive, seed
from codesign.parsers import OWN_FILES, add_command


def report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign report reports/studies/phone || codesign report --nights reports/studies/nightly"
    p = add_command(commands, "report", "write report.html and report.md of a study again", example)
    p.add_argument("study", type=Path, metavar="DIR", help="study folder")
    nights = (
        "write nights.html in place of the report: an index over all runs of the study in DIR, or over the studies in "
        "its subfolders, with the trend of the hypervolume and a page for each diff"
    )
    p.add_argument("--nights", action="store_true", help=nights)


def diff(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign diff reports/studies/monday reports/studies/tuesday -o message.md || codesign diff nightly"
    summary = "compare two studies; exit code 0: same or better, 1: worse, 2: not comparable"
    p = add_command(commands, "diff", summary, example)
    old = "folder of the study to compare with, or of an earlier run of one: STUDY/earlier/TIME"
    p.add_argument("old", type=Path, metavar="OLD", help=old)
    new = "folder of the new study; without it, OLD is compared with its own last earlier run"
    p.add_argument("new", type=Path, nargs="?", metavar="NEW", help=new)
    p.add_argument("-o", "--out", type=Path, metavar="FILE", help="also write the comparison to this Markdown file")
    p.add_argument("--html", type=Path, metavar="FILE", help="also write the comparison to this page")


def export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign export reports/studies/phone --design d1a2b3c4 --to brevitas -o out"
    p = add_command(
        commands, "export", "export a design's networks for a runtime or tool, or its array as Verilog", example
    )
    p.add_argument("study", type=Path, metavar="DIR", help="study folder")
    p.add_argument("--design", required=True, metavar="ID", help="id of a design in front.json")
    p.add_argument(
        "--to",
        required=True,
        metavar="TOOL",
        help="assignment (formats and scales), json (every code), compressed-tensors (transformers, vLLM), gguf "
        "(llama.cpp), onnx, torchao (and ExecuTorch), diffusers, brevitas, rtl, or the name of an installed exporter",
    )
    p.add_argument(
        "-o", "--out", type=folder, required=True, metavar="DIR", help=OWN_FILES.format("the exported files")
    )


def reference(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = add_command(
        commands,
        "reference",
        "write a design as a complete reference design: networks, formats, chip, Verilog, certificate, report",
        "codesign reference reports/studies/phone -o reference || "
        "codesign reference reports/studies/phone --design d1a2b3c4 --to onnx -o reference",
        "The folder is complete or absent: nothing is written unless the networks are what was scored and the array "
        "computes what its model does. Its README.md says what each file is.",
    )
    p.add_argument("study", type=Path, metavar="STUDY", help="study folder")
    p.add_argument("--design", metavar="ID", help="id of a design in front.json (default: the balanced one)")
    to = "exporter of the networks, as in codesign export (default json)"
    p.add_argument("--to", default="json", metavar="TOOL", help=to)
    out = OWN_FILES.format("the reference design")
    p.add_argument("-o", "--out", type=folder, required=True, metavar="DIR", help=out)
    dataflow = "output-stationary (default) or weight-stationary array"
    p.add_argument("--dataflow", choices=["output", "weight"], default="output", help=dataflow)
    samples = "evaluation samples of the certificate (default: all that decide)"
    p.add_argument("--samples", type=positive, metavar="N", help=samples)
    tiles = "tiles that the certificate simulates, see codesign certify (default 2)"
    p.add_argument("--tiles", type=positive, default=2, metavar="N", help=tiles)


def transfer(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "codesign transfer reports/studies/phone --design d1a2b3c4 --task rewrite -o rules.yaml --to llama3.2-1b"
    summary = "summarise a design's formats by role of the layer, and cost another network in them"
    p = add_command(commands, "transfer", summary, example)
    p.add_argument("study", type=Path, metavar="DIR", help="study folder")
    p.add_argument("--design", required=True, metavar="ID", help="id of a design in front.json")
    p.add_argument("--task", metavar="NAME", help="the network of the design to take formats from, if it has several")
    p.add_argument("--to", metavar="NETWORK", help="cost this network on the design's chip; quality is not measured")
    p.add_argument("--default", metavar="PAIR", help="formats for roles that the design's network does not have")
    p.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the rules, for codesign cost --rules")


def tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = (
        "codesign tune reports/studies/phone --design d1a2b3c4 || "
        "codesign tune reports/studies/phone --design d1a2b3c4 --task rewrite --minutes 10 -o tuned || "
        "codesign evaluate --task rewrite --assignment tuned/rewrite.json --weights tuned/rewrite.safetensors"
    )
    more = (
        "The float network is the teacher; it is run on calibration data (rewrite: on training text), never on "
        "evaluation data. Ctrl-C keeps the best weights so far."
    )
    p = add_command(commands, "tune", "train a design's weights in its formats for some minutes", example, more)
    p.add_argument("study", type=Path, metavar="STUDY", help="study folder")
    p.add_argument("--design", required=True, metavar="ID", help="id of a design in front.json")
    p.add_argument("--task", metavar="NAME", help="the network to tune, if not all of the design")
    out = OWN_FILES.format("the weights and tuned.json") + " (default: STUDY/tuned/ID)"
    p.add_argument("-o", "--out", type=folder, metavar="DIR", help=out)
    long = p.add_mutually_exclusive_group()
    long.add_argument("--steps", type=positive, default=200, metavar="N", help="steps for each network (default 200)")
    long.add_argument("--minutes", type=above_zero, metavar="M", help="time for each network, in place of steps")
    rate = "learning rate of Adam, times the root mean square of each weight (default 0.003)"
    p.add_argument("--lr", type=above_zero, default=0.003, metavar="R", help=rate)
    p.add_argument("--seed", type=seed, default=0, metavar="S", help="seed, 0 to 4294967295 (default 0)")


def certify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = add_command(
        commands,
        "certify",
        "run a design's networks in the arithmetic of its unit, or check the record of it",
        "codesign certify reports/studies/phone --design d1a2b3c4 --task rewrite -o certificate || "
        "codesign certify reports/studies/phone --check certificate/certificate.json",
        "Products are computed from codes as the Verilog does, drawn tiles are simulated; the record has every hash.",
    )
    p.add_argument("study", type=Path, metavar="STUDY", help="study folder")
    p.add_argument("--design", metavar="ID", help="id of a design in front.json")
    p.add_argument("--check", type=Path, metavar="FILE", help="check this certificate.json in place of making one")
    p.add_argument("--task", metavar="NAME", help="the network to certify, if not all of the design")
    out = OWN_FILES.format("certificate.json and its arrays")
    p.add_argument("-o", "--out", type=folder, metavar="DIR", help=f"{out} (default: STUDY/certified/ID)")
    samples = "evaluation samples to run (default: all that decide)"
    p.add_argument("--samples", type=positive, metavar="N", help=samples)
    tiles = "layers of each mode of the unit and kind of product of which a tile is simulated (default 2)"
    p.add_argument("--tiles", type=positive, default=2, metavar="N", help=tiles)
    vector = (
        "to what results of products, norms and softmax are rounded: bf16, as costed (default), or float, as scored"
    )
    p.add_argument("--vector", choices=["bf16", "float"], default="bf16", help=vector)
    p.add_argument("--seed", type=seed, default=0, metavar="S", help="of what is drawn, 0 to 4294967295 (default 0)")
