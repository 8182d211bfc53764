"""What a folder of candles holds: each file measured, and each file that cannot be used refused with what to do."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftray.errors import DataError, SpecError
from ftray.market import FilesSpec, read_candles, survey_candles
from ftray.market.overlap import Overlap
from tests.market.conftest import legal_frame


def test_each_file_is_measured(write):
    write(legal_frame(10).drop(index=[4, 5]), "ETH_USDT-1h.csv")
    folder = write(legal_frame(8, start="2024-01-01 01:00"), "BTC_USDT-1h.feather")
    survey = survey_candles(folder)
    assert survey.symbols == ("BTC", "ETH") and survey.interval == "1h" and survey.left_out == ()
    assert [len(file.times) for file in survey.files] == [8, 8]
    assert [file.n_gaps for file in survey.files] == [0, 1]
    assert survey.files[1].span == "2024-01-01 00:00:00 to 2024-01-01 09:00:00"
    assert [len(segment) for segment in survey.segments] == [3, 3]
    assert survey.costs == {"BTC": 8 - 6, "ETH": 8 - 6}
    assert survey.bars_per_year == 24 * 365


def test_the_times_are_those_that_the_reader_of_a_study_finds(write):
    write(legal_frame(50).drop(index=[20]), "ETH_USDT-1h.csv")
    folder = write(legal_frame(60, start="2024-01-01 05:00"), "BTC_USDT-1h.feather")
    survey = survey_candles(folder)
    candles = read_candles(FilesSpec(path=folder, interval=survey.interval, symbols=survey.symbols))
    np.testing.assert_array_equal(survey.times, candles.times)
    assert survey.segments == candles.segments and survey.symbols == candles.symbols
    assert survey.bars_per_year == candles.bars_per_year


@pytest.mark.parametrize(
    ("step", "interval"), [("1min", "1m"), ("5min", "5m"), ("4h", "4h"), ("1D", "1d"), ("7D", "1w")]
)
def test_the_interval_of_a_file_without_one_in_its_name_is_the_step_of_its_rows(write, step, interval):
    folder = write(legal_frame(9, step=step), "BTC.csv")
    survey = survey_candles(folder)
    assert survey.interval == interval
    assert len(read_candles(FilesSpec(path=folder, interval=interval))) == 9


def test_a_file_that_costs_the_others_more_than_it_has_is_left_out_until_it_is_asked_for(write):
    for symbol in ("AAVE", "BTC", "ETH"):
        folder = write(legal_frame(100), f"{symbol}_USDT-1h.feather")
    write(legal_frame(30, start="2024-01-04 00:00"), "NEW_USDT-1h.feather")
    survey = survey_candles(folder)
    assert survey.symbols == ("AAVE", "BTC", "ETH") and len(survey.times) == 100
    (left_out,) = survey.left_out
    assert left_out.path.name == "NEW_USDT-1h.feather"
    assert "28 usable bars, without it 100" in left_out.why and "--symbols AAVE,BTC,ETH,NEW" in left_out.why
    again = survey_candles(folder, symbols=["AAVE", "BTC", "ETH", "new"])
    assert again.symbols == ("AAVE", "BTC", "ETH", "NEW") and len(again.times) == 28 and again.left_out == ()
    assert again.costs["NEW"] == 72


def test_a_file_that_costs_little_stays(write):
    write(legal_frame(100), "BTC_USDT-1h.feather")
    write(legal_frame(100), "ETH_USDT-1h.feather")
    folder = write(legal_frame(90), "NEW_USDT-1h.feather")
    assert survey_candles(folder).symbols == ("BTC", "ETH", "NEW")


def test_a_file_with_holes_costs_the_bars_before_which_no_run_is_long_enough(write):
    whole = legal_frame(100)
    write(whole, "BTC_USDT-1h.feather")
    write(whole, "ETH_USDT-1h.feather")
    folder = write(whole.drop(index=range(9, 100, 10)), "NEW_USDT-1h.feather")
    survey = survey_candles(folder, run=20)
    assert survey.symbols == ("BTC", "ETH")
    assert "share 0 usable bars, without it 81" in survey.left_out[0].why


@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=5), st.integers(1, 3))
def test_what_stays_is_more_than_half_and_has_at_least_as_many_usable_bars_in_all(times, run):
    axis = [np.datetime64("2024-01-01", "ns") + np.array(sorted(own)) * np.timedelta64(1, "h") for own in times]
    overlap = Overlap(axis, np.timedelta64(1, "h"), run)
    kept, everyone = overlap.worth_keeping(), range(len(times))
    assert 2 * len(kept) > len(times)
    assert len(kept) * overlap.n_usable(kept) >= len(times) * overlap.n_usable(everyone)
    shared = set.intersection(*(times[i] for i in kept))
    assert overlap.n_usable(kept) == sum(all(bar - k in shared for k in range(run)) for bar in shared)


@pytest.mark.parametrize(
    ("spoil", "name", "words"),
    [
        (lambda frame: frame.drop(columns="volume"), "BTC_USDT-1h.csv", ["column volume is missing"]),
        (lambda frame: frame.drop(columns="date"), "BTC_USDT-1h.csv", ["date (or timestamp)"]),
        (lambda frame: frame.assign(close=-1.0), "BTC_USDT-1h.csv", ["'close'", "positive price"]),
        (lambda frame: frame.iloc[::-1], "BTC_USDT-1h.csv", ["later than the row before it"]),
        (lambda frame: frame.iloc[:1], "BTC_USDT-1h.csv", ["at least 2 rows"]),
        (lambda frame: frame, "BTC_USDT-5m.csv", ["rows are 1h apart", "5m was expected", "rename it"]),
        (lambda frame: frame, "BTC_USDT-1M.csv", ["'1M'", "such as '5m'"]),
        (lambda frame: frame, "BTC_USDT-trades.csv", ["BASE_QUOTE-interval", "rename the file"]),
    ],
)
def test_a_faulty_file_is_named_with_its_reason_and_the_others_are_used(write, spoil, name, words):
    folder = write(spoil(legal_frame(6)), name)
    with pytest.raises(DataError) as caught:
        survey_candles(folder)
    for word in ["none of its candle files can be used", name, *words]:
        assert word in str(caught.value)
    write(legal_frame(6), "ETH_USDT-1h.csv")
    survey = survey_candles(folder)
    assert survey.symbols == ("ETH",)
    (left_out,) = survey.left_out
    assert left_out.path.name == name and all(word in left_out.why for word in words)
    assert folder not in left_out.why
    assert len(read_candles(FilesSpec(path=folder, symbols=survey.symbols))) == 6


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".feather", ".parquet"]))
def test_a_file_of_any_bytes_is_refused_in_words(tmp_path_factory, content, suffix):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / f"BTC_USDT-1h{suffix}").write_bytes(content)
    with pytest.raises(DataError, match="none of its candle files can be used"):
        survey_candles(folder)


def test_files_of_several_intervals_are_a_choice_of_the_user(write):
    write(legal_frame(6), "BTC_USDT-1h.csv")
    write(legal_frame(6, step="5min"), "BTC_USDT-5m.csv")
    folder = write(legal_frame(6, step="5min"), "ETH.csv")
    with pytest.raises(DataError) as caught:
        survey_candles(folder)
    assert "--interval 1h: BTC_USDT-1h.csv" in str(caught.value)
    assert "--interval 5m: BTC_USDT-5m.csv, ETH.csv" in str(caught.value)
    with pytest.raises(DataError, match="one currency"):
        survey_candles(folder, interval="5m")
    assert survey_candles(folder, interval="5m", symbols=["BTC"]).interval == "5m"
    hourly = survey_candles(folder, interval="1h")
    assert hourly.symbols == ("BTC",)
    reasons = {one.path.name: one.why for one in hourly.left_out}
    assert "its name says 5m" in reasons["BTC_USDT-5m.csv"] and "rows are 5m apart" in reasons["ETH.csv"]
    assert len(read_candles(FilesSpec(path=folder, symbols=hourly.symbols))) == 6


@pytest.mark.parametrize("other", ["BTC_USDT-1h.csv", "BTC_EUR-1h.feather", "BTC.csv"])
@pytest.mark.parametrize("is_broken", [False, True])
def test_two_files_of_one_symbol_are_refused_even_if_one_is_broken(write, other, is_broken):
    write(legal_frame(6).drop(columns="open") if is_broken else legal_frame(6), other)
    folder = write(legal_frame(6), "BTC_USDT-1h.feather")
    write(legal_frame(6), "ETH_USDT-1h.feather")
    with pytest.raises(DataError) as caught:
        survey_candles(folder)
    assert "move all but one away" in str(caught.value)
    assert other in str(caught.value) and "BTC_USDT-1h.feather" in str(caught.value)
    assert survey_candles(folder, symbols=["ETH"]).symbols == ("ETH",)


def test_several_currencies_are_a_choice_of_the_user(write):
    write(legal_frame(6), "BTC_USDT-1h.csv")
    write(legal_frame(6), "LTC_USDT-1h.csv")
    folder = write(legal_frame(6), "ETH_BTC-1h.csv")
    with pytest.raises(DataError) as caught:
        survey_candles(folder)
    assert "USDT: --symbols BTC,LTC" in str(caught.value) and "BTC: --symbols ETH" in str(caught.value)


def test_files_without_a_common_time_are_refused_with_their_spans(write):
    write(legal_frame(6), "BTC_USDT-1h.csv")
    folder = write(legal_frame(6, start="2025-01-01"), "ETH_USDT-1h.csv")
    with pytest.raises(DataError) as caught:
        survey_candles(folder)
    for word in ("no time is in all", "BTC_USDT-1h.csv: 2024-01-01 00:00:00 to 2024-01-01 05:00:00", "2025-01-01"):
        assert word in str(caught.value)


def test_a_symbol_that_is_asked_for_and_missing_or_broken_is_refused(write):
    write(legal_frame(6), "AAVE_USDT-1h.csv")
    folder = write(legal_frame(6).drop(columns="low"), "BTC_USDT-1h.csv")
    with pytest.raises(DataError) as caught:
        survey_candles(folder, symbols=["AAVV", "BTC"])
    assert "AAVV: no such file; did you mean 'AAVE'" in str(caught.value)
    assert "BTC_USDT-1h.csv: column low is missing" in str(caught.value)
    with pytest.raises(DataError, match=r"AAVE_USDT-1h.csv: its name says 1h, and 5m is asked for"):
        survey_candles(folder, interval="5m", symbols=["AAVE"])
    with pytest.raises(SpecError, match="symbols: must name at least one"):
        survey_candles(folder, symbols=[])


def test_a_folder_above_the_candles_names_the_folders_that_have_some(tmp_path):
    (tmp_path / "binance").mkdir()
    legal_frame(6).to_csv(tmp_path / "binance" / "BTC_USDT-1h.csv", index=False)
    with pytest.raises(DataError, match=r"there are some in .*binance: name that folder"):
        survey_candles(tmp_path)
    with pytest.raises(DataError, match="is a file: name its folder"):
        survey_candles(tmp_path / "binance" / "BTC_USDT-1h.csv")
    with pytest.raises(DataError, match="no such folder"):
        survey_candles(tmp_path / "nowhere")


def test_an_interval_that_is_none_is_refused(tmp_path):
    with pytest.raises(SpecError, match="interval: must be a number and a unit"):
        survey_candles(tmp_path, interval="hourly")


def test_candles_shorter_than_a_second_are_refused(write):
    frame = legal_frame(6).assign(date=pd.date_range("2024-01-01", periods=6, freq="100ms", tz="UTC"))
    with pytest.raises(DataError, match=r"BTC.parquet: .*must be a number and a unit"):
        survey_candles(write(frame, "BTC.parquet"))
