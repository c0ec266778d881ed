"""The largest image that is decoded by default; a separate file, so that ``--help`` imports no decoder."""

MAX_PIXELS = 100_000_000
"""Images with more pixels are refused by default; decoded, these take 300 MB."""
