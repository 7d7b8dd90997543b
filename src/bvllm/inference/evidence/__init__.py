"""Write what an answer rests on: the chosen frames, their times, and which patches the model attended to."""

from bvllm.inference.evidence.write import check_evidence_path, write_evidence, write_sheet

__all__ = ["check_evidence_path", "write_evidence", "write_sheet"]
