"""Threads, processes, files and text: what every room may use. Imports nothing else of the package."""
