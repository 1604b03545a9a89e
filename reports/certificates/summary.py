"""Writes README.md beside the certificates: what was scored, what was certified, and what was simulated.

PYTHONPATH=. python reports/certificates/summary.py
"""

from __future__ import annotations

from pathlib import Path

from codesign.export.certificate.record import CERTIFICATE, Certificate, read_certificate

FOLDER = Path(__file__).parent
STUDY = "reports/certificates/study"
INTRODUCTION = """\
# Certificates of the bundled networks

Every matrix product of both networks in one mixed design, computed by the software twin of its unit from the codes
that its Verilog would read, in the accumulator's own width, order and rounding. *scored*: fake quantization, as the
search measured it. *float*: the twin's products, everything else in float32. *bf16*: results of products, norms,
softmax and other operations on activations rounded to bfloat16 after each operation, as the vector unit is costed.
`study/` is a search of 12 evaluations, of whose front it keeps this design alone.
Differences are paired over the same samples, with 95 % intervals. `codesign certify` wrote the numbers, this table
comes from `reports/certificates/summary.py`.
"""
CHECK = """\

## To check it

```
{commands}
```

A check computes all hashes, the drawn tiles in both simulators and the drawn samples' outputs again. With the software
and the processor's instructions of the record the outputs are equal bit for bit; elsewhere float operations differ in
their last bits, and the check says by how much.
"""


def main() -> None:
    """Write README.md."""
    found = {
        folder.name: read_certificate(folder / CERTIFICATE) for folder in sorted(FOLDER.iterdir()) if _holds(folder)
    }
    text = [INTRODUCTION]
    for name, each in found.items():
        text.append(_section(name, each))
    commands = "\n".join(
        f"codesign certify {STUDY} --check reports/certificates/{name}/{CERTIFICATE}" for name in found
    )
    text.append(CHECK.format(commands=commands))
    (FOLDER / "README.md").write_text("\n".join(text), encoding="utf-8")


def _holds(folder: Path) -> bool:
    return (folder / CERTIFICATE).is_file()


def _section(name: str, made: Certificate) -> str:
    lines = [f"## {name}: design {made.design}, {made.vector} vector unit", "", f"Unit: `{made.unit}`", ""]
    lines += [
        "| network | metric | samples | scored | certified | difference | unit |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for task, facts in made.tasks.items():
        for each in facts.metrics:
            interval = f"{each.difference:+.4g} [{each.difference_low:+.4g}, {each.difference_high:+.4g}]"
            values = f"{each.scored.value:.5g} | {each.certified.value:.5g} | {interval} | {each.scored.unit}"
            lines.append(f"| {task} | {each.scored.metric} | {each.scored.n} | {values} |")
    lines.append("")
    for task, facts in made.tasks.items():
        modes = sorted({mode for layer in facts.layers.values() for mode in layer.modes})
        lines.append(
            f"- {task}: {len(facts.layers)} layers in {', '.join(modes)}; {facts.samples} of {facts.all_samples} "
            f"samples; {facts.seconds:.0f} s in the unit's arithmetic; {len(facts.tiles)} drawn tiles, of which "
            f"{sum(tile.twin_differs for tile in facts.tiles)} results differ from the twin's."
        )
    lines += [
        f"- {each.simulator} ({made.simulators[each.simulator]}): {each.tiles} tiles, {each.wrong} of {each.compared} "
        "rows of results differ from the twin's."
        for each in made.simulations
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
