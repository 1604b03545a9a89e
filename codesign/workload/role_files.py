"""YAML files of formats by role, written by `codesign transfer` and read by `codesign cost --rules`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from codesign.errors import InputError
from codesign.files import write_target
from codesign.formats import FormatPair
from codesign.workload.roles import LABEL, RoleRules
from codesign.yamlio import Written, line_of, load_yaml

_HEADER = """\
# Formats by role, as one design has them on the network that it was measured on. On any other network they are
# transferred: a proposal whose quality nobody measured. `agreement` is the share of a role's MACs that have the pair.
"""


class _RulesFile(Written):
    label: Literal["transferred"] = "transferred"
    origin: dict[str, str] = Field(default_factory=dict)
    rules: dict[str, str] = Field(min_length=1)
    default: str = ""
    agreement: dict[str, float] = Field(default_factory=dict)


def load_rules(path: Path) -> RoleRules:
    """Read rules from a file; raises InputError naming file, line, key and the nearest valid spelling."""
    written = load_yaml(path, _RulesFile)
    rules = {role: _pair(path, text, "rules", role) for role, text in written.rules.items()}
    default = _pair(path, written.default, "default") if written.default else None
    for role, pair in rules.items():
        try:
            RoleRules({role: pair})
        except InputError as error:
            raise InputError(f"{path}:{line_of(path, 'rules', role)}: rules: {error}") from None
    return RoleRules(rules, default, written.agreement, written.origin)


def write_rules(path: Path, rules: RoleRules) -> None:
    """Write rules to a file: the inverse of `load_rules`."""
    content = {
        "label": LABEL,
        "origin": dict(rules.origin),
        "rules": {role: str(pair) for role, pair in rules.rules.items()},
        **({"default": str(rules.default)} if rules.default else {}),
        "agreement": {role: round(share, 3) for role, share in rules.agreement.items()},
    }
    write_target(path, _HEADER + yaml.safe_dump(content, sort_keys=False), "--out")


def _pair(path: Path, text: str, *key: str) -> FormatPair:
    try:
        return FormatPair.parse(text).checked()
    except InputError as error:
        raise InputError(f"{path}:{line_of(path, *key)}: {'.'.join(key)}: {error}") from None
