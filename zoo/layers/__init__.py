"""The models' building blocks, one idea a file."""
