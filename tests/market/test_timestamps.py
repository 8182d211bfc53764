"""The times of candle files: whatever can be read in one way only is read so, and anything else is refused."""

import datetime

import numpy as np
import pandas as pd
import pytest

from ftray.errors import DataError, SpecError
from ftray.market import FilesSpec, read_candles, survey_candles
from ftray.market.intervals import parse_interval, same_interval
from ftray.market.timestamps import read_times
from tests.market.conftest import WRITERS, legal_frame

HOURS = ["2024-01-31T23:00", "2024-02-01T00:00", "2024-02-01T01:00"]
DAYS = ["2024-01-31", "2024-02-01", "2024-02-02"]


def read(values, **how):
    return read_times(pd.Series(values, **how))


@pytest.mark.parametrize(
    ("written", "times"),
    [
        (["2024-01-31 23:00", "2024-02-01", "2024-02-01 01:00:00"], HOURS),
        (["2024-01-31 23:00:00+00:00", "2024-02-01", "2024-02-01 01:00:00+00:00"], HOURS),
        (["2024-01-31T23:00:00Z", "2024-02-01T02:00+02:00", "2024-01-31 20:00-0500"], HOURS),
        (["2024-01-31 23:00:00 UTC", "2024-02-01 00:00:00 GMT", "2024-02-01 01:00:00.000Z"], HOURS),
        (["2024/1/31 23:00", "2024/2/1 0:00", "2024/2/1 1:00"], HOURS),
        (["31/01/2024 23:00", "01/02/2024 00:00", "01/02/2024 01:00"], HOURS),
        (["31.01.2024 23:00", "01.02.2024", "1.2.2024 1:00"], HOURS),
        (["31-01-2024", "01-02-2024", "02-02-2024"], DAYS),
        (["01/31/2024 11:00 PM", "02/01/2024 12:00 AM", "02/01/2024 1:00 am"], HOURS),
        (["Jan 31, 2024", "1-Feb-2024", "2 February 2024"], DAYS),
        (["20240131", "20240201", "20240202"], DAYS),
        ([20240131, 20240201, 20240202], DAYS),
        ([2024013123, 2024020100, 2024020101], HOURS),
        ([202401312300, 202402010000, 202402010100], HOURS),
        ([20240131230000, 20240201000000, 20240201010000], HOURS),
        ([datetime.date(2024, 1, 31), datetime.date(2024, 2, 1), datetime.date(2024, 2, 2)], DAYS),
    ],
    ids=lambda values: str(values[0]),
)
def test_a_date_is_read_by_its_own_form_and_not_by_the_first_row(written, times):
    expected = np.array(times, "datetime64[ns]")
    for order in (slice(None), slice(None, None, -1)):
        np.testing.assert_array_equal(read(written[order]), expected[order])


@pytest.mark.parametrize("first", ["01/02/2024", "13/02/2024"])
def test_one_day_above_twelve_decides_for_all_rows_wherever_it_stands(first):
    assert read(["01/02/2024", first, "13/02/2024"])[0] == np.datetime64("2024-02-01")
    assert read(["02/13/2024", "01/02/2024"])[1] == np.datetime64("2024-01-02")


@pytest.mark.parametrize("separator", "/.-")
@pytest.mark.parametrize("suffix", WRITERS)
def test_days_and_months_in_an_order_that_no_row_shows_are_refused_with_file_row_and_what_to_write(
    write, suffix, separator
):
    frame = legal_frame(12, step="1D")
    frame["date"] = frame["date"].dt.strftime(f"%d{separator}02{separator}2024")
    folder = write(frame, f"BTC_USDT-1d{suffix}")
    with pytest.raises(DataError, match=rf"1d{suffix}: column 'date': must say which is the day .* '01.02.2024'"):
        read_candles(FilesSpec(path=folder, interval="1d"))
    assert "write the year first, 2024-01-31" in survey_problem(folder)


def survey_problem(folder: str) -> str:
    with pytest.raises(DataError) as caught:
        survey_candles(folder)
    return str(caught.value)


def test_days_and_months_in_two_orders_are_refused_with_a_row_of_each():
    with pytest.raises(ValueError, match="one order, got '13/02/2024' in row 0 and '02/14/2024' in row 1"):
        read(["13/02/2024", "02/14/2024"])


def test_the_unit_of_a_number_is_known_by_its_own_size():
    at = pd.date_range("2024-12-31 22:00", periods=4, freq="1h", tz="UTC")
    seconds = at.as_unit("s").astype("int64").tolist()
    mixed = [seconds[0], seconds[1] * 10**3, seconds[2] * 10**6, seconds[3] * 10**9]
    expected = at.tz_localize(None).to_numpy("datetime64[ns]")
    for order in (slice(None), slice(None, None, -1)):
        np.testing.assert_array_equal(read(mixed[order], dtype="int64"), expected[order])
    np.testing.assert_array_equal(read([str(number) for number in mixed]), expected)
    np.testing.assert_array_equal(read([float(number) for number in mixed[:3]]), expected[:3])


def test_a_file_that_goes_on_in_microseconds_gives_the_candles_of_one_in_milliseconds(write):
    frame = legal_frame(48, start="2024-12-31")
    milliseconds = frame["date"].dt.as_unit("ms").astype("int64")
    frame["date"] = milliseconds.where(frame["date"].dt.year < 2025, milliseconds * 1_000)
    candles = read_candles(FilesSpec(path=write(frame, "BTC_USDT-1h.csv")))
    np.testing.assert_array_equal(candles.times, legal_frame(48, start="2024-12-31")["date"].dt.tz_localize(None))
    assert len(candles.segments) == 1


@pytest.mark.parametrize(
    "value",
    [
        *(45_292, 0, -5, 1e300, np.inf, np.nan, 86_400),
        *("2024-01", "01/02/24", "12:00", "2024-02-30", "2024-01-01 24:00", "2024-01-01 10:00 EST", "1066-01-01"),
        *("2024-01-01 12-PM", "01/15/2024 13:00 PM", "yesterday", "99999-01-01"),
    ],
)
def test_what_names_no_time_that_a_candle_can_have_is_none(value):
    times = read([1_704_067_200, value] if not isinstance(value, str) else ["2024-01-01", value])
    assert times[0] == np.datetime64("2024-01-01") and np.isnat(times[1])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            ["1704067200", "2024-01-01"],
            "dates or numbers, not both; got '1704067200' in row 0 and '2024-01-01' in row 1",
        ),
        (["2024-01-01 01:00", "2024-01-01 02:00+02:00"], "a time zone in every row or in none, got '.*02:00' in row 1"),
        ([True, False], "must hold times, got True"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        read(values)


def test_a_row_that_is_no_time_is_refused_with_what_to_write(write):
    frame = legal_frame().astype({"date": str})
    frame.loc[2, "date"] = "01/02/24"
    with pytest.raises(DataError, match=r"row 2 .*must be a time: a date such as 2024-01-31 .*, got 01/02/24"):
        read_candles(FilesSpec(path=write(frame, "BTC_USDT-1h.csv")))


@pytest.mark.parametrize("values", [[True] * 6, pd.date_range("2024-01-01", periods=6)], ids=["truth", "times"])
def test_prices_that_are_no_numbers_are_refused(write, values):
    with pytest.raises(DataError, match="column 'volume': must hold numbers, got"):
        read_candles(FilesSpec(path=write(legal_frame().assign(volume=values))))


def test_a_comma_at_the_end_of_csv_rows_shifts_no_column(write, tmp_path):
    folder = write(legal_frame(), "BTC_USDT-1h.csv")
    header, *rows = (tmp_path / "BTC_USDT-1h.csv").read_text().splitlines()
    (tmp_path / "BTC_USDT-1h.csv").write_text("\n".join([header, *(f"{row}," for row in rows)]))
    np.testing.assert_array_equal(read_candles(FilesSpec(path=folder)).values[:, 0], legal_frame().iloc[:, 1:])


@pytest.mark.parametrize(("named", "asked"), [("1h", "60m"), ("60m", "1h"), ("3600s", "60m")])
def test_an_interval_is_a_length_however_it_is_written(write, named, asked):
    folder = write(legal_frame(), f"BTC_USDT-{named}.csv")
    assert len(read_candles(FilesSpec(path=folder, interval=asked))) == 6
    survey = survey_candles(folder, interval=asked)
    assert (survey.symbols, survey.interval) == (("BTC",), "1h")


def test_two_files_whose_intervals_are_written_differently_go_together(write):
    write(legal_frame(), "BTC_USDT-60m.csv")
    assert survey_candles(write(legal_frame(), "ETH_USDT-1h.csv")).symbols == ("BTC", "ETH")


@pytest.mark.parametrize("text", ["99999w", "54w", "9999999999h", "9" * 5_000 + "m"])
def test_a_bar_that_is_longer_than_a_year_is_refused(text):
    with pytest.raises(SpecError, match="interval: must be a"):
        parse_interval(text)
    assert not same_interval(text, "1h")
