"""Put the server under good and hostile clients at once: python -m benchmarks.server_load --help."""
