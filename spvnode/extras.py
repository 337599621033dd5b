"""What is installed beside the daemon for what not everybody wants: the extras of ``pyproject.toml``."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """For an error or a page. No package index has spvnode: an extra comes from the checkout."""
    return f".venv/bin/pip install '.[{extra}]' in the checkout"
