"""The run folder: file names, atomic writes, claim and resume, the manifest; imports no torch."""

from __future__ import annotations

__all__ = ["RunFolder", "environment", "replacing"]

from letheon.folder._atomic import replacing
from letheon.folder._environment import environment
from letheon.folder._run_folder import RunFolder
