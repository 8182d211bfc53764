"""A study file names modules, and what they register may be chosen in it."""

from pathlib import Path

import pytest

import ftray
from ftray.cli import main
from ftray.errors import PluginError, SpecError
from ftray.features import INDICATORS
from ftray.plugins import carried, load_carried, load_plugins, parse_plugins
from ftray.search.samplers import build_sampler
from ftray.study import load_study, parse_study

from .outside import INDICATOR, MEMBERS, NOTES_ITS_IMPORT, TRIAL, study_file, write


def test_a_file_next_to_the_study_file_is_enough(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write(elsewhere)
    study = load_study(study_file(elsewhere, "my_members"))
    trials = study.corner_trials
    assert {trial.encoder.kind for trial in trials} == {"gru", "mlp"}
    assert {trial.trading.reward for trial in trials} == {"simple_return", "log_growth"}
    assert {trial.market.kind for trial in trials} == {"waves"}
    assert study.search.sampler.kind == "halton"
    build_sampler(study.search.sampler, study.space, (), seed=0)


def test_a_plug_in_in_the_working_directory_is_found_too(tmp_path):
    write(tmp_path)
    (tmp_path / "studies").mkdir()
    assert list(load_study(study_file(tmp_path / "studies", "my_members")).plugins) == ["my_members"]


def test_a_package_may_register_from_any_of_its_modules(tmp_path):
    write(tmp_path, "my_package/", "from my_package import bodies")
    write(tmp_path, "my_package/bodies", INDICATOR)
    assert list(ftray.load_plugins(["my_package"])) == ["my_package"]
    assert list(ftray.load_plugins(["my_package.bodies"])) == ["my_package.bodies"]
    assert INDICATORS.sources(["body", "rsi"]).keys() == {"my_package.bodies"}


def test_it_is_imported_once(tmp_path):
    write(tmp_path, source=NOTES_ITS_IMPORT + MEMBERS)
    for _ in range(2):
        load_study(study_file(tmp_path, "my_members"))
    assert (tmp_path / "imported").read_text() == "once more "


def test_a_plug_ins_indicators_are_for_those_who_list_them(tmp_path):
    write(tmp_path)
    before = ftray.FeatureSpec().indicators
    load_plugins(["my_members"])
    assert "gap" in INDICATORS and ftray.FeatureSpec().indicators == before


def test_a_path_of_a_plug_ins_market_is_made_absolute_as_one_of_candle_files_is(tmp_path):
    write(tmp_path)
    trial = TRIAL | {"market": {"kind": "waves", "path": "candles"}}
    study = load_study(study_file(tmp_path, "my_members", trial=trial))
    assert study.corner_trials[0].market.path == str(Path.cwd() / "candles")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"market": {"kind": "wave"}},
            r"trial\.market\.kind: must be one of files, simulator; got 'wave'; if a plug-in",
        ),
        ({"encoder": {"kind": "gru"}}, r"trial\.encoder\.kind: must be one of ft, mlp; got 'gru'; if a plug-in has it"),
        ({"features": {"indicators": ["gap"]}}, r"indicators\.0: no indicator 'gap'; .*Known: open.*; if a plug-in"),
        ({"trading": {"reward": "growth"}}, r"reward: no reward 'growth'; did you mean 'log_growth'\?.*; if a plug-in"),
    ],
)
def test_an_unknown_name_says_that_a_plug_in_may_be_missing(changed, message):
    with pytest.raises(SpecError, match=message):
        parse_study({"trial": changed})


@pytest.mark.parametrize("sampler", ["halton", {"kind": "halton"}])
def test_an_unknown_sampler_says_so_too(sampler):
    with pytest.raises(SpecError, match=r"search\.sampler.*tpe.*; if a plug-in has it, name its module"):
        parse_study({"search": {"sampler": sampler}})


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("x = 1", "must register something when it is imported"),
        ("import there_is_no_such_package", r"raises at its import: ModuleNotFoundError.*my_broken\.py, line 1"),
        ("\n\n1 / 0", r"raises at its import: ZeroDivisionError: division by zero \(.*my_broken\.py, line 3\)"),
        ("def f(:", r"raises at its import: SyntaxError.*my_broken\.py, line 1"),
        ("raise SystemExit(3)", "raises at its import: SystemExit: 3"),
    ],
)
def test_a_plug_in_that_cannot_be_used_says_why(tmp_path, source, why):
    write(tmp_path, "my_broken", source)
    with pytest.raises(PluginError, match=why) as caught:
        load_plugins(["my_broken"])
    assert (caught.value.__cause__ is None) == (source == "x = 1")


def test_a_mistake_in_what_is_registered_is_traced_to_the_plug_in(tmp_path):
    write(tmp_path, "my_broken", "from ftray.features import INDICATORS\n\nINDICATORS.register(5)")
    with pytest.raises(PluginError, match=r"the indicator 5 must have a name .* \(.*my_broken\.py, line 3\)"):
        load_plugins(["my_broken"])


@pytest.mark.parametrize("verb", ["check", "tune"])
def test_a_member_that_lacks_what_the_others_have_is_refused_in_one_line(tmp_path, monkeypatch, capsys, verb):
    source = "from ftray.features import INDICATORS\n\n\nclass Gap:\n    name = 'gap'\n\n\nINDICATORS.register(Gap())"
    write(tmp_path, "my_broken", source)
    monkeypatch.chdir(tmp_path)
    assert main([verb, "demo", "--set", "plugins=[my_broken]"]) == 1
    errors = capsys.readouterr().err
    assert "the indicator 'gap' of my_broken must have what the others have, and has no compute, warm_up" in errors
    assert "my_broken.py, line 8" in errors and len(errors.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["my_broken.py"]


@pytest.mark.parametrize("line", ["import my_helper", "from my_helper.part import x", "def f():\n    import my_helper"])
@pytest.mark.parametrize("plugin", ["my_bodies", "my_bodies/"])
def test_a_study_refuses_a_plug_in_that_imports_what_lies_next_to_it_and_no_hash_contains(tmp_path, line, plugin):
    write(tmp_path, "my_helper/", "")
    write(tmp_path, "my_helper/part", "x = 1")
    write(tmp_path, plugin, f"{line}\nimport numpy, yaml, __main__, ftray.features\n{INDICATOR}")
    with pytest.raises(PluginError, match=r"my_bodies imports my_helper, which lies next to it .* one package of both"):
        parse_plugins(["my_bodies"])
    assert load_plugins(["my_bodies"])


def test_a_plug_in_may_import_the_standard_library_another_one_of_its_study_and_modules_of_its_package(tmp_path):
    write(tmp_path, "my_bodies", f"import os, sys, json\n{INDICATOR}")
    write(tmp_path, "my_package/", "from my_package import more")
    write(tmp_path, "my_package/more", INDICATOR.replace("body", "other") + "import my_bodies, my_package.more")
    assert list(parse_plugins(["my_package", "my_bodies"])) == ["my_package", "my_bodies"]
    with pytest.raises(PluginError, match="the plug-in my_package imports my_bodies"):
        parse_plugins(["my_package"])


def test_a_plug_in_that_is_nowhere_is_refused_with_the_places_that_were_looked_at(tmp_path):
    with pytest.raises(
        PluginError, match=rf"no plug-in my_lost\.part: .* in {tmp_path}/a or {tmp_path}, as my_lost\.py"
    ):
        load_plugins(["my_lost.part"], tmp_path / "a")


@pytest.mark.parametrize("name", ["my_members.py", "../my_members", "", "my-members"])
def test_a_plug_in_is_named_as_a_module(name):
    with pytest.raises(PluginError, match=r"must be the name of a module, like my_package\.my_module"):
        load_plugins([name])


@pytest.mark.parametrize("given", ["my_members", {"my_members": 1}, [1]])
def test_plug_ins_are_a_list(given):
    with pytest.raises(SpecError, match="plugins: must be a list of modules, like"):
        parse_study({"plugins": given})


def test_a_file_that_an_installed_module_hides_is_refused_with_both_paths(tmp_path):
    write(tmp_path, "yaml", INDICATOR)
    with pytest.raises(
        PluginError, match=rf"must be the one in {tmp_path}/yaml\.py, but this process has .*/yaml under"
    ):
        load_plugins(["yaml"])


def test_a_plug_in_that_changed_since_its_import_needs_a_new_process(tmp_path):
    file = write(tmp_path)
    load_plugins(["my_members"])
    file.write_text(MEMBERS + "# more\n")
    with pytest.raises(PluginError, match=r"my_members\.py changed since this process imported the plug-in my_members"):
        load_plugins(["my_members"])


def test_what_no_study_file_names_is_refused_in_one(tmp_path, monkeypatch):
    write(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import my_members  # noqa: F401  # type: ignore[import-not-found]  # by the user's own script

    with pytest.raises(SpecError, match="plugins: must name my_members, as the study uses what it registers"):
        load_study(study_file(tmp_path))


def test_another_process_imports_the_same_plug_ins(tmp_path, forget):
    folder = tmp_path / "study"
    write(folder)
    load_plugins(["my_members"], folder)
    plugins = carried()
    forget()
    load_carried(plugins)
    load_carried(plugins)
    assert "gap" in INDICATORS and carried() == plugins


def test_a_process_that_has_another_version_of_a_plug_in_says_so(tmp_path, forget):
    file = write(tmp_path)
    load_plugins(["my_members"])
    plugins = carried()
    forget()
    file.write_text(MEMBERS + "# another version\n")
    with pytest.raises(
        PluginError, match=r"must have one version of the plug-in my_members: here, in .*my_members\.py"
    ):
        load_carried(plugins)


def test_the_command_line_checks_a_study_with_plug_ins(tmp_path, capsys):
    write(tmp_path)
    assert main(["check", str(study_file(tmp_path, "my_members"))]) == 0
    printed = capsys.readouterr().out
    assert "  plug-in       my_members, source " in printed and "gru: " in printed and "(halton)" in printed
    assert main(["check", str(study_file(tmp_path, "my_lost"))]) == 1
    assert "ftray: no plug-in my_lost" in capsys.readouterr().err
