"""`bvllm plan`: count what a question about a video would cost, without a model."""

from bvllm.cli.console import (
    Unanswerable,
    check_fps,
    check_part,
    isolate_decoding,
    silence_libraries,
    wrong_use,
)
from bvllm.cli.json_output import JsonOption, deliver
from bvllm.cli.options import (
    BudgetOption,
    EndOption,
    FpsOption,
    FramesOption,
    ModelOption,
    StartOption,
    TrustOption,
    VideoArgument,
)


def plan(
    video: VideoArgument,
    budget: BudgetOption = None,
    frames: FramesOption = None,
    fps: FpsOption = 1.0,
    start: StartOption = 0.0,
    end: EndOption = None,
    model: ModelOption = "nano",
    trust_remote_code: TrustOption = False,
    json_target: JsonOption = None,
) -> None:
    """Count what a question about a video would cost: frames, packets, tokens and memory."""
    from bvllm.inference.model_name import check_counted

    with wrong_use():
        check_fps(fps)
        check_part(start, end)
        check_counted(model)
    silence_libraries()
    from bvllm.inference.loading import ModelError
    from bvllm.inference.plan import plan_json, plan_question, plan_text
    from bvllm.video import LOCAL_LIMITS, VideoError

    try:
        isolate_decoding()
        found = plan_question(
            video,
            model=model,
            fps=fps,
            start=start,
            end=end,
            tokens=budget,
            frames=frames,
            limits=LOCAL_LIMITS,
        )
    except (VideoError, ModelError, OSError) as error:
        raise Unanswerable(str(error)) from error
    deliver(json_target, lambda: plan_text(found), lambda: plan_json(found))
