"""vlrepro: re-run three vision-language papers, from dataset fetch to the printed tables."""

__version__ = "0.1.0"
