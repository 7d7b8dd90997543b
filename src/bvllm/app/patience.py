"""What a person's own video may cost on the person's own machine."""

from bvllm.video import Limits

# `Limits()` is what a server can afford for whatever it is sent. Who names a file on a command line, or has
# it indexed, knows how large it is and can stop us: up to a day of video, however long it takes.
PATIENT = Limits(max_bytes=1 << 40, max_decoded_frames=6_000_000, max_wall_seconds=7 * 24 * 3600.0)
