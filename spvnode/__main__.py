"""``python -m spvnode`` is the ``spvnode`` command."""

from spvnode.cli import main

if __name__ == "__main__":
    main()
