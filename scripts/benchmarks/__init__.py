"""What scripts/benchmark.py measures; each work in a file of its own."""
