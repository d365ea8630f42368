"""Python runs this first where this folder is on PYTHONPATH: it puts a fault, or steps to stop at, into the service."""

import os

from tests.sabotage import faults, stopping
from tests.sabotage.imports import after_import

if name := os.environ.get(faults.VARIABLE):
    after_import(*faults.FAULTS[name])
if stopping.VARIABLE in os.environ:
    for module, patch in stopping.PATCHES:
        after_import(module, patch)
