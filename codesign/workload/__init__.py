"""Workloads: the matrix products of a network, traced from a module or built for a named network."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from codesign.workload.types import KINDS, Operator, Workload

if TYPE_CHECKING:
    from codesign.workload.catalogue import workload_names
    from codesign.workload.intercept import ProductInterceptor
    from codesign.workload.networks import named_workload
    from codesign.workload.product import Product
    from codesign.workload.tracing import trace

__all__ = [
    "KINDS",
    "Operator",
    "Product",
    "ProductInterceptor",
    "Workload",
    "named_workload",
    "trace",
    "workload_names",
]

_WHERE = {
    "Product": "product",
    "ProductInterceptor": "intercept",
    "named_workload": "networks",
    "trace": "tracing",
    "workload_names": "catalogue",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch or reads a file at first use."""
    if name in _WHERE:
        return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
