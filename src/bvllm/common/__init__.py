"""What every room may use: threads and processes. Imports nothing else of the package."""
