"""The `lading` command. `main` is its entry point; each other module holds the commands of one purpose."""

from lading.cli.main import main

__all__ = ["main"]
