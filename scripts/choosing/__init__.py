"""Parts of scripts/choose.py."""
