"""From text to batches: sources → tasks → tokenizers → store → batches → pipeline."""
