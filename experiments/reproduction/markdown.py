"""Write a table's record as Markdown: accuracy by duration, by family of tasks, and what the paper says."""

from collections.abc import Iterable

from experiments.reproduction.questions import FAMILIES
from experiments.reproduction.records import VIDEO, TableRecord
from experiments.reproduction.scale import DURATIONS, VIDEO_COLUMNS, World
from experiments.reproduction.statistics import NOTHING, percent, points

COLUMNS = (*DURATIONS, VIDEO)


def as_markdown(found: TableRecord, *, heading: str = "##") -> str:
    """The page of one table, the busy world first where it has both."""
    lines = [f"{heading} {found.title}", "", found.note]
    for world in found.worlds:
        lines += ["", *_accuracy(found, world), "", *_families(found, world)]
    lines += ["", *_claims(found), "", _provenance(found)]
    return "\n".join(lines)


def _accuracy(found: TableRecord, world: World) -> list[str]:
    lines = [
        f"On the {world} world, right answers in %:",
        "",
        table_line(["", *COLUMNS, "found", "frames", "tokens", "the paper"]),
        table_line(["---"] * (len(COLUMNS) + 5)),
    ]
    for row in found.rows:
        own = row.worlds[world]
        cells = [percent(own.accuracy[name]) for name in COLUMNS]
        share = _number(None if own.found is None else 100 * own.found, 0)
        spent = [share if own.found is None else f"{share} %", _number(own.frames, 1), _number(own.tokens, 0)]
        lines.append(table_line([row.label, *cells, *spent, row.paper]))
    chance = [found.chance[world][name] for name in COLUMNS]
    guessed = [_number(None if value is None else 100 * value, 1) for value in chance]
    return [*lines, table_line(["guessing", *guessed, *[""] * 4])]


def _families(found: TableRecord, world: World) -> list[str]:
    names = FAMILIES[world]
    lines = [
        "By family of tasks, over all videos:",
        "",
        table_line(["", *names]),
        table_line(["---"] * (len(names) + 1)),
    ]
    for row in found.rows:
        lines.append(table_line([row.label, *(percent(row.worlds[world].families[name]) for name in names)]))
    return lines


def _claims(found: TableRecord) -> list[str]:
    heads = [cell for world in found.worlds for cell in (f"{world} world, points", "")]
    lines = [table_line([found.expected, "over", *heads]), table_line(["---"] * (2 + len(heads)))]
    by_world = [[claim for claim in found.claims if claim.world == world] for world in found.worlds]
    for claims in zip(*by_world, strict=True):
        columns = claims[0].columns
        over = VIDEO if tuple(columns) == VIDEO_COLUMNS else ", ".join(columns)
        cells = [cell for claim in claims for cell in (points(claim.difference), claim.verdict)]
        lines.append(table_line([claims[0].text, over, *cells]))
    return lines


def _provenance(found: TableRecord) -> str:
    told = found.conditions
    return (
        f"`{told['command']}`, commit {told['commit']}, {told['when']}; seeds "
        f"{', '.join(map(str, found.seeds))}; {found.questions} questions of each duration and "
        "world; "
        f"{found.minutes:.0f} minutes of one core for instruction and exam, shared stages apart "
        f"({told['processor']})."
    )


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def table_line(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"
