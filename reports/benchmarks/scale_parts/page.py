"""scale.json as a page."""

from __future__ import annotations

import textwrap
from typing import Any

from scale_parts.places import LEADER, WORKER
from scale_parts.plan import UNIFORM, WAYS

from codesign.search.queue.queue import BEAT_S
from codesign.search.queue.worker import _IDLE_S
from codesign.search.study.run import _PAUSE, _POLL_S

_ASKED_S = 0.5  # between two questions whether the study ended (codesign/search/queue/worker.py: until_ended)
_MOST = 3  # connections of one storage (codesign/search/queue/storage.py: pool_size and max_overflow)
_POSTGRESQL = 100  # connections, as it comes
_NEAR = 0.95  # of what the workers could do: no need to say what stops them
_AS = {"vain": "read", "taken": "open"}  # operations that cost the same
_SAID = {
    "create": "the coordinator queues a trial",
    "look": "the coordinator reads the queue",
    "looked": "... for each trial in it that is not finished",
    "claim": "a worker takes a trial",
    "late": "another took it before",
    "beat": "a sign of life",
    "finish": "writes what it measured",
    "state": "asks whether the study ended",
    "read": "a worker reads the queue",
    "open": "... for each trial in it that is not finished",
    "join": "... once for each finished one",
    "empty": "reads an empty queue",
}


def markdown(record: dict[str, Any]) -> str:
    parts = (_head, _plan, _shortest, _storage, _where, _batch, _memory)
    parts += (_operations, _counted, _check, _capacity, _evaluation, _assumed)
    return "\n".join(line for part in parts for line in part(record)).rstrip() + "\n"


def _text(paragraph: str) -> str:
    after = "  " if paragraph.lstrip().startswith("- ") else ""
    return textwrap.fill(" ".join(paragraph.split()), 120, subsequent_indent=after, break_long_words=False)


def _table(heads: str, rows: list[list[str]]) -> list[str]:
    """heads: separated by bars."""
    cells = [head.strip() for head in heads.split("|")]
    return ["", _line(cells), "|" + "---|" * len(cells), *map(_line, rows), ""]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(record: dict[str, Any]) -> list[str]:
    m = record["machine"]
    return [
        "# A study of a 7B network on 10, 100 and 1,000 workers",
        "",
        _text(f"""Written by `python reports/benchmarks/scale.py`. What one operation costs is measured, how often it is
            done is counted, the rest is calculated from these and from the [assumptions](#assumed); the formulas are in
            [`plan.py`](scale_parts/plan.py). Measured on {m["cores"]} cores ({m["processor"]}) that server, clients and
            others share (load {m["load"]:.1f} before it began); PostgreSQL {m["postgresql"]} that waits for its disk,
            Optuna {m["optuna"]}, Python {m["python"]}."""),
        "",
    ]


def _plan(record: dict[str, Any]) -> list[str]:
    rows = []
    for r in record["plan"]:
        best = min((r[way] for way in WAYS), key=lambda w: w["study_h"])
        rows.append([_name(r), f"{r['workers']:,}", f"{r['wanted_per_h']:,.0f}", *(_reached(r, way) for way in WAYS)])
        rows[-1] += [str(r["batches"]), _hours(best["study_h"]), f"${best['study_price']:,.0f}"]
    quick, slow, a = record["works"][0], record["works"][1], record["assumed"]
    heads = "an evaluation | workers | evaluations an hour | directly | by the proxy | batches "
    return [
        "## Evaluations, hours, money",
        "",
        _text(f"""An evaluation is the perplexity of Llama 2 7B on {quick["windows"]} windows of {quick["tokens"]}
            tokens, or on {slow["windows"]} of {slow["tokens"]:,} (WikiText-2's test set), on one device a worker.
            `search.batch` is the number of workers. *Evaluations an hour*: workers x 3,600 / seconds; *directly*, *by
            the proxy*: what PostgreSQL ({a["server_cores"]} cores), one proxy (a Python process, before the workers
            alone), the workers' own claims and the coordinator let through of these, and which of them stops it. 1,000
            evaluations: {UNIFORM} uniform ones, then batches, the better of the two ways, and loading the weights
            ({record["start_s"]:.0f} s); workers are paid while they wait. The sensitivities before and the check of
            accumulators after it are left out."""),
        *_table(heads + "| 1,000 evaluations | price", rows),
    ]


def _reached(row: dict[str, Any], way: str) -> str:
    reached, bound = row[way]["reached_per_h"], row[way]["bound"]
    said = "claims" if bound == "workers" else bound
    return "all" if reached > _NEAR * row["wanted_per_h"] else f"{reached:,.0f} ({said})"


def _shortest(record: dict[str, Any]) -> list[str]:
    found = {(s["workers"], s["way"]): s for s in record["shortest"]}
    rows = [
        [f"{n:,}", *(f"{_time(found[n, way]['seconds'])} ({found[n, way]['bound']})" for way in WAYS)]
        for n in dict.fromkeys(n for n, _ in found)
    ]
    return [
        _text("The shortest evaluation with which storage and coordinator keep all of them busy:"),
        *_table("workers | directly | by the proxy", rows),
    ]


def _storage(record: dict[str, Any]) -> list[str]:
    rows = []
    for r in record["plan"]:
        direct, proxy = (r[way] for way in WAYS)
        rows.append([_name(r), f"{r['workers']:,}"])
        rows[-1] += [_short(direct[f"{what}_per_s"]) for what in ("statements", "transactions")]
        rows[-1] += [_short(w["bytes_per_s"] / 1e6) for w in (direct, proxy)]
        rows[-1] += [_short(direct["server_cores"]), _short(proxy["proxy_cores"]), f"{direct['coordinator_share']:.0%}"]
    idle, open_ = record["idle"], record["costs"]["direct"]["open"]
    held = record["study"]["connections_per_worker"]["mean"]
    asked = {r["workers"]: r["direct"]["looks_per_s"] for r in record["plan"]}
    said = ", ".join(f"{rate:.1f} with {n:,} workers" for n, rate in asked.items())
    heads = "an evaluation | workers | statements/s | transactions/s | MB/s | MB/s by the proxy | cores of PostgreSQL "
    return [
        "## What that asks of the storage",
        "",
        _text("If all that the workers could do were done; more than there is means that it is not."),
        *_table(heads + "| of the proxy | the coordinator's time", rows),
        _text(f"""- A worker holds {idle["connections"]:.0f} connection at rest and up to {_MOST} at moments ({held:.1f}
            with evaluations of {record["study"]["evaluation_s"]:g} s): 1,000 workers 1,000 to 3,000. PostgreSQL takes
            {_POSTGRESQL} as it comes. The proxy holds {_MOST}, however many workers it has; several proxies may stand
            before one database, each with its share of the workers."""),
        _text(f"""- While it waits, the coordinator reads the queue and pauses, {_POLL_S[1]} s or {_PAUSE} times as long
            as the reading took. Readings a second: {said}."""),
        _text(f"""- A worker without work asks {idle["transactions"]:.1f} times a second ({idle["statements"]:.1f}
            statements, {idle["wire_bytes"] / 1000:.1f} kB) where no trial is open; each open one adds
            {open_["wire_bytes"] / 1000:.1f} kB to a look. From the constants: each {_IDLE_S[1]} s for work, each
            {_ASKED_S} s for the end, {1 / _IDLE_S[1] + 1 / _ASKED_S:.1f} times a second."""),
        _text(f"- A worker at work gives a sign of life each {BEAT_S:g} s."),
        "",
    ]


def _where(record: dict[str, Any]) -> list[str]:
    row = next(r for r in reversed(record["plan"]) if r["tokens"] == record["works"][1]["tokens"])
    parts = {way: row[way]["by_operation"] for way in WAYS}

    def share(way: str, name: str, what: str) -> str:
        return f"{parts[way][name][what] / sum(p[what] for p in parts[way].values()):.0%}"

    rows = []
    for name in parts["direct"]:
        rows.append([_SAID[name], f"{parts['direct'][name]['times']:,.1f}"])
        rows[-1] += [share("direct", name, what) for what in ("statements", "wire_bytes", "server_s")]
        rows[-1] += [share("proxy", name, "proxy_s")]
    return [
        _text(f"Where it comes from, of a trial of {row['workers']:,} workers ({_name(row)}):"),
        *_table("operation | times | of statements | of bytes | of PostgreSQL's time | of the proxy's time", rows),
    ]


def _batch(record: dict[str, Any]) -> list[str]:
    first, last = record["batches"][0], record["batches"][-1]
    quick, enumerated = record["works"][0], record["enumerated"]
    checked, idle = list(enumerated[0]["shares"]), 3600 * 20 / quick["evaluation_s"]
    small = [
        [str(e["batch"]), f"{e['mean_batch']:.0f}", *(f"{e['shares'][c]:.4f}" for c in checked)] for e in enumerated
    ]
    large = [
        [str(b["batch"]), str(b["rounds"]), f"{b['ms_per_batch']:.0f} ms", f"{b['hypervolume']:.4f}"]
        for b in record["batches"]
    ]
    return [
        "## Workers and the batch",
        "",
        _text(f"""The coordinator proposes a batch, waits for the one before, and proposes the next. Two batches are
            open at a time, so at most **twice `search.batch` workers have work**. With the default of 10 the 21st
            idles: {idle:,.0f} evaluations of {quick["evaluation_s"]:.1f} s an hour, however many there are. Set
            `search.batch` to about the number of workers, half of it at least, before the study begins: resumed with
            another batch it proposes other designs, and of those measured before only the ones that it proposes again
            count. The engine takes {first["ms_per_batch"]:.0f} ms for a batch of {first["batch"]} and
            {last["ms_per_batch"]:.0f} ms for one of {last["batch"]}."""),
        "",
        _text(f"""A large batch is proposed with less known. The enumerated problem (seven layers, the true front is
            known), share of the true hypervolume after so many evaluations, mean of {enumerated[0]["seeds"]} seeds. So
            small a space has no more than a few dozen assignments worth measuring at a time; larger batches are not
            filled:"""),
        *_table("batch | proposed, mean | " + " | ".join(f"after {c}" for c in checked), small),
        _text(f"""The phone's space (102 layers), where losses are supposed: the sum of sensitivities, off by a factor.
            Hypervolume after {first["evaluations"]} evaluations over that of the first row, one seed:"""),
        *_table("batch | batches | the engine, a batch | hypervolume", large),
    ]


def _memory(record: dict[str, Any]) -> list[str]:
    weights, memory = record["weights_bytes"], record["assumed"]["memory_gb"]
    fits = int((1e9 * memory - weights) // weights)
    return [
        "## Memory of a worker",
        "",
        _text(f"""{record["network"]["parameters"] / 1e9:.2f} G parameters at 2 bytes are {weights / 1e9:.1f} GB, and as
            much again for each weight format that a worker has seen: a weight is quantized once per format and kept.
            {memory:g} GB hold the network and {fits} formats throughout, activations aside. The times above quantize
            all weights anew in each evaluation, as if nothing were kept. 1,000 workers read
            {1000 * weights / 1e12:.1f} TB when they start."""),
        "",
    ]


def _operations(record: dict[str, Any]) -> list[str]:
    rows = []
    for name, said in _SAID.items():
        if name not in record["costs"]["direct"]:
            continue
        d, p = (record["costs"][way][name] for way in WAYS)
        rows.append([said, f"{d['statements']:.0f}", f"{d['transactions']:.0f}", f"{d['wire_bytes'] / 1000:.1f}"])
        rows[-1] += [f"{d['wal_bytes'] / 1000:.1f}", *(f"{1000 * d[key]:.2f}" for key in ("server_s", "wall_s"))]
        rows[-1] += [f"{p['wire_bytes'] / 1000:.1f}", *(f"{1000 * p[key]:.2f}" for key in ("proxy_s", "wall_s"))]
    heads = "operation | statements | transactions | kB | WAL kB | PostgreSQL ms | takes ms"
    return [
        "## Measured: an operation",
        "",
        _text(f"""Trials of {record["network"]["layers"]} layers with the phone's hardware parameters. Statements
            without BEGIN and COMMIT, as PostgreSQL counts them; kB both ways; processor time of PostgreSQL and of the
            proxy; *takes*: from question to answer."""),
        *_table(heads + " | by the proxy: kB | proxy ms | takes ms", rows),
    ]


def _counted(record: dict[str, Any]) -> list[str]:
    rows = []
    for c in record["crowd"]:
        rows.append([f"{c['workers']:,}", f"{c['batch']:,}", f"{c['trials']:,.0f}"])
        rows[-1] += [f"{c['per_trial'][name]:.1f}" for name in ("late", "read", "vain")]
        rows[-1] += [f"{c['open_at_a_look']:.0f}"]
    heads = "workers | batch | trials | another took it before | reads the queue | in vain"
    return [
        "## Counted: operations a trial",
        "",
        _text("""Real workers (threads that sleep) and a real ledger on Optuna's storage in memory, two batches open.
            *In vain*: every trial was taken, which is no part of the plan, where all have work. The plan for 1,000 goes
            on from the last two in a straight line."""),
        *_table(heads + " | open when it is read", rows),
    ]


def _check(record: dict[str, Any]) -> list[str]:
    costs, rows, study = record["costs"]["direct"], [], record["study"]
    for part in study["parts"]:
        trials = f"{part['history']} to {part['history'] + part['trials']}"
        both = [f"{part['server_ms']:.1f}", f"{part['wire_bytes'] / 1000:.0f}", f"{part['wal_bytes'] / 1000:.1f}"]
        for role, said in ((LEADER, "coordinator"), (WORKER, f"{study['workers']} workers")):
            found = part[role]
            expected = sum(
                times * costs[_AS.get(name, name)]["statements"] for name, times in found["operations"].items()
            )
            rows.append([trials, said, f"{found['transactions']:.1f}", f"{found['statements']:.1f}", f"{expected:.1f}"])
            rows[-1] += [f"{expected / found['statements']:.2f}", *(both if role == WORKER else ["", "", ""])]
    heads = "trials | who | transactions | statements | from operations | ratio | PostgreSQL ms | kB | WAL kB"
    return [
        "## Checked: a whole study",
        "",
        _text(f"""The phone's space, supposed evaluations of {study["evaluation_s"]:g} s, batch {study["batch"]}: what
            PostgreSQL counted a trial, early in the study and later, and what the operations that these processes did
            add up to. The last three are of both together."""),
        *_table(heads, rows),
    ]


def _capacity(record: dict[str, Any]) -> list[str]:
    capacity, rows = record["capacity"], []
    for d, p in zip(capacity["direct"], capacity["proxy"], strict=True):
        rows.append([f"{d['workers']:.0f}", f"{d['trials_per_s']:.0f}", f"{d['server_ms_per_trial']:.1f}"])
        rows[-1] += [f"{p['trials_per_s']:.0f}", f"{p['server_ms_per_trial']:.1f}", f"{p['proxy_ms_per_trial']:.1f}"]
    heads = "workers | directly: trials a second | PostgreSQL ms a trial | by the proxy: trials a second "
    return [
        "## Measured: evaluations that take no time",
        "",
        _text(f"""{capacity["direct"][0]["trials"] + 1:.0f} trials in a full queue and worker processes that measure
            nothing, all on this machine's cores: clients take more of them than the server does."""),
        *_table(heads + "| PostgreSQL ms a trial | proxy ms a trial", rows),
    ]


def _evaluation(record: dict[str, Any]) -> list[str]:
    layer = record["layer"]
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in layer["ratio"].items())
    ns = ", ".join(f"{name} {ns:.1f}" for name, ns in layer["quantize_ns_per_weight"].items())
    moved = ", ".join(f"{name} {count:.0f}" for name, count in layer["quantize_bytes_per_weight"].items())
    tokens, rows = layer["tokens"], []
    activations = ", ".join(
        f"{name} {(a * tokens + b * tokens**2) / 1e9:.1f}" for name, (a, b) in layer["formats_bytes"].items()
    )
    for w in record["works"]:
        rows.append([f"{w['windows']} x {w['tokens']:,}", w["device"], f"{2 * w['macs'] / 1e12:,.0f}"])
        rows[-1] += [f"{w[key]:,.1f}" for key in ("products_s", "formats_s", "weights_s", "evaluation_s")]
    return [
        "## Measured and calculated: an evaluation",
        "",
        _text(f"""A decoder layer of Llama 2 7B with random weights under codesign, {layer["tokens"]} tokens, one
            thread, float32: {layer["float_s"]:.2f} s float, {layer["flop_per_s"] / 1e9:.0f} GFLOP/s; quantized over
            float: {ratios}. Quantizing a weight takes {ns} ns and moves {moved} bytes; the activations of
            {layer["tokens"]} tokens move {activations} GB: operands and results of every torch operation, counted.
            TFLOP: twice the MACs of `codesign.workload`'s prefill of llama2-7b. Products take TFLOP over the device's
            rate, formats and weights these bytes over the rate of its memory, as no operations are fused."""),
        *_table("windows | device | TFLOP | products s | formats s | weights s | an evaluation s", rows),
    ]


def _assumed(record: dict[str, Any]) -> list[str]:
    a = record["assumed"]
    rows = [
        [f"peak of {a['device']}", f"{a['peak_tflops']:g} TFLOP/s", "data sheet: bf16, dense", "`--peak-tflops`"],
        ["rate of its memory", f"{a['bandwidth_tbs']:g} TB/s", "data sheet", "`--bandwidth-tbs`"],
        ["its memory", f"{a['memory_gb']:g} GB", "data sheet", "`--memory-gb`"],
        ["share of the peak that products reach", f"{a['utilisation']:g}", "assumed", "`--utilisation`"],
        ["share of its memory's rate", f"{a['memory_utilisation']:g}", "assumed", "`--memory-utilisation`"],
        ["its price", f"${a['price']:g} an hour", "assumed", "`--price`"],
        ["price of a core", f"${a['core_price']:g} an hour", "assumed", "`--core-price`"],
        ["loading weights, a worker", f"{a['load_gbs']:g} GB/s", "assumed", "`--load-gbs`"],
        ["cores of the database's host, each as one here", f"{a['server_cores']}", "assumed", "`--server-cores`"],
        ["network between the hosts", "as fast as within one", "assumed: no round trip is added", ""],
    ]
    return ["## Assumed", *_table("what | value | source | option", rows)]


def _name(row: dict[str, Any]) -> str:
    return f"{row['windows']} x {row['tokens']:,} on {row['device']}: {_time(row['evaluation_s'])}"


def _time(seconds: float) -> str:
    if seconds < 0.95:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _hours(hours: float) -> str:
    return f"{60 * hours:.0f} min" if hours < 2 else f"{hours:,.1f} h"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
