"""Make nano, the embedded model."""
