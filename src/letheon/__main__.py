"""``python -m letheon``."""

from __future__ import annotations

from letheon.cli import main

if __name__ == "__main__":
    main()
