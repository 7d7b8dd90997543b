"""Draw scenes with many things, small ones, words and relations, and ask about space, time and both."""
