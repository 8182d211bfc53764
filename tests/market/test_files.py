"""Candle files: what is read, and in which words a broken file is refused."""

import numpy as np
import pandas as pd
import pytest

from ftray.errors import DataError, SpecError
from ftray.market import FilesSpec, list_symbols, read_candles
from ftray.spec import parse, to_mapping
from tests.market.conftest import WRITERS, legal_frame


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_candles(write, suffix):
    frame = legal_frame()
    candles = read_candles(FilesSpec(path=write(frame, f"BTC_USDT-1h{suffix}")))
    assert candles.symbols == ("BTC",)
    assert candles.times[0] == np.datetime64("2024-01-01T00:00:00", "ns")
    assert candles.interval == np.timedelta64(1, "h")
    assert candles.regimes is None
    columns = ["open", "high", "low", "close", "volume"]
    np.testing.assert_array_equal(candles.values[:, 0], frame[columns].to_numpy())


@pytest.mark.parametrize(
    "stamp",
    [
        lambda date: date.dt.tz_localize(None),
        lambda date: date.dt.tz_convert("Asia/Tokyo"),
        lambda date: date.dt.as_unit("s").astype("int64"),
        lambda date: date.dt.as_unit("ms").astype("int64"),
        lambda date: date.dt.as_unit("ms").astype("int64").astype(float),
        lambda date: date.dt.as_unit("ns").astype("int64"),
        lambda date: date.astype(str),
    ],
    ids=["naive", "tokyo", "seconds", "milliseconds", "float milliseconds", "nanoseconds", "text"],
)
@pytest.mark.parametrize("name", ["date", "Timestamp"])
def test_times_are_understood_however_they_are_written(write, stamp, name):
    frame = legal_frame()
    frame["date"] = stamp(frame["date"])
    candles = read_candles(FilesSpec(path=write(frame.rename(columns={"date": name}))))
    np.testing.assert_array_equal(candles.times, legal_frame()["date"].dt.tz_localize(None).to_numpy("datetime64[ns]"))


def test_columns_may_be_written_in_capitals_and_times_may_be_the_index(write):
    frame = legal_frame().rename(columns=str.title).set_index("Date")
    assert len(read_candles(FilesSpec(path=write(frame, "BTC_USDT-1h.parquet")))) == 6


def test_files_are_sorted_by_symbol_and_cut_to_common_times(write):
    write(legal_frame(6, price=10.0), "LTC_USDT-1h.feather")
    missing_middle = legal_frame(8, start="2023-12-31 23:00", price=20.0).drop(index=3).reset_index(drop=True)
    folder = write(missing_middle, "AAVE_USDT-1h.csv")
    candles = read_candles(FilesSpec(path=folder))
    assert candles.symbols == ("AAVE", "LTC")
    assert candles.times.tolist() == [int(t) for t in _hours([0, 1, 3, 4, 5])]
    assert candles.column("open")[:, 1].tolist() == [10.0, 11.0, 13.0, 14.0, 15.0]
    assert candles.column("open")[:, 0].tolist() == [21.0, 22.0, 24.0, 25.0, 26.0]
    assert [len(segment) for segment in candles.segments] == [2, 3]


@pytest.mark.parametrize(
    ("limits", "hours"),
    [
        ({"from_": "2024-01-01T02:00"}, [2, 3, 4, 5]),
        ({"to": "2024-01-01 02:00:00Z"}, [0, 1]),
        ({"from_": "2024-01-01T01:30", "to": "2024-01-01T03:30"}, [2, 3]),
        ({"from_": "2024-01-01", "to": "2024-01-02"}, [0, 1, 2, 3, 4, 5]),
        ({"from_": "2020-02-29", "to": "2099-01-01"}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_bars_are_taken_from_a_time_on_and_before_another(write, limits, hours):
    spec = FilesSpec(path=write(legal_frame()), **limits)
    assert read_candles(spec).times.tolist() == _hours(hours).tolist()
    assert parse(FilesSpec, to_mapping(spec)) == spec and set(to_mapping(spec)) >= {"from", "to"}


def test_dates_without_bars_are_refused_with_what_the_files_hold(write):
    folder, held = write(legal_frame()), "there are 6, from 2024-01-01 00:00:00 to 2024-01-01 05:00:00"
    with pytest.raises(DataError, match=f"{folder}: no bar opens from 2024-01-02 00:00:00; {held}"):
        read_candles(FilesSpec(path=folder, from_="2024-01-02"))
    with pytest.raises(DataError, match=f"no bar opens before 2023-12-31 23:59:00; {held}"):
        read_candles(FilesSpec(path=folder, to="2023-12-31T23:59"))
    with pytest.raises(SpecError, match="to: must be later than `from`, 2024-02-01; got 2024-02-01"):
        FilesSpec(path=folder, from_="2024-02-01", to="2024-02-01")


@pytest.mark.parametrize("text", ["2024", "2024-1-1", "1st of May", "2024-02-30", "2024-01-01T25:00", "2400-01-01"])
def test_a_date_that_is_none_is_refused_with_the_form_of_one(text):
    with pytest.raises(SpecError, match=r"trial.market.from: must be a date, .* such as '2024-01-01'"):
        parse(FilesSpec, {"path": "candles", "from": text}, path=("trial", "market"))


def _hours(hours):
    return (np.datetime64("2024-01-01", "ns") + np.array(hours) * np.timedelta64(1, "h")).astype("int64")


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTC_USDT-1h.csv", "BTC"),
        ("BTC_USDT.csv", "BTC"),
        ("BTC-USD.csv", "BTC"),
        ("BTC-1h.csv", "BTC"),
        ("btc.csv", "BTC"),
        ("1INCH_USDT-1h.csv", "1INCH"),
    ],
)
def test_the_symbol_is_the_base_currency_of_the_file_name(tmp_path, name, symbol):
    (tmp_path / name).touch()
    assert list_symbols(FilesSpec(path=str(tmp_path))) == (symbol,)


def test_listing_symbols_reads_no_file(tmp_path):
    for name in ("LTC_USDT-1h.feather", "BTC_USDT-1h.feather", "BTC_USDT-5m.feather", ".BTC_USDT-1h.csv", "notes.txt"):
        (tmp_path / name).write_text("not candles")
    assert list_symbols(FilesSpec(path=str(tmp_path))) == ("BTC", "LTC")


def test_symbols_choose_files_and_nothing_else_is_read(write):
    write(legal_frame(), "BTC_USDT-1h.feather")
    write(legal_frame(), "LTC_USDT-1h.feather")
    folder = write(legal_frame()[["date", "open"]], "ETH_USDT-1h.feather")
    assert read_candles(FilesSpec(path=folder, symbols=("LTC", "btc"))).symbols == ("BTC", "LTC")


@pytest.mark.parametrize(
    ("files", "settings", "words"),
    [
        ([], {}, ["no candle files", "BTC_USDT-1h.feather"]),
        (["BTC_USDT-5m.csv"], {}, ["interval 1h", "5m", "set `interval`"]),
        (["BTC_USDT-1h.csv", "BTC_USDT-1h.feather"], {}, ["BTC_USDT-1h.csv, BTC_USDT-1h.feather", "remove"]),
        (["BTC_USDT-1h.csv", "BTC_EUR-1h.csv"], {}, ["one file per symbol", "BTC_EUR-1h.csv"]),
        (["BTC_USDT-1h.csv", "ETH_BTC-1h.csv"], {}, ["one currency", "ETH_BTC-1h.csv", "symbols"]),
        (["BTC_USDT_USDT-1h-futures.csv"], {}, ["BTC_USDT_USDT-1h-futures.csv", "BASE_QUOTE-interval"]),
        (["AAVE_USDT-1h.csv"], {"symbols": ["AAVV"]}, ["'AAVV'", "did you mean 'AAVE'"]),
    ],
)
def test_a_folder_that_is_not_clear_is_refused(tmp_path, files, settings, words):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(DataError) as caught:
        list_symbols(FilesSpec(path=str(tmp_path), **settings))
    for word in [str(tmp_path), *words]:
        assert word in str(caught.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_candles(FilesSpec(path=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_unreadable_file_is_refused_with_its_name(tmp_path, suffix):
    (tmp_path / f"BTC_USDT-1h{suffix}").write_bytes(b"\x00\xff broken" if suffix != ".csv" else b"\xff\xfe\x00")
    with pytest.raises(DataError, match=rf"BTC_USDT-1h{suffix}: cannot be read.*download it again"):
        read_candles(FilesSpec(path=str(tmp_path)))


@pytest.mark.parametrize("column", ["date", "high", "volume"])
def test_a_missing_column_is_named_and_so_are_those_there(write, column):
    folder = write(legal_frame().drop(columns=column))
    with pytest.raises(DataError, match=rf"BTC_USDT-1h.feather: column {column}.* missing; it has: .*open"):
        read_candles(FilesSpec(path=folder))


def test_a_column_that_is_there_twice_is_refused(write):
    folder = write(legal_frame().assign(Close=1.0))
    with pytest.raises(DataError, match="column close is there more than once"):
        read_candles(FilesSpec(path=folder))


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("close", np.nan, "must be a finite number, got nan"),
        ("volume", np.inf, "must be a finite number, got inf"),
        ("open", 0.0, "must be a positive price, got 0"),
        ("low", -1.0, "must be a positive price, got -1"),
        ("volume", -0.5, "must be 0 or more, got -0.5"),
        ("high", 50.0, "must be at least the low, got 50"),
        ("high", 103.5, "must be at least the open and the close, got 103.5"),
        ("low", 103.5, "must be at most the open and the close, got 103.5"),
        ("date", pd.NaT, "must be a time"),
        ("date", pd.Timestamp("2024-01-01 02:00", tz="UTC"), "must be later than the row before it"),
        ("date", pd.Timestamp("2024-01-01 01:00", tz="UTC"), "must be later than the row before it"),
        ("date", pd.Timestamp("2024-01-01 03:30", tz="UTC"), "must be a whole number of intervals"),
    ],
)
def test_a_bad_value_is_refused_with_file_column_row_and_time(write, column, value, rule):
    frame = legal_frame(12)
    frame.loc[3, column] = value
    with pytest.raises(DataError) as caught:
        read_candles(FilesSpec(path=write(frame)))
    message = str(caught.value)
    assert f"BTC_USDT-1h.feather: column '{column}', row 3 counted from 0" in message
    assert rule in message
    assert "download the file again" in message
    if column != "date":
        assert "2024-01-01 03:00:00" in message


def test_text_among_the_numbers_is_shown_as_it_is(write):
    frame = legal_frame().astype({"close": object})
    frame.loc[2, "close"] = "oops"
    with pytest.raises(DataError, match=r"column 'close', row 2 .* got oops"):
        read_candles(FilesSpec(path=write(frame, "BTC_USDT-1h.csv")))


def test_a_file_of_another_interval_is_refused_with_both(write):
    folder = write(legal_frame(step="5min"), "BTC_USDT.feather")
    with pytest.raises(DataError, match="must be one interval apart, 1h, and most are 5m; set `interval`"):
        read_candles(FilesSpec(path=folder))


def test_a_file_without_rows_is_refused(write):
    with pytest.raises(DataError, match="at least 2 rows are needed, got 0"):
        read_candles(FilesSpec(path=write(legal_frame(0), "BTC_USDT-1h.csv")))


def test_files_without_common_times_are_refused_with_their_spans(write):
    write(legal_frame(), "BTC_USDT-1h.feather")
    folder = write(legal_frame(start="2025-01-01"), "LTC_USDT-1h.feather")
    with pytest.raises(DataError, match=r"LTC_USDT-1h.feather 2025-01-01 00:00:00 to 2025-01-01 05:00:00"):
        read_candles(FilesSpec(path=folder))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"interval": "1 hour"}, "interval: must be a number and a unit"),
        ({"interval": "0m"}, "interval: must be a number and a unit"),
        ({"symbols": []}, "symbols: must name at least one"),
        ({"symbols": ["BTC", "btc"]}, r"symbols\.1: names 'btc' twice"),
    ],
)
def test_a_wrong_description_is_refused(settings, words):
    with pytest.raises(SpecError, match=words):
        FilesSpec(path="anywhere", **settings)


@pytest.mark.real_data
def test_real_hourly_candles_have_seven_assets_and_their_outages(real_data):
    candles = read_candles(FilesSpec(path=str(real_data / "binance_1h")))
    assert candles.symbols == ("AAVE", "AVAX", "BTC", "ETH", "LINK", "LTC", "UNI")
    assert len(candles) == 30_979
    assert len(candles.segments) == 11
    holes = np.diff(candles.times)[[segment.stop - 1 for segment in candles.segments[:-1]]] / np.timedelta64(1, "h")
    assert holes.min() >= 2 and holes.max() <= 5


@pytest.mark.real_data
def test_real_five_minute_candles_are_one_segment_and_refused_as_hourly(real_data):
    folder = str(real_data / "binance_5m")
    candles = read_candles(FilesSpec(path=folder, interval="5m", symbols=("BTC", "ETH")))
    assert (len(candles), len(candles.segments)) == (16_992, 1)
    assert candles.bars_per_year == 365 * 288
    with pytest.raises(DataError, match="5m"):
        read_candles(FilesSpec(path=folder))
