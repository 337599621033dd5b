"""The version, in a module that costs nothing to import."""

from __future__ import annotations

VERSION = "0.1.0"
"""The same as in pyproject.toml; a test holds them together."""
