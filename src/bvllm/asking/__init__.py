"""Ask about videos through the index, and find moments in them: the room that joins inference and index."""
