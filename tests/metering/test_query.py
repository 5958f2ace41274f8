"""Every parameter of the metrics is checked, and the error names it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serai.kernel.errors import BadRequest
from serai.metering.query import PARAMETERS, encode_cursor, parse_query
from serai.metering.times import DAY, millis

NOW = datetime(2026, 5, 20, tzinfo=UTC)
MAY = {"startTime": ["2026-05-01T00:00:00Z"], "endTime": ["2026-05-02T00:00:00Z"]}


def parsed(**change):
    given = {**MAY, **{name: [value] for name, value in change.items()}}
    return parse_query(given, NOW)


@pytest.mark.parametrize(
    ("end", "resolution"),
    [
        ("2026-01-07T23:59:59Z", "hourly"),
        ("2026-01-08T00:00:00Z", "daily"),
        ("2026-03-31T23:59:59Z", "daily"),
        ("2026-04-01T00:00:00Z", "weekly"),
        ("2026-12-31T23:59:59Z", "weekly"),
        ("2027-01-01T00:00:00Z", "monthly"),
    ],
)
def test_the_resolution_fits_the_window(end, resolution):
    assert parsed(startTime="2026-01-01T00:00:00Z", endTime=end).resolution == resolution


def test_the_limits_of_resolutions_are_inclusive():
    assert parsed(endTime="2026-05-08T00:00:00Z", resolution="hourly").resolution == "hourly"
    with pytest.raises(BadRequest, match="resolution=hourly covers at most 7 days"):
        parsed(endTime="2026-05-08T00:00:01Z", resolution="hourly")
    with pytest.raises(BadRequest, match="resolution=daily"):
        parsed(endTime="2026-07-31T00:00:00Z", resolution="daily")
    with pytest.raises(BadRequest, match="resolution=weekly"):
        parsed(endTime="2027-05-03T00:00:00Z", resolution="weekly")
    assert parsed(startTime="1970-01-01T00:00:00Z", resolution="monthly").start == 0


def test_groupings_are_sorted_and_limits_clamped():
    query = parsed(groupBy="workspace, resource_uuid", limit="5000")
    assert query.group_by == ("resource_uuid", "workspace")
    assert query.limit == 100
    assert parsed(limit="7").limit == 7
    assert parsed(groupBy="").group_by == ()
    repeated = parse_query({**MAY, "groupBy": ["workspace", "resource_type"]}, NOW)
    assert repeated == parsed(groupBy="workspace,resource_type")


def test_an_offset_is_understood():
    query = parsed(startTime="2026-05-01T02:00:00+02:00")
    assert query.start == parsed().start
    assert query.end - query.start == DAY


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"startTime": ""}, "startTime is missing"),
        ({"endTime": ""}, "endTime is missing"),
        ({"startTime": "yesterday"}, "startTime is not"),
        ({"startTime": "2026-05-01"}, "startTime is not"),
        ({"startTime": "2026-05-01T00:00:00"}, "startTime is not"),
        ({"startTime": "2026-05-01T00:00:00 02:00"}, "%2B"),
        ({"startTime": "2026-13-01T00:00:00Z"}, "startTime is not"),
        ({"startTime": "0001-01-01T00:00:00+10:00"}, "startTime is not"),
        ({"startTime": "1969-12-31T23:59:59Z"}, "startTime must not"),
        ({"endTime": "9999-12-31T23:59:59Z"}, "endTime must not"),
        ({"endTime": "2026-05-01T00:00:00Z"}, "endTime must be after"),
        ({"endTime": "2026-04-01T00:00:00Z"}, "endTime must be after"),
        ({"resolution": "yearly"}, "resolution"),
        ({"groupBy": "label"}, "groupBy"),
        ({"groupBy": "workspace,"}, "groupBy"),
        ({"groupBy": "workspace,workspace"}, "groupBy names workspace twice"),
        (
            {"groupBy": "workspace,resource_type,resource_name,resource_uuid"},
            "groupBy takes at most 3",
        ),
        ({"billingDimension": "moonlight"}, "billingDimension"),
        ({"limit": "0"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"limit": "\u0663"}, "limit"),
        ({"cursor": "!!"}, "cursor"),
        ({"cursor": "e30"}, "cursor"),
        ({"listPrice": "maybe"}, "listPrice"),
        ({"label": "team"}, "label is not supported"),
        ({"unit": "gbs"}, "unit is not supported"),
        ({"groupby": "workspace"}, "did you mean groupBy"),
        ({"start_time": "x"}, "did you mean startTime"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(change, named):
    with pytest.raises(BadRequest) as refused:
        parsed(**change)
    assert named in refused.value.message


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(BadRequest, match="limit is given 2 times"):
        parse_query({**MAY, "limit": ["1", "2"]}, NOW)


def test_a_cursor_comes_back_as_the_key_it_was_made_of():
    key = ("a/\u00fc\x00",)
    query = parsed(groupBy="workspace")
    cursor = encode_cursor(query, key)
    assert parsed(groupBy="workspace", cursor=cursor).after == key
    assert parsed(groupBy="workspace", cursor=cursor, limit="3", listPrice="true").after == key


@pytest.mark.parametrize(
    "change",
    [
        {"groupBy": "resource_type"},
        {"groupBy": "resource_type,workspace"},
        {"groupBy": ""},
        {"startTime": "2026-04-30T00:00:00Z"},
        {"endTime": "2026-05-02T00:00:01Z"},
        {"resolution": "daily"},
        {"resourceType": "sandbox"},
        {"workspace": "main"},
    ],
)
def test_a_cursor_of_another_query_is_refused(change):
    cursor = encode_cursor(parsed(groupBy="workspace"), ("a",))
    with pytest.raises(BadRequest, match="cursor belongs to another query"):
        parsed(**{"groupBy": "workspace", "cursor": cursor} | change)


def test_a_cursor_with_another_number_of_values_is_refused():
    with pytest.raises(BadRequest, match="cursor"):
        parsed(groupBy="workspace", cursor=encode_cursor(parsed(groupBy="workspace"), ()))


def test_a_file_has_no_longest_window():
    window = {**MAY, "endTime": ["2030-05-01T00:00:00Z"], "resolution": ["hourly"]}
    assert parse_query(window, NOW, capped=False).resolution == "hourly"


def outcome(params):
    try:
        return "", parse_query(params, NOW)
    except BadRequest as refused:
        return refused.message, None


TEXTS = st.text(max_size=40) | st.sampled_from(
    ["2026-05-01T00:00:00Z", "hourly", "workspace", "100", "resource_uuid,workspace", "true"]
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from((*PARAMETERS, "label", "unit")) | TEXTS, st.lists(TEXTS)))
def test_whatever_is_asked_is_understood_or_refused_by_name(change):
    params = {**MAY, **change}
    message, query = outcome(params)
    if query is None:
        assert any(name.lower() in message.lower() for name in params)
        return
    assert 0 <= query.start < query.end
    assert 1 <= query.limit <= 100
    assert query.group_by == tuple(sorted(set(query.group_by)))
    assert not {"label", "unit"} & params.keys()


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2035, 12, 31))
ZONES = st.sampled_from(["Z", "z", "+00:00", "-00:00", "+05:30", "-11:00"])


@given(moment=MOMENTS, zone=ZONES, digits=st.integers(0, 9), letter=st.sampled_from("Tt"))
def test_every_rfc_3339_time_is_the_moment_it_names(moment, zone, digits, letter):
    fraction = f".{moment.microsecond:06}000"[: digits + 1] if digits else ""
    text = f"{moment:%Y-%m-%d}{letter}{moment:%H:%M:%S}{fraction}{zone}"
    query = parsed(startTime=text, endTime="2036-01-02T00:00:00Z")
    offset = timedelta(0)
    if zone.upper() != "Z":
        hours, minutes = int(zone[1:3]), int(zone[4:])
        offset = timedelta(hours=hours, minutes=minutes) * (1 if zone[0] == "+" else -1)
    whole = moment.replace(microsecond=0, tzinfo=UTC) - offset
    thousandths = int((fraction[1:] + "000")[:3])
    assert query.start == millis(whole) + thousandths


def test_unknown_parameters_are_ignored():
    assert parsed(cachebuster="1") == parsed()
