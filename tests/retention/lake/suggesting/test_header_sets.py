"""Test the maps proposed for the headers of shop systems in nine languages."""

from retention.errors import BadInput
from retention.lake import Lake
from retention.lake.suggesting.suggest import suggest
from tests.retention.lake.suggesting.header_sets import HeaderSet, Outcome, judge, load_sets

MIN_RIGHT = 0.55


def _outcome(header_set: HeaderSet, settings, tmp_path) -> Outcome:
    path = tmp_path / f"{header_set.name}.csv"
    path.write_bytes(header_set.content())
    try:
        return judge(header_set, suggest(Lake.open(settings), "events", str(path)), set())
    except BadInput as error:
        return Outcome(len(header_set.expected()) or 1, 0, [], [str(error)])


def test_sets_cover_nine_languages_and_many_platforms():
    sets = load_sets()
    assert len(sets) >= 25
    assert len({each.language for each in sets}) == 9
    assert len({each.platform for each in sets}) >= 15


def test_most_canonical_columns_of_shop_systems_are_right(settings, tmp_path):
    outcomes = {each.name: _outcome(each, settings, tmp_path) for each in load_sets()}
    columns = sum(outcome.columns for outcome in outcomes.values())
    right = sum(outcome.right for outcome in outcomes.values())
    mistakes = {name: each.mistakes for name, each in outcomes.items() if each.mistakes}
    assert right >= MIN_RIGHT * columns, f"{right} of {columns}: {mistakes}"
