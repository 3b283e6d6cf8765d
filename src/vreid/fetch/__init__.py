"""Data that others hold → a dataset's folder: downloads, archives, and parts put into place."""
