"""The least that a measurement can take: operations and bytes over what the machine reaches.

Counted from the real modules (inference/estimate.py) as ours runs them, in the dtype that was asked
for; 8-bit weights need fewer bytes and may go below.
"""

from janusflow.benchmark.cases import FIRST, Request
from janusflow.benchmark.report import FIRST_TOKEN, PER_TOKEN, PROCESSOR, WALL
from janusflow.benchmark.running import Plan
from janusflow.benchmark.weights import Facts
from janusflow.benchmark.worker import OURS
from janusflow.flow.tableaus import SOLVERS
from janusflow.inference.estimate import InferenceCost, Work, Workload, estimate, meta_model


def floors(plan: Plan, facts: Facts, ceilings: dict[str, float]) -> dict[tuple[str, str], float]:
    """Seconds, by the request's label and the quantity that cannot be less.

    Args:
        plan: what was run.
        facts: lengths of the texts.
        ceilings: operations and bytes a second, of the clock that times are read from.
    """
    clock = PROCESSOR if plan.request.device == "cpu" else WALL
    found: dict[tuple[str, str], float] = {}
    for request in plan.requests:
        if request.case == FIRST:
            continue
        work = _cost(plan.request_of(OURS, request), facts).work
        seconds = {name: each.times * _seconds(each, ceilings) for name, each in work.items()}
        if request.case == "velocity":
            found[request.label, clock] = seconds["solver step"]
        elif request.case != "ask":
            found[request.label, clock] = sum(seconds.values())
        elif request.images == 1:
            first, rest = seconds.values()
            found[request.label, FIRST_TOKEN] = first
            found[request.label, PER_TOKEN] = rest / request.new_tokens
    return found


def _cost(request: Request, facts: Facts) -> InferenceCost:
    is_asked = request.case == "ask"
    evaluations = request.steps * SOLVERS[request.solver].num_stages
    workload = Workload(
        task="ask" if is_asked else "generate",
        batch=1 if is_asked else request.batch,
        prompt_tokens=facts.question_tokens if is_asked else facts.prompt_tokens,
        steps=1 if request.case == "velocity" else evaluations,
        guidance=request.guidance,
        answer_tokens=request.new_tokens,
        dtype=request.dtype,
    )
    return estimate(meta_model(request.folder, dtype=request.dtype), workload)


def _seconds(work: Work, ceilings: dict[str, float]) -> float:
    return max(
        work.flops / ceilings["flops_per_second"], work.bytes_read / ceilings["bytes_per_second"]
    )
