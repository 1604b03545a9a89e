"""The share of a phone's DRAM interface that an accelerator is charged, from published bandwidths, to dram_share.md.

    python reports/validation/dram_share.py

The interface belongs to the whole chip: no die photograph says which part of it is there for the NPU. It is charged by
what each engine can draw: the share of the peak that the NPU draws alone, over the sum of such shares.
Ends and middle of `dram_interface_share` (codesign/hardware/data/system.yaml) are this page's; a mismatch is
an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from codesign.hardware.units.coefficients import table

HERE = Path(__file__).parent
ANE = "ANEMLL-Bench, Results.MD of 2026-09: weights of a language model's last layer, read by the Neural Engine"
HEXAGON = "github.com/chraac/llama.cpp, issue 34: reads by vector instructions, named approximate; 4800 MHz LPDDR5X"


@dataclass(frozen=True)
class Drawn:
    """Bandwidth that one engine reaches alone, and the peak of the chip's DRAM: GB/s."""

    chip: str
    gb_per_s: float
    peak: float
    source: str
    phone: bool = True  # 64 to 128 bits of DRAM, as phones and their sister chips have

    @property
    def share(self) -> float:
        return self.gb_per_s / self.peak


NPUS = (
    Drawn("M1", 60.87, 68.3, ANE),
    Drawn("M2", 60.45, 100, ANE),
    Drawn("M3", 63.10, 100, ANE),
    Drawn("M4", 64.18, 120, ANE),
    Drawn("M5", 70.21, 154, ANE),
    Drawn("M6", 152.01, 170, ANE),
    Drawn("Snapdragon 8 Gen 3", 26, 76.8, HEXAGON),
    Drawn("M1 Pro", 54.90, 200, ANE, phone=False),
    Drawn("M2 Pro", 61.93, 200, ANE, phone=False),
    Drawn("M4 Pro", 126.36, 273, ANE, phone=False),
    Drawn("M1 Max", 54.62, 400, ANE, phone=False),
    Drawn("M2 Max", 62.01, 400, ANE, phone=False),
    Drawn("M3 Max", 120.22, 400, ANE, phone=False),
    Drawn("M4 Max", 118.88, 546, ANE, phone=False),
    Drawn("M5 Max", 148.39, 614, ANE, phone=False),
)
GPUS = (
    Drawn("M1", 50.4, 68.3, "chipsandcheese.com, as quoted by StarBeat/cpu-gpu-arch"),
    Drawn("Snapdragon 8cx Gen 3", 57.9, 68.3, "clpeak on Adreno 690, gist by woachk"),
)


def charges() -> dict[str, float]:
    """Ends and middle of the share that is charged: phones' NPUs beside few or many other engines."""
    shares = [each.share for each in NPUS if each.phone]
    others = [each.share for each in GPUS]  # one engine; a CPU is taken to draw what a GPU draws
    fewest, most = 2 * min(others), 3 * max(others)
    return {
        "low": _charge(min(shares), most),
        "value": _charge(median(shares), (fewest + most) / 2),
        "high": _charge(max(shares), fewest),
    }


def _charge(own: float, others: float) -> float:
    return own / (own + others)


def _page(found: dict[str, float]) -> str:
    def rows(drawn: tuple[Drawn, ...]) -> str:
        return "\n".join(f"| {d.chip} | {d.gb_per_s:g} | {d.peak:g} | {d.share:.2f} | {d.source} |" for d in drawn)

    head = "| chip | GB/s | peak, GB/s | share | source |\n|---|--:|--:|--:|---|\n"
    phones = tuple(each for each in NPUS if each.phone)
    larger = tuple(each for each in NPUS if not each.phone)
    shares = [each.share for each in phones]
    others = [each.share for each in GPUS]
    return (
        "# The share of the DRAM interface that an accelerator is charged\n\nWritten by "
        "`python reports/validation/dram_share.py`. PHY and controllers serve the whole chip; no maker says which part "
        "of them its NPU needs. They are charged by what can draw on them: what the NPU alone can draw, over the sum "
        "of what each engine alone can draw.\n\n"
        f"## NPUs on 64 to 128 bits of DRAM\n\n{head}{rows(phones)}\n\n"
        f"## GPUs on as much\n\n{head}{rows(GPUS)}\n\n"
        "## The charge\n\n| end | NPU | others | charge |\n|---|--:|--:|--:|\n"
        f"| low: the least of the NPUs; CPU, GPU, and camera, display and video together | {min(shares):.2f} | "
        f"{3 * max(others):.2f} | {found['low']:.2f} |\n"
        f"| value: the median, between these | {median(shares):.2f} | {min(others) + 1.5 * max(others):.2f} | "
        f"{found['value']:.2f} |\n"
        f"| high: the largest; CPU and GPU only | {max(shares):.2f} | {2 * min(others):.2f} | {found['high']:.2f} |\n\n"
        "A CPU is taken to draw what a GPU draws, and camera, display and video together as much again; no measurement "
        "of either is at hand. In the model the accelerator draws all that the DRAM gives, as the largest of these "
        "NPUs nearly do.\n\nAn interface that nobody else uses is charged wholly: add its area times one less the "
        "share. Left out are chips of laptops, whose NPUs draw less of far more bandwidth, which is there for their "
        "GPUs:\n\n"
        f"{head}{rows(larger)}\n"
    )  # fmt: skip


def main() -> None:
    found = charges()
    used = table("system.yaml", "area")["dram_interface_share"]
    for end, share in found.items():
        if abs(getattr(used, end) - share) > 0.005:
            raise SystemExit(f"system.yaml has dram_interface_share {end}: {getattr(used, end)}, this page {share:.2f}")
    (HERE / "dram_share.md").write_text(_page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
