"""What a network asks for: its matrix products, traced from a module or known by name."""

from codesign.workload.intercept import Product, ProductInterceptor
from codesign.workload.networks import named_workload, workload_names
from codesign.workload.trace import trace
from codesign.workload.types import KINDS, Operator, Workload

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
